"""Which running sessions are due to be captured again, by what their UAs say; for a timer to ask."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from vmm_automation.model.session import Session, SessionMode, SessionState
from vmm_automation.model.times import from_text
from vmm_automation.operations.context import Context
from vmm_automation.state import generations, orphans, sessions
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
            usable = usable and session.mode is not SessionMode.READ_ONLY
            if usable and every and from_text(_captured_at(tx, session)) + every <= now:
                found.append({"session": session.id, "vm": session.vm})
    return {"changed": False, "due": found}


def _captured_at(tx: Snapshot, session: Session) -> str:
    of = {"user": session.user, "ua": session.ua}
    branch = session.mode is SessionMode.BRANCH
    saves = orphans.list_orphans(tx, **of) if branch else generations.list_generations(tx, **of)[-1:]
    return max((save.captured_at for save in saves if save.session == session.id), default=session.created_at)
