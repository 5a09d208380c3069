"""What becomes of a suspended session when the lease ends: the site's policy, grace, a new holder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from vmm_automation.errors import NotPermitted
from vmm_automation.model.session import SessionState
from vmm_automation.operations import audit_log, suspension, watcher
from vmm_automation.operations.context import Context
from vmm_automation.operations.reconcile import reconcile
from vmm_automation.operations.session_abandon import find
from vmm_automation.site import Site

from ..fake_clock import FakeClock
from .one_vm import OneVm, context, vm

__all__ = ["context", "vm"]
Ending = Callable[[Context, FakeClock], None]


def with_site(context: Context, site: Site) -> Context:
    made = replace(context, site=site)
    made.__dict__.update(store=context.store, hypervisor=context.hypervisor)
    return made


def with_policies(context: Context, **policies: Any) -> Context:
    site = replace(context.site, policies=replace(context.site.policies, **policies))
    return with_site(context, site)


@pytest.fixture
def going_on(context: Context) -> Context:
    """The same session on a site that lets it go on a minute after the lease; bo has suspended it."""
    made = with_policies(context, resume_on_lease_end=True, resume_grace_s=60)
    suspension.suspend(made, "s-1", watcher="bo")
    assert find(made, "s-1").suspended_by == "bo"
    return made


def expired(_context: Context, clock: FakeClock) -> None:
    clock.advance(minutes=5)


def released(context: Context, clock: FakeClock) -> None:
    watcher.lock_release(context.store, clock, session="s-1", watcher="bo", actor="bo")


def broken(context: Context, clock: FakeClock) -> None:
    watcher.lock_break(context.store, clock, session="s-1", actor="root", reason="away")


def revoked(context: Context, clock: FakeClock) -> None:
    watcher.revoke(context.store, clock, session="s-1", watcher="bo", actor="root")


def privilege_lost(context: Context, clock: FakeClock) -> None:
    watcher.update(
        context.store, clock, session="s-1", watcher="bo", actor="root", add=["view"], remove=["suspend"]
    )


ENDINGS: list[Ending] = [expired, released, broken, revoked, privilege_lost]


@pytest.mark.parametrize("ending", ENDINGS)
def test_session_goes_on_once_the_lease_is_over_and_the_grace_has_passed(
    going_on: Context, clock: FakeClock, vm: OneVm, ending: Ending
) -> None:
    """However the lease ended; not a second sooner; the chain tells whose suspension it was."""
    ending(going_on, clock)
    clock.advance(seconds=59)
    assert reconcile(going_on)["findings"] == []
    assert not vm.runs
    clock.advance(seconds=1)
    assert [each["action"] for each in reconcile(going_on)["findings"]] == ["end_suspension"]
    after = find(going_on, "s-1")
    assert (after.state, after.suspended_by, vm.runs) == (SessionState.ACTIVE, "", True)
    last = audit_log.read(going_on.store, object_name="s-1")["events"]
    assert ("session.lease_end", {"state": "active", "suspended_by": "bo"}) in [
        (each["action"], each["result"]) for each in last
    ]
    assert reconcile(going_on)["findings"] == []


@pytest.mark.parametrize("ending", ENDINGS)
def test_without_the_policy_a_session_stays_suspended(
    context: Context, clock: FakeClock, vm: OneVm, ending: Ending
) -> None:
    """The default: only the holder and the operator resume."""
    suspension.suspend(context, "s-1", watcher="bo")
    ending(context, clock)
    clock.advance(hours=1)
    assert reconcile(context)["findings"] == []
    assert not vm.runs
    suspension.resume(context, "s-1")
    assert (vm.runs, find(context, "s-1").suspended_by) == (True, "")


def test_new_holder_inherits_the_suspended_session(going_on: Context, clock: FakeClock, vm: OneVm) -> None:
    """As long as somebody holds the right the session stays; the grace counts from the last end."""
    clock.advance(minutes=5, seconds=30)
    watcher.lock_acquire(
        going_on.store, clock, session="s-1", watcher="cy", actor="cy", lease=timedelta(minutes=10)
    )
    clock.advance(minutes=9)
    assert reconcile(going_on)["findings"] == []
    clock.advance(minutes=1, seconds=59)
    assert reconcile(going_on)["findings"] == []
    clock.advance(seconds=1)
    assert reconcile(going_on)["changed"]
    assert vm.runs


def test_clock_that_goes_back_does_not_revive_the_lease_that_let_it_go_on(
    going_on: Context, clock: FakeClock, vm: OneVm
) -> None:
    """Once a run has seen the end it is the end; before that the lease counts again, and nothing was done."""
    clock.advance(minutes=7)
    clock.advance(minutes=-4)
    assert reconcile(going_on)["findings"] == []
    clock.advance(minutes=4)
    assert reconcile(going_on)["changed"]
    clock.advance(minutes=-4)
    with pytest.raises(NotPermitted, match="nobody holds the suspend right"):
        suspension.suspend(going_on, "s-1", watcher="bo", fence=1)
    assert vm.runs


def test_operator_s_suspension_is_no_lease(context: Context, clock: FakeClock) -> None:
    """A session whose suspender is not known stays as it is."""
    made = with_policies(context, resume_on_lease_end=True)
    suspension.suspend(made, "s-1", watcher="bo")
    with made.store.transaction() as tx:
        tx.execute("UPDATE sessions SET suspended_by = ''")
    clock.advance(hours=1)
    assert reconcile(made)["findings"] == []


def test_watcher_that_slept_for_its_lease_is_refused_when_it_wakes(
    context: Context, clock: FakeClock, vm: OneVm
) -> None:
    """A machine asleep while holding: time counts, the fence of then is worth nothing, state and VM agree."""
    clock.advance(
        hours=8
    )  # its grant has ended too; the operator gives a new one, and bo takes the right anew
    watcher.assign(
        context.store,
        clock,
        session="s-1",
        watcher="bo",
        privileges=["suspend"],
        duration=timedelta(hours=1),
        actor="root",
    )
    with pytest.raises(NotPermitted, match="nobody holds the suspend right"):
        suspension.suspend(context, "s-1", watcher="bo", fence=1)
    watcher.lock_acquire(context.store, clock, session="s-1", watcher="bo", actor="bo")
    with pytest.raises(NotPermitted, match="acts on fence 1"):
        suspension.suspend(context, "s-1", watcher="bo", fence=1)
    assert (find(context, "s-1").state, vm.runs) == (SessionState.ACTIVE, True)
