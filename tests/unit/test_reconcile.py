"""State and VM brought together: each way they can differ, what is done about it, and done once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vmm_automation.errors import Conflict, HypervisorUnreachable, LockHeld, NotFound
from vmm_automation.model.session import SessionState
from vmm_automation.operations import audit_log, session, suspension
from vmm_automation.operations.context import Context
from vmm_automation.operations.ownership import run_token
from vmm_automation.operations.reconcile import reconcile
from vmm_automation.operations.session_abandon import find
from vmm_automation.state import sessions

from ..fake_clock import FakeClock
from .one_vm import OneVm, context, vm

__all__ = ["context", "vm"]
PORT = 20500
GONE = "host:boot:1:2"


def opened(context: Context, vm: OneVm) -> None:
    """The session's port leads to its UA."""
    vm.ports[PORT] = 5232
    with context.store.transaction() as tx:
        sessions.set_endpoint(tx, session_id="s-1", endpoint=f"http://127.0.0.1:{PORT}/", port=PORT)
        tx.execute("UPDATE sessions SET ua = 'radicale' WHERE id = 's-1'")


def move(context: Context, state: SessionState, *, owner: str = "") -> None:
    with context.store.transaction() as tx:
        now = context.clock.now()
        sessions.move_to(
            tx, session_id="s-1", state=state, expected=frozenset(SessionState), now=now, owner=owner
        )


def nothing() -> None:
    """Happens."""


def actions(document: dict[str, Any]) -> list[str]:
    return [finding["action"] for finding in document["findings"]]


def suspended_but_running(context: Context, _vm: OneVm) -> None:
    move(context, SessionState.SUSPENDED)


def active_but_paused(_context: Context, vm: OneVm) -> None:
    vm.pause("vm-1")


def off(_context: Context, vm: OneVm) -> None:
    vm.power_cut()


def gone(_context: Context, vm: OneVm) -> None:
    vm.there = False


def started_anew(_context: Context, vm: OneVm) -> None:
    vm.power_cut()
    vm.start("vm-1")


def leftover(_context: Context, vm: OneVm) -> None:
    vm.ports[20777] = 5232


CASES: dict[str, tuple[Callable[[Context, OneVm], None], list[str], bool]] = {
    "suspended but running": (suspended_but_running, ["pause"], False),
    "active but paused": (active_but_paused, ["resume"], True),
    "off": (off, ["mark"], False),
    "gone": (gone, ["mark"], True),
    "started anew": (started_anew, ["forward", "start_ua"], True),
    "forward of another session": (leftover, ["unforward"], True),
}


@pytest.mark.parametrize("case", CASES)
def test_difference_is_found_told_and_mended_once(context: Context, vm: OneVm, case: str) -> None:
    """A dry run tells and changes nothing; a run mends; a second has nothing to change; all is audited."""
    make, expected, runs = CASES[case]
    opened(context, vm)
    make(context, vm)
    before, seen = find(context, "s-1"), dict(vm.__dict__)
    planned = reconcile(context, check=True)
    assert (actions(planned), planned["changed"]) == (expected, True)
    assert (find(context, "s-1"), dict(vm.__dict__)) == (before, seen)
    entries = audit_log.verify(context.store)["events"]
    done = reconcile(context)
    assert (actions(done), done["changed"], done["failures"]) == (expected, True, [])
    assert vm.runs is runs
    assert audit_log.verify(context.store)["events"] == entries + 1
    again = reconcile(context)
    assert not again["changed"], again
    assert set(actions(again)) <= {"none", "start_ua"}
    assert audit_log.verify(context.store)["events"] == entries + 1
    assert {"session", "vm", "found", "wanted", "action"} == set(done["findings"][0])


def test_all_is_well_is_no_finding(context: Context, vm: OneVm) -> None:
    """An active session on a running VM whose port is forwarded."""
    opened(context, vm)
    assert reconcile(context)["findings"] == []


def test_session_on_a_vm_that_is_off_says_so_and_is_not_handed_out(context: Context, vm: OneVm) -> None:
    """The reason names the VM; suspend, resume and close name the command that helps; then it is used."""
    opened(context, vm)
    off(context, vm)
    reconcile(context)
    assert find(context, "s-1").reason == "its VM 'vm-1' is stopped"
    refusals: list[Callable[[], object]] = [
        lambda: suspension.suspend(context, "s-1", watcher="bo"),
        lambda: suspension.resume(context, "s-1"),
        lambda: session.begin_close(context, "s-1"),
    ]
    for refused in refusals:
        with pytest.raises(Conflict) as caught:
            refused()
        assert caught.value.hint == "vmm vm start vm-1"
        assert "its VM 'vm-1' is stopped" in caught.value.message
    vm.start("vm-1")
    done = reconcile(context)
    assert done["restarted"] == [{"session": "s-1", "vm": "vm-1"}]
    assert (vm.ports[PORT], find(context, "s-1").state) == (5232, SessionState.ACTIVE)
    assert "started anew" in find(context, "s-1").reason


def test_session_whose_vm_is_gone_can_only_be_discarded(context: Context, vm: OneVm) -> None:
    """The hint says how; discarding it then ends it."""
    gone(context, vm)
    with pytest.raises(Conflict) as caught:
        session.begin_close(context, "s-1")
    assert caught.value.hint == "vmm session close s-1 --discard"
    session.begin_close(context, "s-1", discard=True)
    assert session.release(context, "s-1")["session"]["state"] == "closed"


def test_forward_that_another_run_has_just_replaced_is_left_alone(context: Context, vm: OneVm) -> None:
    """Seen with the new port while the state still had the old one: then it belongs to the session."""
    opened(context, vm)
    new = PORT + 1
    vm.ports = {20001: 22, new: 5232}

    def other_run() -> None:
        with context.store.transaction() as tx:
            sessions.set_endpoint(tx, session_id="s-1", endpoint=f"http://127.0.0.1:{new}/", port=new)

    vm.before_looks = [nothing, other_run]  # the first look is for the plan
    reconcile(context)
    assert (vm.ports, find(context, "s-1").port) == ({20001: 22, new: 5232}, new)


@pytest.mark.parametrize("looks", [1, 2])
def test_forward_comes_too_late_for_a_session_that_moved_meanwhile(
    context: Context, vm: OneVm, looks: int
) -> None:
    """Its endpoint on the other VM is not written over."""
    opened(context, vm)
    del vm.ports[PORT]
    vm.taken = {PORT}

    def other_run() -> None:
        with context.store.transaction() as tx:
            tx.execute("UPDATE sessions SET vm = 'vm-2', fence = fence + 1, endpoint = 'there', port = 1")

    vm.before_looks = [*[nothing] * looks, other_run]
    reconcile(context)
    assert find(context, "s-1").endpoint == "there"


def test_port_that_was_taken_meanwhile_is_replaced(context: Context, vm: OneVm) -> None:
    """The endpoint has another port, and that leads to the guest."""
    opened(context, vm)
    started_anew(context, vm)
    vm.taken.add(PORT)
    reconcile(context)
    after = find(context, "s-1")
    assert after.port != PORT
    assert vm.ports[after.port] == 5232
    assert after.endpoint == f"http://127.0.0.1:{after.port}/"


def test_suspended_session_on_a_restarted_vm_is_paused_and_its_ua_waits(context: Context, vm: OneVm) -> None:
    """It keeps its intent; the UA is only due once the VM may run."""
    opened(context, vm)
    move(context, SessionState.SUSPENDED)
    started_anew(context, vm)
    assert actions(reconcile(context)) == ["pause", "forward"]
    assert not vm.runs
    suspension.resume(context, "s-1")
    assert actions(reconcile(context)) == ["start_ua"]


@pytest.mark.parametrize("owner", ["", GONE, "nonsense"])
def test_claim_of_an_unknown_owner_is_released_after_its_deadline(
    context: Context, clock: FakeClock, vm: OneVm, owner: str
) -> None:
    """Not one second before 15 minutes; then the session has failed, and its half-made forward is gone."""
    with context.store.transaction() as tx:
        tx.execute("UPDATE sessions SET state = 'starting', owner = :owner", owner=owner)
    vm.ports[20888] = 5232
    clock.advance(seconds=899)
    assert reconcile(context)["findings"] == []
    clock.advance(seconds=1)
    done = reconcile(context)
    assert done["abandoned"] == ["s-1"]
    assert find(context, "s-1").state is SessionState.FAILED
    assert vm.ports == {20001: 22}


def test_claim_of_a_process_that_lives_here_is_kept_however_long(context: Context, clock: FakeClock) -> None:
    """A slow run is not a dead one."""
    with context.store.transaction() as tx:
        tx.execute("UPDATE sessions SET state = 'starting', owner = :owner", owner=run_token())
    clock.advance(days=3)
    assert reconcile(context)["findings"] == []


def test_closing_that_was_cut_off_is_named_for_its_guest(
    context: Context, clock: FakeClock, vm: OneVm
) -> None:
    """After its deadline; before that another run is closing it. Off, it is marked instead."""
    move(context, SessionState.CLOSING, owner=GONE)
    assert reconcile(context)["to_close"] == []
    with pytest.raises(Conflict, match="being closed by another run"):
        session.begin_close(context, "s-1")
    clock.advance(minutes=15)
    assert reconcile(context)["to_close"] == [{"session": "s-1", "vm": "vm-1"}]
    off(context, vm)
    done = reconcile(context)
    assert (actions(done), done["to_close"]) == (["mark"], [])
    vm.start("vm-1")
    assert session.begin_close(context, "s-1")["steps"] == ["capture", "release"]


def test_closing_of_a_session_that_was_never_used_captures_nothing_when_it_is_repeated(
    context: Context, clock: FakeClock
) -> None:
    """What a half-done opening left in the guest must not become the user's newest generation."""
    with context.store.transaction() as tx:
        tx.execute("UPDATE sessions SET state = 'starting', seen_at = '', owner = :gone", gone=GONE)
    clock.advance(minutes=15)
    assert session.begin_close(context, "s-1")["steps"] == ["release"]
    move(context, SessionState.CLOSING, owner=GONE)
    clock.advance(minutes=15)
    assert session.begin_close(context, "s-1")["steps"] == ["release"]


def test_failure_on_one_vm_is_told_and_holds_up_no_other(context: Context, vm: OneVm) -> None:
    """The finding comes with its error, in the form that the report takes."""

    def fail() -> None:
        raise HypervisorUnreachable("gone", hint="vmm doctor")

    suspended_but_running(context, vm)
    leftover(context, vm)
    vm.before_pause = fail
    done = reconcile(context)
    assert [(each["action"], each["error"]["class"]) for each in done["failures"]] == [
        ("pause", "HypervisorUnreachable")
    ]
    assert vm.ports == {20001: 22}
    assert find(context, "s-1").state is SessionState.SUSPENDED


def test_only_named_vms_are_looked_at(context: Context, vm: OneVm) -> None:
    """Another VM's sessions are left alone; a VM that is not there is refused."""
    active_but_paused(context, vm)
    assert actions(reconcile(context, vms=["vm-1"])) == ["resume"]
    vm.there = False
    with pytest.raises(NotFound):
        reconcile(context, vms=["vm-2"])


def test_mutating_commands_begin_with_it(context: Context, vm: OneVm) -> None:
    """A refused resume leaves the VM as the state wants it, though it was refused."""
    suspended_but_running(context, vm)
    with pytest.raises(LockHeld, match="'eve'"):
        suspension.resume(context, "s-1", watcher="eve")
    assert not vm.runs
