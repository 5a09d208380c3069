"""Which running sessions are due to be captured again, by what their UAs say; for a timer to ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from vmm_automation.errors import Partial, VmmError, error_from_document
from vmm_automation.model.session import Session, SessionMode, SessionState
from vmm_automation.model.times import from_text
from vmm_automation.operations.context import Context
from vmm_automation.state import generations, orphans, sessions
from vmm_automation.state.store import Snapshot


def due(context: Context) -> dict[str, Any]:
    """Active sessions whose last capture, look in vain, or beginning is ``capture.every_s`` of their UA ago.

    ``failures`` are those whose UA the site does not define, or wrongly: the others are due all the same.
    """
    found, failures = [], []
    with context.store.reading() as tx:
        now = context.clock.now()
        for session in sessions.list_sessions(tx, live_only=True):
            usable = session.state is SessionState.ACTIVE and not session.reason
            if not usable or session.mode is SessionMode.READ_ONLY:
                continue
            told = {"session": session.id, "vm": session.vm}
            try:
                every = timedelta(seconds=context.site.ua(session.ua).capture.every_s)
            except VmmError as undefined:
                failures.append({**told, "error": undefined.to_document()})
                continue
            if every and from_text(_last(tx, session)) + every <= now:
                found.append(told)
    return {"changed": False, "due": found, "failures": failures}


def judge(failures: Sequence[Mapping[str, Any]], *, tried: int) -> dict[str, Any]:
    """What came of ``tried`` sessions, when all have been seen to.

    Raises:
        Partial: some failed; ``details['failures']`` has each with its error.
        VmmError: all did, in the same way.
    """
    if not failures:
        return {"changed": False}
    first = error_from_document(failures[0]["error"])
    details = {"failures": [dict(failure) for failure in failures]}
    if len(failures) == tried and len({failure["error"].get("class") for failure in failures}) == 1:
        first.details |= details
        raise first
    names = ", ".join(failure["session"] for failure in failures)
    raise Partial(
        f"{len(failures)} of {tried} sessions could not be captured ({names}); first: {first.message}",
        hint=first.hint,
        details=details,
    )


def looked(context: Context, session_id: str) -> None:
    """Note that a capture that was due made no generation, so that it is not due on the next tick."""
    with context.store.transaction() as tx:
        sessions.set_looked(tx, session_id=session_id, now=context.clock.now())


def _last(tx: Snapshot, session: Session) -> str:
    of = {"user": session.user, "ua": session.ua}
    branch = session.mode is SessionMode.BRANCH
    saves = orphans.list_orphans(tx, **of) if branch else generations.list_generations(tx, **of)[-1:]
    captured = [save.captured_at for save in saves if save.session == session.id]
    return max(*captured, session.looked_at, session.created_at)
