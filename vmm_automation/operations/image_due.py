"""Which running sessions are due to be captured again, by what their UAs say; for a timer to ask."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from vmm_automation.model.session import Session, SessionState
from vmm_automation.model.times import from_text
from vmm_automation.operations.context import Context
from vmm_automation.state import generations, sessions
from vmm_automation.state.store import Snapshot


def due(context: Context) -> dict[str, Any]:
    """Active sessions whose last capture, or beginning, is at least ``capture.every_s`` of their UA ago.

    Raises:
        NotFound, SiteInvalid: the site does not define the UA of a session, or wrongly.
    """
    with context.store.reading() as tx:
        now = context.clock.now()
        found = []
        for session in sessions.list_sessions(tx, live_only=True):
            every = timedelta(seconds=context.site.ua(session.ua).capture.every_s)
            usable = session.state is SessionState.ACTIVE and not session.reason
            if usable and every and from_text(_captured_at(tx, session)) + every <= now:
                found.append({"session": session.id, "vm": session.vm})
    return {"changed": False, "due": found}


def _captured_at(tx: Snapshot, session: Session) -> str:
    newest = generations.newest(tx, user=session.user, ua=session.ua)
    return newest.captured_at if newest and newest.session == session.id else session.created_at
