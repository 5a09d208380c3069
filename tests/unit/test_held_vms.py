"""A VM that is worked on is given to nobody: not selected, not claimed, and worth waiting for."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from vmm_automation.errors import NoVmFits
from vmm_automation.operations import session_move
from vmm_automation.operations.context import Context
from vmm_automation.operations.session_claim import claim, select
from vmm_automation.operations.session_queue import claim_or_wait
from vmm_automation.operations.vm_facts import facts, known_one, observed_one
from vmm_automation.selection.turns import is_free
from vmm_automation.state import holds, moves, seats
from vmm_automation.state.store import Engine

from ..crash.world import World
from ..real_state import RealState
from .waiting_fleet import Moments, a_context, a_site, asks, end, waits

WHY = "UA 'x' is rolled out to it"


@pytest.fixture
def clock() -> Moments:
    return Moments()


@pytest.fixture
def context(store: Engine, clock: Moments, tmp_path: Path) -> Context:
    """Two VMs that fit, the first of them held."""
    made = a_context(store, clock, a_site(tmp_path / "site"), tmp_path, memory={"vm-1": 512, "vm-2": 4096})
    hold(made, "vm-1")
    return made


def hold(context: Context, vm: str, *, seconds: int = 3600) -> None:
    with context.store.transaction() as tx:
        holds.hold(tx, vm=vm, reason=WHY, until=context.clock.now() + timedelta(seconds=seconds))


def let_go(context: Context, vm: str) -> None:
    with context.store.transaction() as tx:
        holds.release(tx, vm=vm, reason=WHY)


def test_held_vm_is_not_selected_and_the_explanation_says_by_what_it_is_held(context: Context) -> None:
    """A better VM is left out for it; where all are held, the error counts them and says where to look."""
    selection = select(context, asks("ann"))
    assert [choice.vm for choice in selection.ranked] == ["vm-2"]
    assert [each.sentence for each in selection.rejected] == [f"vm-1 is held: {WHY}"]
    hold(context, "vm-2")
    with pytest.raises(NoVmFits, match="2 being worked on") as raised:
        claim(context, asks("ann"))
    assert raised.value.hint == "vmm ua rollout show"


def test_hold_that_is_over_holds_nothing(context: Context, clock: Moments) -> None:
    """Its controller was killed: the VM is known as free again, by both ways to know it."""
    hold(context, "vm-1", seconds=10)
    for free in (False, True):
        assert [is_free(each) for each in facts(context)] == [free, True]
        found = observed_one(context, "vm-1")
        with context.store.reading() as tx:
            one = known_one(tx, found)
        assert one is not None
        assert is_free(one) is free
        clock.advance(seconds=10)


def test_request_waits_for_a_held_vm(context: Context, clock: Moments) -> None:
    """It is served as soon as the work is done; nobody is told that no VM could ever fit."""
    clock.coming[7.2] = lambda: let_go(context, "vm-1")
    done = claim_or_wait(context, asks("ann", vm="vm-1"), wait_s=60)
    assert (done["vm"], done["queue"]["position"]) == ("vm-1", 1)


def test_held_vm_is_kept_for_no_request_ahead(context: Context) -> None:
    """Who stands ahead gets the VM that is there; the one behind is not given that."""
    waits(context, "older")
    with pytest.raises(NoVmFits, match="1 being worked on, 1 kept for requests that wait"):
        claim(context, asks("ann"))


def test_session_does_not_move_to_a_held_vm(context: Context) -> None:
    """A hold that came after the selection counts in the write that takes the VM."""
    session = claim(context, asks("ann"))["session"]["id"]
    with context.store.transaction() as tx:
        now = context.clock.now()
        wish = {"session_id": session, "vm": "vm-1", "terminal": "phone"}
        assert moves.hold(tx, **wish, explanation={}, now=now) is None
        holds.release(tx, vm="vm-1", reason=WHY)
        assert moves.hold(tx, **wish, explanation={}, now=now)


def test_session_keeps_a_vm_that_is_held_for_when_it_has_ended(real_state: RealState) -> None:
    """A rollout that waits for the session does not drive it away when it goes on at another terminal."""
    world = World(real_state)
    world.make()
    there = world.context()
    hold(there, "vm-1")
    planned = session_move.begin(there, "s-1", session_move.Wish(terminal="phone"), check=True)
    assert planned["to"] == "vm-1"


def test_seat_of_a_held_vm_is_free_again_with_its_last_hold(
    store: Engine, clock: Moments, tmp_path: Path
) -> None:
    """On a large site too: what a rollout has worked on is not left over until all else is taken."""
    site = a_site(tmp_path / "site", policies="seats_from: 2")
    memory = {"vm-1": 512, "vm-2": 512, "vm-3": 512}
    context = a_context(store, clock, site, tmp_path, memory=memory)
    end(context, claim(context, asks("first"))["vm"])  # all are learnt
    hold(context, "vm-1")
    assert claim(context, asks("ann"))["vm"] == "vm-2"
    with store.reading() as tx:
        assert not seats.learnt(tx)["vm-1"].free
    let_go(context, "vm-1")
    with store.reading() as tx:
        assert {vm: seat.free for vm, seat in seats.learnt(tx).items()} == {
            "vm-1": True,
            "vm-2": False,
            "vm-3": True,
        }
    hold(context, "vm-2")
    let_go(context, "vm-2")
    with store.reading() as tx:
        assert not seats.learnt(tx)["vm-2"].free
