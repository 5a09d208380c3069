"""Suspending and resuming while others do: the VM ends as the newest intent wants it."""

from __future__ import annotations

import pytest

from vmm_automation.errors import HypervisorUnreachable, NotPermitted
from vmm_automation.model.session import SessionState
from vmm_automation.operations import audit_log, session, suspension, watcher
from vmm_automation.operations.context import Context
from vmm_automation.operations.session import find

from ..fake_clock import FakeClock
from .one_vm import OneVm, context, vm

__all__ = ["context", "vm"]


def test_slow_pause_does_not_outlive_a_later_resume(context: Context, clock: FakeClock, vm: OneVm) -> None:
    """Between bo's intent and libvirt's pause the right went to cy, who resumed: the VM runs in the end."""

    def meanwhile() -> None:
        clock.advance(minutes=6)
        watcher.lock_acquire(context.store, clock, session="s-1", watcher="cy", actor="cy")
        suspension.resume(context, "s-1", watcher="cy", fence=2)

    vm.before_pause = meanwhile
    suspension.suspend(context, "s-1", watcher="bo", fence=1)
    assert find(context, "s-1").state is SessionState.ACTIVE
    assert vm.runs


def test_failed_pause_is_taken_back_unless_another_run_noted_more(
    context: Context, clock: FakeClock, vm: OneVm
) -> None:
    """The state does not say suspended of a VM that runs; and does not undo what a later run did."""

    def fail() -> None:
        raise HypervisorUnreachable("gone")

    def suspended_again_and_fail() -> None:
        suspension.resume(context, "s-1")
        clock.advance(seconds=1)
        suspension.suspend(context, "s-1", watcher="bo")
        fail()

    vm.before_pause = fail
    with pytest.raises(HypervisorUnreachable):
        suspension.suspend(context, "s-1", watcher="bo")
    assert find(context, "s-1").state is SessionState.ACTIVE
    vm.before_pause = suspended_again_and_fail
    with pytest.raises(HypervisorUnreachable):
        suspension.suspend(context, "s-1", watcher="bo")
    assert (find(context, "s-1").state, vm.runs) == (SessionState.SUSPENDED, False)


@pytest.mark.parametrize("finish", ["suspend", "resume"])
def test_interrupted_suspension_is_finished_or_undone(context: Context, vm: OneVm, finish: str) -> None:
    """A run killed after its intent: suspending again pauses the VM, the operator's resume lets it run."""

    def killed() -> None:
        raise KeyboardInterrupt

    vm.before_pause = killed
    with pytest.raises(KeyboardInterrupt):
        suspension.suspend(context, "s-1", watcher="bo")
    assert (find(context, "s-1").state, vm.runs) == (SessionState.SUSPENDED, True)
    if finish == "suspend":
        suspension.suspend(context, "s-1", watcher="bo")
    else:
        suspension.resume(context, "s-1")
    assert vm.runs is (finish == "resume")


def test_every_switch_is_in_the_chain_with_who_asked(context: Context) -> None:
    """Suspended by a Watcher, refused to another, resumed by the operator: two entries, one refusal none."""
    suspension.suspend(context, "s-1", watcher="bo", fence=1)
    with pytest.raises(NotPermitted):
        suspension.resume(context, "s-1", watcher="eve")
    suspension.resume(context, "s-1")
    first, second = audit_log.read(context.store, object_name="s-1")["events"][-2:]
    assert (first["action"], first["actor"]) == ("session.suspend", "root")
    assert first["result"] == {"state": "suspended", "watcher": "bo", "fence": 1}
    assert second["result"] == {"state": "active", "watcher": None, "fence": None}
    assert first["after"] == second["before"] != first["before"]
    assert audit_log.verify(context.store)["valid"]


def test_slow_pause_does_not_outlive_a_closing(context: Context, vm: OneVm) -> None:
    """Between bo's intent and libvirt's pause the session began to close: its guest runs, to be captured."""

    def closed() -> None:
        session.begin_close(context, "s-1")

    vm.before_pause = closed
    suspension.suspend(context, "s-1", watcher="bo", fence=1)
    assert (find(context, "s-1").state, vm.runs) == (SessionState.CLOSING, True)
