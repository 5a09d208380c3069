"""One session found by its id; and given up, if it could not be opened or is lost."""

from __future__ import annotations

from typing import Any

from vmm_automation.model.names import check_name
from vmm_automation.model.session import Session, SessionState
from vmm_automation.operations import forwards
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import session_change
from vmm_automation.state import moves, sessions
from vmm_automation.trace import point

_STARTING = frozenset({SessionState.STARTING})


def find(context: Context, session_id: str) -> Session:
    """One session.

    Raises:
        InvalidName, NotFound: there is no such session.
    """
    check_name("session", session_id)
    with context.store.reading() as tx:
        return sessions.get(tx, session_id=session_id)


def abandon(
    context: Context, session_id: str, *, reason: str, expected: frozenset[SessionState] = _STARTING
) -> dict[str, Any]:
    """Give up a session that could not be opened; its VM stays dirty until it is cleaned.

    No change if it is in none of the states ``expected``: another run closes it, or it got further.

    Raises:
        Conflict: it moves: then there is data to be kept.
    """
    find(context, session_id)
    with context.store.transaction() as tx:
        now = context.clock.now()
        session = sessions.get(tx, session_id=session_id)
        if session.state not in expected:
            return {"changed": False, "session": session.to_document()}
        moves.require_none(tx, session)
        with session_change(tx, context, session_id, action="session.abandon", now=now) as result:
            session = sessions.move_to(
                tx,
                session_id=session_id,
                state=SessionState.FAILED,
                expected=expected,
                now=now,
                reason=reason,
            )
            result |= {"state": str(session.state)}
    point("session.abandon.recorded")
    forwards.drop_all(context, session.vm, known=session.port)
    point("session.abandon.dropped")
    return {"changed": True, "session": session.to_document()}
