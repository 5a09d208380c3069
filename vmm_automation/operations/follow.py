"""The VM follows the state: what a session is meant to be is written down first, and then done."""

from __future__ import annotations

from vmm_automation.errors import VmmError
from vmm_automation.model.session import Session, SessionState
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import session_change
from vmm_automation.state import sessions
from vmm_automation.trace import point

#: states in which a session's VM is to run, or to be paused
IN_USE = frozenset({SessionState.ACTIVE, SessionState.SUSPENDED})


def follow(context: Context, *, intent: Session, before: Session) -> None:
    """Do what was intended; then look again, for as long as another run intended something else meanwhile.

    The right is checked before and not while the VM is paused, so a run that was slow could pause what a
    later holder resumed. Whoever acts last looks last, and leaves the VM as the newest intent wants it. If
    the VM does not follow, the session is again what it was ``before``.
    """
    wanted = intent.state
    while True:
        try:
            _bring(context, intent.vm, wanted)
        except VmmError:
            _take_back(context, intent=intent, before=before)
            raise
        point("session.switch.followed")
        with context.store.reading() as tx:
            newest = sessions.get(tx, session_id=intent.id)
        if newest.state is SessionState.CLOSING and wanted is SessionState.SUSPENDED:
            wanted = SessionState.ACTIVE  # whoever closes it needs a guest that runs
        elif newest.state is wanted or newest.state not in IN_USE:
            return
        else:
            wanted = newest.state


def _bring(context: Context, vm: str, wanted: SessionState) -> None:
    if wanted is SessionState.SUSPENDED:
        context.hypervisor.pause(vm)
    else:
        context.hypervisor.resume(vm)


def _take_back(context: Context, *, intent: Session, before: Session) -> None:
    """Note that the VM did not follow, unless a later run has noted something else."""
    with context.store.transaction() as tx:
        now = context.clock.now()
        newest = sessions.get(tx, session_id=intent.id)
        noted_since = (newest.state, newest.changed_at) != (intent.state, intent.changed_at)
        if before.state is intent.state or noted_since:
            return
        with session_change(tx, context, intent.id, action="session.take_back", now=now) as result:
            sessions.move_to(
                tx,
                session_id=intent.id,
                state=before.state,
                expected=frozenset({intent.state}),
                reason=newest.reason,
                suspended_by=before.suspended_by,
                now=now,
            )
            result |= {"state": str(before.state)}
