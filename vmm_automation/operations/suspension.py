"""Suspend and resume: the suspend right decides who may, libvirt does it; milliseconds, no SSH, no guest."""

from __future__ import annotations

from typing import Any

from vmm_automation.model.names import check_name
from vmm_automation.model.session import Session, SessionState
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import session_change
from vmm_automation.operations.follow import IN_USE, follow
from vmm_automation.operations.identity import require_switch
from vmm_automation.operations.reconcile import reconcile_session, require_guest
from vmm_automation.operations.session_abandon import find
from vmm_automation.state import sessions, suspend_right
from vmm_automation.state.store import Tx
from vmm_automation.trace import point


def suspend(
    context: Context, session_id: str, *, watcher: str, fence: int | None = None, check: bool = False
) -> dict[str, Any]:
    """Pause the session's VM, for the Watcher who holds the suspend right now.

    The check of the holder and the record of the intent are one transaction; a run cut off after it is
    finished by the next command that touches the session, or undone by the next resume.

    Raises:
        NotPermitted, LockHeld: the Watcher does not hold the right; names the one who does.
        Conflict: the session is not active, or its VM is off or gone.
    """
    return _switch(
        context,
        session_id,
        watcher=check_name("watcher", watcher),
        fence=fence,
        to=SessionState.SUSPENDED,
        check=check,
    )


def resume(
    context: Context,
    session_id: str,
    *,
    watcher: str | None = None,
    fence: int | None = None,
    check: bool = False,
) -> dict[str, Any]:
    """Let a suspended session go on, for the holder of the suspend right, or (no Watcher) the operator."""
    if watcher is not None:
        check_name("watcher", watcher)
    return _switch(context, session_id, watcher=watcher, fence=fence, to=SessionState.ACTIVE, check=check)


def _switch(
    context: Context,
    session_id: str,
    *,
    watcher: str | None,
    fence: int | None,
    to: SessionState,
    check: bool,
) -> dict[str, Any]:
    verb = "suspend" if to is SessionState.SUSPENDED else "resume"
    _require_allowed(context, session_id, watcher=watcher, action=verb)
    seen = reconcile_session(context, session_id, check=check)
    require_guest(find(context, session_id), seen, doing=verb)
    with context.store.transaction(keep=not check) as tx:
        before = sessions.get(tx, session_id=session_id)
        session = _intend(tx, context, before, watcher=watcher, fence=fence, to=to)
    if not check:
        point("session.switch.recorded")
        follow(context, intent=session, before=before)
        point("session.switch.acted")
    return {"changed": before.state is not to, "session": session.to_document()}


def _intend(
    tx: Tx, context: Context, before: Session, *, watcher: str | None, fence: int | None, to: SessionState
) -> Session:
    """Check the holder of the right and record what is wanted, in the one transaction of the caller."""
    now, suspends = context.clock.now(), to is SessionState.SUSPENDED
    verb = "suspend" if suspends else "resume"
    watcher = require_switch(tx, context.identity, session=before.id, watcher=watcher, action=verb, now=now)
    if watcher is not None:
        suspend_right.check_holder(tx, session=before.id, watcher=watcher, fence=fence, now=now, action=verb)
    if before.state is to:
        return before
    with session_change(tx, context, before.id, action=f"session.{verb}", now=now) as result:
        session = sessions.move_to(
            tx,
            session_id=before.id,
            state=to,
            expected=IN_USE,
            now=now,
            reason=before.reason,
            suspended_by=(watcher or "") if suspends else "",
        )
        result |= {"state": str(session.state), "watcher": watcher, "fence": fence}
    return session


def _require_allowed(context: Context, session_id: str, *, watcher: str | None, action: str) -> None:
    """Who may not is told so before anything is put right for them; it is asked again where it counts."""
    with context.store.reading() as tx:
        sessions.get(tx, session_id=check_name("session", session_id))
        now = context.clock.now()
        require_switch(tx, context.identity, session=session_id, watcher=watcher, action=action, now=now)
