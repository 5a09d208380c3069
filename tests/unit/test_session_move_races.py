"""A session that moves while something else is done with it: one of both is refused, nothing is lost."""

from __future__ import annotations

import pytest

from vmm_automation.errors import Conflict
from vmm_automation.model.session import SessionState
from vmm_automation.model.ua import DeploymentState
from vmm_automation.operations import session, session_move
from vmm_automation.operations.context import Context
from vmm_automation.operations.session_abandon import find
from vmm_automation.state import ledger, vms

from ..crash.world import World
from .moving_session import LEAVE, STAY, context, meanwhile, moving, world

__all__ = ["context", "world"]


def test_move_begun_while_the_closing_looks_at_the_vm_refuses_it(context: Context, world: World) -> None:
    """Else it would be closed as a session that nobody has used yet, and nothing would be captured."""
    meanwhile(context, world, lambda: moving(world.context()))
    with pytest.raises(Conflict, match="being moved to VM 'vm-2' by another run") as refused:
        session.begin_close(context, "s-1")
    assert refused.value.hint == "vmm session show s-1"
    assert find(context, "s-1").state is SessionState.STARTING
    session_move.undo(context, "s-1", reason="test")
    assert session.begin_close(context, "s-1")["steps"] == ["capture", "release"]


@pytest.mark.parametrize("wish", [STAY, LEAVE], ids=["stay", "leave"])
def test_session_that_another_run_moves_meanwhile_is_left_where_that_has_it(
    context: Context, world: World, wish: session_move.Wish
) -> None:
    """What was selected was for a session on its old VM."""
    with context.store.transaction() as tx:
        tx.execute("UPDATE sessions SET ua = 'plain', version = '1' WHERE id = 's-1'")
        ledger.record(
            tx, vm="vm-3", ua="plain", version="1", state=DeploymentState.ACTIVE, now=context.clock.now()
        )
        vms.mark_clean(tx, vm="vm-3", now=context.clock.now())
    world.hypervisor.make("vm-3")

    def other_run() -> None:
        there = world.context()
        session_move.begin(there, "s-1", session_move.Wish(terminal="desktop", vm="vm-3"))
        session_move.switch(there, "s-1")

    meanwhile(context, world, other_run, look="vms")
    with pytest.raises(Conflict, match="another run changed it meanwhile"):
        session_move.begin(context, "s-1", wish)
    kept = find(context, "s-1")
    assert (kept.vm, kept.terminal, kept.state) == ("vm-3", "desktop", SessionState.ACTIVE)
