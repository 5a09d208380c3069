"""What a session's steps in its guest leave where other runs come between, or the guest fails."""

from __future__ import annotations

import fcntl

import pytest

from vmm_automation.adapters.disks import VmFiles
from vmm_automation.errors import Conflict
from vmm_automation.model.session import SessionState
from vmm_automation.operations import session, session_claim, session_guest
from vmm_automation.operations.context import Context
from vmm_automation.operations.session_abandon import find

from ..crash.world import World
from ..real_state import RealState
from .test_cleaning import SaidGuest

CLEO = session_claim.Request(user="cleo", ua="radicale", terminal="desktop", vm="vm-2")


@pytest.fixture
def context(real_state: RealState) -> Context:
    world = World(real_state)
    world.make()
    return world.context()


def claimed(context: Context) -> str:
    """A session that this test's own parent opens, and is still at it."""
    name: str = session_claim.claim(context, CLEO)["session"]["id"]
    return name


def state_of(context: Context, name: str) -> SessionState:
    return find(context, name).state


def test_session_that_another_run_opens_is_not_closed(context: Context) -> None:
    """What that run sends next would otherwise come to a VM that was cleaned before."""
    name = claimed(context)
    with pytest.raises(Conflict, match="is being opened by another run"):
        session.begin_close(context, name, discard=True)
    assert state_of(context, name) is SessionState.STARTING


def test_opening_whose_run_is_dead_is_closed(context: Context) -> None:
    """There is nobody who could send anything."""
    name = claimed(context)
    host = find(context, name).owner.split(":")[0]
    with context.store.transaction() as tx:
        tx.execute("UPDATE sessions SET owner = :owner", owner=f"{host}:boot:1:2")
    assert session.begin_close(context, name)["steps"] == ["release"]


def test_run_that_failed_gives_up_no_session_that_another_closes(context: Context) -> None:
    """The closing goes on to its end."""
    name = claimed(context)
    with context.store.transaction() as tx:
        tx.execute("UPDATE sessions SET state = 'closing' WHERE id = :name", name=name)
    assert not session.abandon(context, name, reason="its UA did not start")["changed"]
    assert session.release(context, name)["session"]["state"] == "closed"


def test_vm_is_the_runs_own_while_a_session_comes_up_on_it(context: Context) -> None:
    """Whoever cleans it waits; and a session that was given up while this run waited is not brought up."""
    name, guest, looked = claimed(context), SaidGuest("vm-2"), []

    def look() -> None:
        lock = VmFiles(context.places.vms / context.site.name / "vm-2").lock
        with lock.open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        looked.append(name)

    guest.meanwhile = look
    session_guest.bring_up(context, guest, name)
    assert looked
    session.abandon(context, name, reason="its opening was thought to be cut off")
    with pytest.raises(Conflict, match="failed, not starting"):
        session_guest.bring_up(context, guest, name)
    assert len(looked) == len(guest.scripts)
