"""Suspend and resume: the suspend right decides who may, libvirt does it; milliseconds, no SSH, no guest."""

from __future__ import annotations

from typing import Any

from vmm_automation.errors import VmmError
from vmm_automation.model.names import check_name
from vmm_automation.model.session import SessionState
from vmm_automation.operations.context import Context
from vmm_automation.state import events, sessions, suspend_right

_MAY_SUSPEND = frozenset({SessionState.ACTIVE, SessionState.SUSPENDED})


def suspend(
    context: Context, session_id: str, *, watcher: str, fence: int | None = None, check: bool = False
) -> dict[str, Any]:
    """Pause the session's VM, for the Watcher who holds the suspend right now.

    The check of the holder and the record of the intent are one transaction; a run cut off after it is
    finished by the next suspend, or undone by the next resume.

    Raises:
        NotPermitted, LockHeld: the Watcher does not hold the right; names the one who does.
        Conflict: the session is not active.
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
    check_name("session", session_id)
    with context.store.transaction(keep=not check) as tx:
        now = context.clock.now()
        before = session = sessions.get(tx, session_id=session_id)
        if watcher is not None:
            verb = "suspend" if to is SessionState.SUSPENDED else "resume"
            suspend_right.check_holder(
                tx, session=session_id, watcher=watcher, fence=fence, now=now, action=verb
            )
        changed = before.state is not to
        if changed:
            session = sessions.move_to(tx, session_id=session_id, state=to, expected=_MAY_SUSPEND, now=now)
            events.append(
                tx,
                actor=watcher or context.actor,
                action="session_suspend" if to is SessionState.SUSPENDED else "session_resume",
                object_name=session_id,
                result={"state": str(session.state)},
                now=now,
            )
    if not check:
        _act(context, session_id, vm=before.vm, to=to, back_to=before.state)
    return {"changed": changed, "session": session.to_document()}


def _act(context: Context, session_id: str, *, vm: str, to: SessionState, back_to: SessionState) -> None:
    try:
        if to is SessionState.SUSPENDED:
            context.hypervisor.pause(vm)
        else:
            context.hypervisor.resume(vm)
    except VmmError:
        if back_to is not to:
            with context.store.transaction() as tx:
                sessions.move_to(
                    tx,
                    session_id=session_id,
                    state=back_to,
                    expected=frozenset({to}),
                    now=context.clock.now(),
                )
        raise
