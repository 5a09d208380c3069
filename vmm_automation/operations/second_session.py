"""Two sessions of one user and UA at once: what the site or the UA allows, and what the second one cannot do.

Which mode a session has is decided by the write that claims its seat (``state/sessions.py``) and never
changes, whichever of the two ends first.
"""

from __future__ import annotations

from contextlib import suppress

from vmm_automation.errors import Conflict, NotFound, SiteInvalid
from vmm_automation.model.policies import SecondSession
from vmm_automation.model.session import Session, SessionMode
from vmm_automation.operations.context import Context


def policy(context: Context, ua: str) -> SecondSession:
    """What a second session of a UA is: its definition decides, else the site."""
    with suppress(NotFound, SiteInvalid):  # of a UA that the site does not have any more
        if own := context.site.ua(ua).user_data.second_session:
            return own
    return context.site.policies.second_session


def told(session: Session) -> str:
    """In a sentence what becomes of a session's data where they are no generation; empty for a writer."""
    if session.mode is SessionMode.BRANCH:
        return f"Session '{session.id}' is a branch: what it writes is kept aside for a person"
    return unsaved(session)


def unsaved(session: Session) -> str:
    """In a sentence that nothing of a session is stored; empty where it is."""
    if session.mode is SessionMode.READ_ONLY:
        return f"Session '{session.id}' is read-only: nothing that it writes is stored"
    return ""


def say(context: Context, sentence: str) -> None:
    """Tell the operator, if there is something to tell."""
    if sentence:
        context.progress(sentence)


def require_stored(session: Session, *, doing: str) -> None:
    """Refuse what would store the data of a read-only session; ``doing`` completes 'Cannot … session'.

    Raises:
        Conflict: it is one.
    """
    if session.mode is SessionMode.READ_ONLY:
        raise Conflict(
            f"Cannot {doing} session '{session.id}': it is read-only, for another session of user"
            f" '{session.user}' and UA '{session.ua}' was open when it began",
            hint="vmm session list",
            details={"session": session.id, "mode": str(session.mode)},
        )


def require_movable(session: Session, *, to: str) -> None:
    """Refuse to take a session to another VM that its data cannot come to: only a generation gets there.

    Raises:
        Conflict: it writes none.
    """
    if session.mode is not SessionMode.WRITER:
        raise Conflict(
            f"Cannot move session '{session.id}' to VM '{to}': it is {session.mode.phrase}, and only a"
            " generation could carry its data there",
            hint=f"vmm session close {session.id}",
            details={"session": session.id, "vm": session.vm, "mode": str(session.mode)},
        )
