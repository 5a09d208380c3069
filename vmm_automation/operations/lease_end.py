"""A session that a Watcher suspended goes on once the suspend right is vacant, if the site wants that."""

from __future__ import annotations

from datetime import datetime, timedelta

from vmm_automation.model.session import Session, SessionState
from vmm_automation.model.times import to_text
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import session_change
from vmm_automation.operations.follow import follow
from vmm_automation.state import sessions, suspend_right
from vmm_automation.state.store import Snapshot
from vmm_automation.trace import point


def is_due(tx: Snapshot, context: Context, session: Session, *, now: datetime) -> bool:
    """Whether the lease under which a session was suspended is over, and the grace time too.

    Whoever acquires the right before that inherits the suspended session: it stays as long as they hold it.
    """
    policies = context.site.policies
    suspended = session.state is SessionState.SUSPENDED and session.suspended_by
    if not suspended or not policies.resume_on_lease_end:
        return False
    since = suspend_right.vacant_since(tx, session=session.id, now=now)
    return since is not None and since <= to_text(now - timedelta(seconds=policies.resume_grace_s))


def resume_due(context: Context, session_id: str) -> bool:
    """Resume a session whose lease is over; False if it is not (any more)."""
    with context.store.transaction() as tx:
        now = context.clock.now()
        before = sessions.get(tx, session_id=session_id)
        if not is_due(tx, context, before, now=now):
            return False
        with session_change(tx, context, session_id, action="session.lease_end", now=now) as result:
            suspend_right.end_lease(tx, session=session_id, now=now)
            intent = sessions.move_to(
                tx,
                session_id=session_id,
                state=SessionState.ACTIVE,
                expected=frozenset({SessionState.SUSPENDED}),
                now=now,
                reason=before.reason,
            )
            result |= {"state": str(intent.state), "suspended_by": before.suspended_by}
    point("session.lease_end.recorded")
    follow(context, intent=intent, before=before)
    return True
