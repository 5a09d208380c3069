"""A process killed at each trace point that needs no guest, on both engines; then a fresh one brings order.

The same for those that need a guest: ``tests/integration/test_interrupted.py``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from vmm_automation.model.session import Session, SessionState
from vmm_automation.model.vm import VmCondition, VmState
from vmm_automation.operations import audit_log, clean_snapshot
from vmm_automation.operations.state_check import check_state
from vmm_automation.operations.state_transfer import export_state
from vmm_automation.state import schema, sessions, suspend_right, transfer, vms
from vmm_automation.trace import POINTS

from ..integration.killed_at import IN_GUEST
from ..real_state import RealState
from .file_vms import SSH_PORT
from .test_killed_images import IMAGE_POINTS
from .test_killed_pools import POOL_POINTS
from .world import World


def suspended(world: World) -> None:
    world.finish("suspend")


def let_go(world: World) -> None:
    """Suspended, and the right given back: the site lets the session go on."""
    world.finish("suspend")
    world.finish("lock release")


def resumed_by_hand(world: World) -> None:
    world.finish("suspend")
    world.hypervisor.resume("vm-1")


def started_anew(world: World) -> None:
    world.hypervisor.make("vm-1")


def closing(world: World) -> None:
    world.finish("close")


def moving(world: World) -> None:
    world.kill("move", at="session.move.answered")


def nothing(_world: World) -> None:
    """As it is."""


@dataclass(frozen=True)
class Case:
    """Where to kill what; ``after`` is what becomes of s-1, or (opening) of the new session."""

    point: str
    act: str
    after: str
    before: Callable[[World], None] = nothing

    def __str__(self) -> str:
        return f"{self.act} at {self.point}"


CASES = [
    Case("session.enqueue.recorded", "wait", "active"),
    Case("session.claim.recorded", "open", "failed"),
    Case("vm.snapshot.dropped", "open", "failed"),
    Case("vm.snapshot.taken", "open", "failed"),
    Case("vm.snapshot.recorded", "open", "failed"),
    Case("session.activate.forwarded", "open with endpoint", "failed"),
    Case("session.activate.answered", "open with endpoint", "failed"),
    Case("session.activate.recorded", "open", "active"),
    Case("session.move.recorded", "move", "active"),
    Case("session.move.unreachable", "move", "active"),
    Case("session.move.forwarded", "move", "active"),
    Case("session.move.answered", "move", "active"),
    Case("session.move.switched", "move", "active"),
    Case("session.move.undone", "reconcile", "active", before=moving),
    Case("session.abandon.recorded", "abandon", "failed"),
    Case("session.abandon.dropped", "abandon", "failed"),
    Case("session.close.recorded", "close", "closing", before=suspended),
    Case("session.close.unreachable", "close", "closing", before=suspended),
    Case("session.close.out_of_use", "close", "closing"),
    Case("session.release.recorded", "release", "closed", before=closing),
    Case("session.switch.recorded", "suspend", "suspended"),
    Case("session.switch.followed", "suspend", "suspended"),
    Case("session.switch.acted", "suspend", "suspended"),
    Case("session.switch.recorded", "resume", "active", before=suspended),
    Case("session.switch.followed", "resume", "active", before=suspended),
    Case("session.switch.acted", "resume", "active", before=suspended),
    Case("session.lease_end.recorded", "reconcile", "active", before=let_go),
    Case("session.lease_end.recorded", "resume", "active", before=let_go),
    Case("reconcile.planned", "reconcile", "suspended", before=resumed_by_hand),
    Case("reconcile.acted", "reconcile", "suspended", before=resumed_by_hand),
    Case("reconcile.noted", "reconcile", "suspended", before=resumed_by_hand),
    Case("reconcile.marked", "reconcile", "active", before=started_anew),
    Case("reconcile.forwarded", "reconcile", "active", before=started_anew),
]
#: changes of one transaction: killed before its end, nothing of it is there
IN_ONE = [
    "open",
    "wait",
    "abandon",
    "close",
    "touch",
    "move to another terminal",
    "suspend",
    "assign",
    "update",
    "revoke",
]
IN_ONE += ["lock acquire", "lock release", "lock hand over", "lock break"]


@pytest.fixture
def world(real_state: RealState) -> World:
    made = World(real_state)
    made.make()
    return made


def require_invariants(world: World) -> list[Session]:
    """What holds whatever was killed, once a fresh process has reconciled; returns all sessions."""
    with world.state.open() as store:
        assert check_state(store)["problems"] == []  # one live session per VM, the right, fences
        assert audit_log.verify(store)["valid"]
        with store.transaction(keep=False) as tx:
            found = sessions.list_sessions(tx)
            assert vms.next_fence(tx) > max(session.fence for session in found)
            assert suspend_right.show(tx, session="s-1", now=world.context().clock.now()).fence >= 1
    hypervisor = world.hypervisor
    for session in found:
        vm = hypervisor.vm(session.vm)
        if session.state in {SessionState.ACTIVE, SessionState.SUSPENDED}:
            paused = session.state is SessionState.SUSPENDED
            assert vm.state is (VmState.PAUSED if paused else VmState.RUNNING)
    for vm in hypervisor.vms():
        wanted = {session.port for session in found if session.live and session.vm == vm.name} - {0}
        assert set(hypervisor.forwards(vm.name) or {}) == {SSH_PORT, *wanted}, vm.name
    return found


@pytest.mark.parametrize("case", CASES, ids=str)
def test_killed_between_two_steps_is_brought_to_order_by_the_next_process(world: World, case: Case) -> None:
    """One reconciliation later all agrees, and a second finds nothing to change."""
    case.before(world)
    world.kill(case.act, at=case.point)
    told = json.loads(world.finish("reconcile"))
    assert told["failures"] == []
    if case.after == "closing":
        assert told["to_close"] == [{"session": "s-1", "vm": "vm-1"}]
        assert json.loads(world.finish("close"))["steps"] == ["capture", "release"]
        assert json.loads(world.finish("release"))["session"]["state"] == "closed"
    assert json.loads(world.finish("queue")) == []
    found = require_invariants(world)
    of = found[-1] if case.act.startswith("open") else found[0]
    assert str(of.state) == case.after.replace("closing", "closed")
    assert not json.loads(world.finish("reconcile"))["changed"]


@pytest.mark.parametrize("case", [case for case in CASES if "session.move" in case.point], ids=str)
def test_killed_move_leaves_the_session_whole_on_one_vm_with_its_watchers(world: World, case: Case) -> None:
    """On the new one only after the one write that says so; the other VM is dirty, listed to be cleaned."""
    case.before(world)
    world.kill(case.act, at=case.point)
    told = json.loads(world.finish("reconcile"))
    arrived = case.point == "session.move.switched"
    here, other = ("vm-2", "vm-1") if arrived else ("vm-1", "vm-2")
    context = world.context()
    with context.store.reading() as tx:
        moved = sessions.get(tx, session_id="s-1")
        assert sessions.holders(tx) == {here: "s-1"}
        assert vms.condition(tx, vm=other) is VmCondition.DIRTY
        assert suspend_right.show(tx, session="s-1", now=context.clock.now()).holder == "bo"
    assert (moved.vm, moved.terminal) == (here, "phone" if arrived else "desktop")
    assert told["dirty"] == [other]
    assert told["restarted"] == ([] if arrived else [{"session": "s-1", "vm": "vm-1"}])


@pytest.mark.parametrize("point", ["dropped", "taken", "recorded"])
def test_snapshot_that_a_killed_run_took_is_used_and_an_older_one_is_gone(world: World, point: str) -> None:
    """Whoever was killed had sent nothing to the VM; the VM is dirty all the same until it was taken back."""
    world.hypervisor.take_snapshot("vm-2", snapshot="vmm-clean-of-before-an-update")
    world.kill("open", at=f"vm.snapshot.{point}")
    world.finish("reconcile")
    context = world.context()
    there = clean_snapshot.current(context, "vm-2")
    assert world.hypervisor.snapshots("vm-2") == ([] if point == "dropped" else [there])
    with context.store.reading() as tx:
        assert vms.condition(tx, vm="vm-2") is VmCondition.DIRTY


@pytest.mark.parametrize("act", IN_ONE)
def test_killed_before_its_transaction_ends_has_changed_nothing(world: World, act: str) -> None:
    """The state is to the letter what it was, and the same can be done by the next process."""
    with world.state.open() as store, store.reading() as tx:
        before = transfer.sha256(tx)
    vms_before = {path.name: path.read_text() for path in world.hypervisor.directory.glob("*.json")}
    world.kill(act, at="audit.appended")
    with world.state.open() as store, store.reading() as tx:
        assert transfer.sha256(tx) == before
    vms_after = {path.name: path.read_text() for path in world.hypervisor.directory.glob("*.json")}
    assert vms_after == vms_before
    world.finish(act)
    world.finish("reconcile")
    with world.state.open() as store:
        assert check_state(store)["problems"] == []
        assert audit_log.verify(store)["valid"]


@pytest.mark.parametrize("version", range(1, schema.VERSION))
def test_killed_while_migrating_leaves_the_older_state(
    new_state: RealState, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    """Every version before the newest: it is whole and of its version, and the next process brings it up."""
    with monkeypatch.context() as before:
        before.setattr(schema, "VERSION", version)
        before.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:version])
        new_state.open().close()
    world = World(new_state)
    world.files.mkdir(parents=True)
    world.kill("migrate", at="state.migrate.defined")
    told = json.loads(world.finish("migrate"))
    assert (told["from"], told["to"]) == (version, schema.VERSION)
    with new_state.open() as store:
        assert check_state(store)["problems"] == []


@pytest.mark.parametrize("act", ["export", "backup"])
def test_killed_while_saving_leaves_the_whole_file_or_none(world: World, act: str) -> None:
    """Under its name a file is complete; before it has its name it can be made again."""
    saved = world.files / "saved"
    world.kill(act, at="state.file.written")
    assert not saved.exists()
    world.kill(act, at="state.file.named")
    first = saved.read_bytes()
    saved.unlink()
    world.finish(act)
    assert saved.read_bytes() == first


def test_killed_while_importing_leaves_an_empty_state(tmp_path: Path, new_state: RealState) -> None:
    """Nothing of the file is kept; the next import has all of it."""
    source, empty = World(RealState(tmp_path / "source" / "home")), World(new_state)
    source.make()
    empty.files.mkdir()
    (empty.files / "site").symlink_to(source.files / "site", target_is_directory=True)
    with source.state.open() as store:
        wanted = export_state(store, path=empty.files / "export")["sha256"]
    with new_state.open() as store, store.reading() as tx:
        before = transfer.sha256(tx)
    empty.kill("import", at="state.import.replaced")
    with new_state.open() as store, store.reading() as tx:
        assert transfer.sha256(tx) == before
    assert json.loads(empty.finish("import"))["sha256"] == wanted
    with new_state.open() as store:
        assert check_state(store)["problems"] == []


def test_no_point_is_left_out() -> None:
    """Each is either killed at here, or with a guest."""
    here = {case.point for case in CASES}
    here |= {"audit.appended", "state.migrate.defined", "state.import.replaced"}
    here |= {"state.file.written", "state.file.named", *POOL_POINTS, *IMAGE_POINTS}
    assert here | IN_GUEST == set(POINTS)
    assert not here & IN_GUEST
