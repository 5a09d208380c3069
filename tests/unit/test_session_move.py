"""A session that moves to another terminal: on its VM if that fits, else by another; and what undoes it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vmm_automation.errors import Conflict, NotPermitted, NoVmFits
from vmm_automation.model.access import Access
from vmm_automation.model.session import SessionState
from vmm_automation.model.ua import DeploymentState
from vmm_automation.model.vm import VmCondition
from vmm_automation.operations import (
    audit_log,
    clean_snapshot,
    cleaning,
    session,
    session_claim,
    session_guest,
    session_move,
    suspension,
)
from vmm_automation.operations import vm as vm_operations
from vmm_automation.operations.context import Context
from vmm_automation.operations.reconcile import reconcile
from vmm_automation.operations.session_abandon import find
from vmm_automation.operations.session_move_undo import STOPPED
from vmm_automation.operations.state_check import check_state
from vmm_automation.state import grants, ledger, moves, pools, sessions, suspend_right, vms

from ..crash.world import World
from .moving_session import LEAVE, STAY, context, cut_off, moving, world
from .test_cleaning import SaidGuest
from .test_lease_end import with_site
from .waiting_fleet import waits

__all__ = ["context", "world"]


def test_session_keeps_its_vm_where_that_fits_the_new_terminal(context: Context, world: World) -> None:
    """Only terminal and explanation change, in one entry; asking again changes nothing."""
    before = find(context, "s-1")
    planned = session_move.begin(context, "s-1", STAY, check=True)
    assert (planned["changed"], planned["to"], find(context, "s-1")) == (True, "vm-1", before)
    done = session_move.begin(context, "s-1", STAY)
    after = find(context, "s-1")
    assert (done["changed"], done["steps"], done["to"]) == (True, [], "vm-1")
    assert after == replace(before, terminal="phone", explanation=after.explanation)
    assert after.explanation["asked"]["terminal"]["name"] == "phone"
    assert after.explanation["moved"]["terminal"] == "desktop"
    assert world.hypervisor.forwards("vm-1") == {before.port: 5232, 20001: 22}
    assert not session_move.begin(context, "s-1", STAY)["changed"]
    told = [event["action"] for event in audit_log.read(context.store, object_name="s-1")["events"]]
    assert told.count("session.move") == 1


def test_session_leaves_for_a_vm_that_nobody_else_gets_meanwhile(context: Context, world: World) -> None:
    """Held, dirty, not listed as free or dirty work, not cleaned, not deleted, its forwards left alone."""
    planned = session_move.begin(context, "s-1", LEAVE, check=True)
    assert (planned["to"], planned["steps"]) == ("vm-2", [])
    assert world.hypervisor.snapshots("vm-2") == []
    done = moving(context)
    assert (done["from"], done["to"], done["steps"]) == ("vm-1", "vm-2", ["capture", "deploy", "switch"])
    assert find(context, "s-1").port not in (world.hypervisor.forwards("vm-1") or {})
    world.hypervisor.add_forward("vm-2", port=20700, guest_port=5232)
    found = reconcile(context)
    assert (found["findings"], found["dirty"]) == ([], [])
    with pytest.raises(NoVmFits):
        session_claim.claim(context, session_claim.Request(user="cleo", ua="plain", terminal="desktop"))
    with pytest.raises(Conflict, match="'s-1' is starting on it"):
        cleaning.clean(context, SaidGuest("vm-2"))
    with pytest.raises(Conflict, match="'s-1'"):
        vm_operations.absent(context, ["vm-2"], allow_destroy=True)
    with pytest.raises(Conflict, match="being moved to VM 'vm-2' by another run"):
        moving(context)
    with pytest.raises(Conflict, match="being moved to VM 'vm-2' by another run"):
        session.begin_close(context, "s-1")
    with pytest.raises(Conflict, match="being moved to VM 'vm-2' by another run"):
        session.abandon(context, "s-1", reason="its opening was thought to be cut off")
    with pytest.raises(Conflict):
        suspension.suspend(context, "s-1", watcher="bo")


def test_arrival_is_one_write_with_a_newer_fence_and_keeps_watchers_and_right(context: Context) -> None:
    """The old VM is free to be cleaned; a save from there can never be recorded again."""
    with context.store.transaction() as tx:
        tx.execute("UPDATE sessions SET ua = 'plain', version = '1' WHERE id = 's-1'")
        right = suspend_right.show(tx, session="s-1", now=context.clock.now())
    before = find(context, "s-1")
    moving(context)
    after = session_move.switch(context, "s-1")["session"]
    moved = find(context, "s-1")
    assert (after["id"], after["vm"], after["state"], after["user"]) == ("s-1", "vm-2", "active", "ann")
    assert moved.fence > before.fence
    assert moved.explanation["moved"]["from"] == "vm-1"
    with context.store.reading() as tx:
        now = context.clock.now()
        assert suspend_right.show(tx, session="s-1", now=now) == right
        assert [grant.watcher for grant in grants.list_grants(tx, session="s-1", now=now)] == ["bo", "cy"]
        assert moves.held_vms(tx) == {}
        assert sessions.live_on_vm(tx, vm="vm-1") is None
        assert vms.condition(tx, vm="vm-1") is VmCondition.DIRTY
    assert reconcile(context)["dirty"] == ["vm-1"]
    assert check_state(context.store)["problems"] == []
    with pytest.raises(Conflict, match="not moving any more"):
        session_move.switch(context, "s-1")


def test_move_that_fails_is_undone_to_the_old_vm(context: Context, world: World) -> None:
    """Forwarded there again at the same port; it says that its UA is stopped until it was started."""
    before = find(context, "s-1")
    moving(context)
    done = session_move.undo(context, "s-1", reason="test")
    assert done["changed"]
    assert find(context, "s-1") == replace(
        before, changed_at=done["session"]["changed_at"], seen_at=done["session"]["seen_at"], reason=STOPPED
    )
    assert (world.hypervisor.forwards("vm-1") or {})[before.port] == 5232
    again = reconcile(context)
    assert (again["restarted"], again["dirty"]) == ([{"session": "s-1", "vm": "vm-1"}], ["vm-2"])
    assert not session_move.undo(context, "s-1", reason="test")["changed"]
    assert not session_move.undo(context, "s-1", reason="test")["changed"]
    with pytest.raises(Conflict, match="its UA is stopped"):
        moving(context)


def test_move_cut_off_is_undone_by_reconciling_or_by_closing(context: Context) -> None:
    """Closing then captures as from any active session: nothing that the user did is lost."""
    moving(context)
    cut_off(context)
    told = reconcile(context)
    assert [each["action"] for each in told["findings"]] == ["undo_move", "forward", "start_ua"]
    assert (told["abandoned"], told["restarted"]) == ([], [{"session": "s-1", "vm": "vm-1"}])
    with context.store.transaction() as tx:
        sessions.set_reason(tx, session_id="s-1", reason="")
        vms.mark_clean(tx, vm="vm-2", now=context.clock.now())
    moving(context)
    cut_off(context)
    assert session.begin_close(context, "s-1")["steps"] == ["capture", "release"]
    session.release(context, "s-1")
    with context.store.reading() as tx:
        assert moves.held_vms(tx) == {}
    assert check_state(context.store)["problems"] == []


def test_move_cut_off_on_a_vm_that_is_off_leaves_the_session_there(context: Context, world: World) -> None:
    """It waits for its VM, as it would without the move."""
    moving(context)
    cut_off(context)
    state = world.hypervisor.directory / "vm-1.json"
    state.write_text(state.read_text().replace("running", "stopped"))
    assert [each["action"] for each in reconcile(context)["findings"]] == ["undo_move", "mark"]
    kept = find(context, "s-1")
    assert (kept.vm, kept.state, kept.reason) == ("vm-1", SessionState.ACTIVE, "its VM 'vm-1' is stopped")


def test_move_is_refused_where_it_cannot_be(context: Context, world: World) -> None:
    """Suspended, nowhere to go, no operator: each with what to type, and nothing is changed."""
    with pytest.raises(NoVmFits):
        session_move.begin(context, "s-1", session_move.Wish(terminal="desktop", avoid=("vm-1", "vm-2")))
    with pytest.raises(NoVmFits):
        session_move.begin(context, "s-1", session_move.Wish(terminal="text-only"))
    listed = replace(context.site, access=Access(operators=frozenset({"boss"})))
    with pytest.raises(NotPermitted):
        session_move.begin(with_site(context, listed), "s-1", LEAVE)
    suspension.suspend(context, "s-1", watcher="bo")
    with pytest.raises(Conflict, match="it is suspended") as refused:
        moving(context)
    assert refused.value.hint == "vmm session resume s-1"
    assert find(context, "s-1").vm == "vm-1"
    assert world.hypervisor.vm("vm-1").state == "paused"


def test_move_takes_what_is_kept_for_a_waiting_request_only_where_nothing_else_fits(
    context: Context, world: World
) -> None:
    """Its user is at work, and the VM that it leaves comes free."""
    world.hypervisor.make("vm-3")
    with context.store.transaction() as tx:
        now = context.clock.now()
        vms.mark_clean(tx, vm="vm-3", now=now)
        ledger.record(tx, vm="vm-3", ua="radicale", version="3.2.3", state=DeploymentState.ACTIVE, now=now)
    waits(context, "eve", vm="vm-2")
    planned = session_move.begin(context, "s-1", LEAVE, check=True)
    assert planned["to"] == "vm-3"
    told = {each["vm"]: each["filter"] for each in planned["selection"]["rejected"]}
    assert told == {"vm-1": "avoid", "vm-2": "kept"}
    waits(context, "fay", vm="vm-1")
    assert session_move.begin(context, "s-1", STAY, check=True)["to"] == "vm-1"
    only = session_move.Wish(terminal="phone", avoid=("vm-1", "vm-3"))
    assert session_move.begin(context, "s-1", only)["to"] == "vm-2"


def test_session_on_a_vm_of_a_drained_pool_stays_there_and_none_moves_to_one(context: Context) -> None:
    """A drained pool gives out no VM; it takes none from a session, and an operator may move it off."""
    with context.store.transaction() as tx:
        pools.add(tx, pool="shown", vm="vm-1", now=context.clock.now())
        pools.set_drain(tx, pool="shown", drain=pools.Drain.KEEP)
    assert session_move.begin(context, "s-1", STAY)["to"] == "vm-1"
    assert session_move.begin(context, "s-1", LEAVE, check=True)["to"] == "vm-2"
    with context.store.transaction() as tx:
        pools.add(tx, pool="shown", vm="vm-2", now=context.clock.now())
    with pytest.raises(NoVmFits, match="drained"):
        session_move.begin(context, "s-1", LEAVE)


def test_vm_that_was_started_for_a_move_is_kept_as_it_was_clean(context: Context, world: World) -> None:
    """Not the session's old VM; and nothing once the move is over, when a user's data may be on either."""
    world.hypervisor.make("vm-2", state="parked")
    done = moving(context)
    assert (done["warmth"], done["snapshot"]) == ("parked", None)
    world.hypervisor.resume("vm-2")
    kept = clean_snapshot.keep(context, "s-1")["snapshot"]
    assert (world.hypervisor.snapshots("vm-1"), world.hypervisor.snapshots("vm-2")) == ([], [kept])
    session_move.undo(context, "s-1", reason="test")
    with pytest.raises(Conflict, match="'s-1' as it is: it is active, not starting") as refused:
        clean_snapshot.keep(context, "s-1")
    assert refused.value.hint == "vmm session show s-1"
    assert world.hypervisor.snapshots("vm-1") == []


def test_late_step_of_an_undone_move_touches_no_guest(context: Context) -> None:
    """The run that was thought dead finds that its move is over, and stops."""
    moving(context)
    session_move.undo(context, "s-1", reason="test")
    for vm, step in (("vm-1", session_guest.hand_over), ("vm-2", session_guest.take_over)):
        guest = SaidGuest(vm)
        with pytest.raises(Conflict, match="not moving any more"):
            step(context, guest, "s-1")
        assert guest.scripts == []
