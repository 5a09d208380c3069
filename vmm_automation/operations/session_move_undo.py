"""A move that cannot be finished is undone: the session is active on the VM where it was all the time."""

from __future__ import annotations

from typing import Any

from vmm_automation.model.names import check_name
from vmm_automation.model.session import SessionState
from vmm_automation.operations import forwards
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import session_change
from vmm_automation.operations.ownership import is_given_up
from vmm_automation.state import moves, sessions
from vmm_automation.trace import point

#: what stands in the way of using the session until its UA was started again
STOPPED = "its move was undone, its UA is stopped"


def undo(context: Context, session_id: str, *, reason: str) -> dict[str, Any]:
    """Let the second VM go, which stays dirty, and call the session active; no change if it does not move.

    Its forward and its UA are for reconciling: the session says so in its ``reason`` until that is done.
    """
    with context.store.reading() as tx:
        move = moves.get(tx, session_id=session_id)
    if move is None:
        return {"changed": False}
    forwards.drop_all(context, move.vm, known=0)
    with context.store.transaction() as tx:
        if moves.get(tx, session_id=session_id) != move:
            return {"changed": False}  # it arrived, or another run was faster
        now = context.clock.now()
        with session_change(tx, context, session_id, action="session.move_undone", now=now) as result:
            moves.forget(tx, session_id=session_id)
            sessions.move_to(
                tx,
                session_id=session_id,
                state=SessionState.ACTIVE,
                expected=frozenset({SessionState.STARTING}),
                now=now,
                reason=STOPPED,
            )
            result |= {"status": "undone", "vm": move.vm, "reason": reason}
    point("session.move.undone")
    return {"changed": True}


def settle(context: Context, session_id: str, *, check: bool = False) -> None:
    """Undo a move that was cut off, before something else is done with the session.

    Raises:
        Conflict: another run moves it.
    """
    check_name("session", session_id)
    deadline_s = context.site.policies.claim_deadline_s
    with context.store.reading() as tx:
        session, now = sessions.get(tx, session_id=session_id), context.clock.now()
        if not is_given_up(session.owner, since=session.changed_at, now=now, deadline_s=deadline_s):
            moves.require_none(tx, session)
    if not check:
        undo(context, session_id, reason="the run that moved it was cut off")
