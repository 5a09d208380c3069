"""Suspend and resume: the suspend right decides who may, libvirt does it; milliseconds, no SSH, no guest."""

from __future__ import annotations

from typing import Any

from vmm_automation.errors import VmmError
from vmm_automation.model.names import check_name
from vmm_automation.model.session import Session, SessionState
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import session_change
from vmm_automation.operations.identity import require_switch
from vmm_automation.state import sessions, suspend_right

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
    action = "session.suspend" if to is SessionState.SUSPENDED else "session.resume"
    with context.store.transaction(keep=not check) as tx:
        now = context.clock.now()
        before = session = sessions.get(tx, session_id=session_id)
        verb = "suspend" if to is SessionState.SUSPENDED else "resume"
        watcher = require_switch(
            tx, context.identity, session=session_id, watcher=watcher, action=verb, now=now
        )
        if watcher is not None:
            suspend_right.check_holder(
                tx, session=session_id, watcher=watcher, fence=fence, now=now, action=verb
            )
        changed = before.state is not to
        if changed:
            with session_change(tx, context, session_id, action=action, now=now) as result:
                session = sessions.move_to(
                    tx, session_id=session_id, state=to, expected=_MAY_SUSPEND, now=now
                )
                result |= {"state": str(session.state), "watcher": watcher, "fence": fence}
    if not check:
        _act(context, intent=session, back_to=before.state)
    return {"changed": changed, "session": session.to_document()}


def _act(context: Context, *, intent: Session, back_to: SessionState) -> None:
    """Do what was intended; then look again, for as long as another run intended something else meanwhile.

    The right is checked before and not while the VM is paused, so a run that was slow could pause what a
    later holder resumed. Whoever acts last looks last, and leaves the VM as the newest intent wants it.
    """
    wanted = intent.state
    while True:
        try:
            _bring(context, intent.vm, wanted)
        except VmmError:
            _take_back(context, intent=intent, back_to=back_to)
            raise
        with context.store.reading() as tx:
            newest = sessions.get(tx, session_id=intent.id)
        if newest.state is wanted or newest.state not in _MAY_SUSPEND:
            return
        wanted = newest.state


def _bring(context: Context, vm: str, wanted: SessionState) -> None:
    if wanted is SessionState.SUSPENDED:
        context.hypervisor.pause(vm)
    else:
        context.hypervisor.resume(vm)


def _take_back(context: Context, *, intent: Session, back_to: SessionState) -> None:
    """Note that the VM did not follow, unless a later run has noted something else."""
    with context.store.transaction() as tx:
        now = context.clock.now()
        newest = sessions.get(tx, session_id=intent.id)
        if back_to is intent.state or (newest.state, newest.changed_at) != (intent.state, intent.changed_at):
            return
        with session_change(tx, context, intent.id, action="session.take_back", now=now) as result:
            expected = frozenset({intent.state})
            sessions.move_to(tx, session_id=intent.id, state=back_to, expected=expected, now=now)
            result |= {"state": str(back_to)}
