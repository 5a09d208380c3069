"""The suspend right: at any moment at most one Watcher of a session may suspend it.

A lease: it has a holder, an end, and a fence that grows with every acquisition, so that somebody who
held it once and was cut off cannot act on it later. It rests on a valid grant with *suspend*: it never
outlives that grant, and it is vacant from the moment the grant is. There is one row per session, so two
holders cannot be written down.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from vmm_automation.errors import Conflict, LockHeld, NotPermitted, UsageError, VmmError
from vmm_automation.model.times import to_text
from vmm_automation.model.watcher import Grant, Privilege, SuspendRight
from vmm_automation.state import grants
from vmm_automation.state.session_rows import get, require_live
from vmm_automation.state.store import Snapshot, Tx

_COLUMNS = "session, holder, fence, acquired_at, expires_at"
#: all columns: the audit entry of the same transaction asks for the same row (state/seen_rows.py)
ONE_ROW = "SELECT * FROM suspend_rights WHERE session = :session"


def acquire(tx: Tx, *, session: str, watcher: str, lease: timedelta, now: datetime) -> SuspendRight:
    """Take the right, or prolong it for the Watcher that holds it (same fence, never a nearer end).

    The end is ``lease`` from now, at the latest the end of the Watcher's grant.

    Raises:
        NotFound: no such session.
        Conflict: it has ended.
        NotPermitted: the Watcher has no valid grant, or one without *suspend*.
        LockHeld: another Watcher holds it; ``details`` has ``holder`` and ``expires_at``.
        UsageError: the lease is not longer than zero, or ends after the year 9999.
    """
    require_live(tx, session_id=session, doing="acquire the suspend right of")
    until = _lease_end(lease, now=now)
    grants.expire_due(tx, session=session, now=now)
    grant = _require_suspend(tx, session=session, watcher=watcher, doing="acquire", now=now)
    present = show(tx, session=session, now=now)
    if present.holder not in ("", watcher):
        raise _held(present, doing=f"give the suspend right of session '{session}' to '{watcher}'", now=now)
    renewed = present.holder == watcher
    right = SuspendRight(
        session=session,
        holder=watcher,
        fence=present.fence if renewed else present.fence + 1,
        acquired_at=present.acquired_at if renewed else to_text(now),
        expires_at=min(max(until, present.expires_at), grant.expires_at),
    )
    _write(tx, right, seen_fence=present.fence)
    return right


def release(tx: Tx, *, session: str, watcher: str, now: datetime) -> SuspendRight:
    """Give the right back; it is vacant, and its fence stays.

    Raises:
        LockHeld: another Watcher holds it.
        NotPermitted: nobody holds it.
    """
    present = show(tx, session=session, now=now)
    if present.holder != watcher:
        doing = f"release the suspend right of session '{session}' for '{watcher}'"
        raise _not_holding(present, watcher=watcher, doing=doing, now=now)
    grants.vacate_right(tx, session=session, holder=watcher, at=to_text(now))
    return show(tx, session=session, now=now)


def hand_over(
    tx: Tx,
    *,
    session: str,
    holder: str,
    to: str,
    lease: timedelta,
    now: datetime,
    fence: int | None = None,
) -> SuspendRight:
    """Pass the right from its holder to another Watcher in one step: it is never vacant in between.

    The new turn has a larger fence, and ends ``lease`` from now, at the latest with the grant of ``to``.
    ``fence`` is the number of the turn that the holder gives away, or None if it kept none.

    Raises:
        NotFound: no such session.
        Conflict: it has ended.
        NotPermitted: the holder does not hold it (any more), or one of the two may not suspend.
        LockHeld: another Watcher holds it.
        UsageError: both are the same Watcher, or the lease has no usable length.
    """
    doing = f"hand the suspend right over to '{to}' in"
    require_live(tx, session_id=session, doing=doing)
    if holder == to:
        raise UsageError(
            f"Cannot {doing} session '{session}': '{to}' is the one who hands it over",
            hint=f"vmm watcher lock renew {session} {to}",
        )
    until = _lease_end(lease, now=now)
    grants.expire_due(tx, session=session, now=now)
    present = check_holder(tx, session=session, watcher=holder, fence=fence, now=now, action=doing)
    grant = _require_suspend(tx, session=session, watcher=to, doing="acquire", now=now)
    right = SuspendRight(
        session=session,
        holder=to,
        fence=present.fence + 1,
        acquired_at=to_text(now),
        expires_at=min(until, grant.expires_at),
    )
    _write(tx, right, seen_fence=present.fence)
    return right


def break_right(tx: Tx, *, session: str, actor: str, reason: str, now: datetime) -> SuspendRight:
    """Take the right from whoever holds it, for the operator: it is vacant, and its fence stays.

    Whoever has a valid grant on the session is one of those who compete for the right, not its operator.

    Raises:
        NotFound: no such session.
        UsageError: no actor, or no reason.
        NotPermitted: the actor is a Watcher of the session.
        Conflict: nobody holds the right.
    """
    get(tx, session_id=session)
    doing = f"break the suspend right of session '{session}'"
    if not actor.strip() or not reason.strip():
        raise UsageError(f"Cannot {doing} without saying why", hint="add --reason TEXT")
    if grants.get_valid(tx, session=session, watcher=actor, now=now):
        raise NotPermitted(
            f"Cannot {doing}: '{actor}' is a Watcher of it, and only the operator may",
            hint=f"vmm watcher lock show {session}",
            details={"session": session, "actor": actor},
        )
    present = show(tx, session=session, now=now)
    if not grants.vacate_right(tx, session=session, holder=present.holder or "-", at=to_text(now)):
        raise Conflict(
            f"Cannot {doing}: nobody holds it",
            hint=f"vmm watcher lock show {session}",
            details={"session": session, "holder": None},
        )
    return show(tx, session=session, now=now)


def show(tx: Snapshot, *, session: str, now: datetime) -> SuspendRight:
    """Who holds the right at this moment; vacant if its end has passed or its holder lost the grant."""
    row = tx.one(ONE_ROW, session=session)
    if row is None:
        return SuspendRight(session=session, holder="", fence=0, acquired_at="", expires_at="")
    right = SuspendRight(**{name: row[name] for name in _COLUMNS.split(", ")})
    if right.holder and right.expires_at > to_text(now):
        grant = grants.get_valid(tx, session=session, watcher=right.holder, now=now)
        if grant and Privilege.SUSPEND in grant.privileges:
            return right
    return SuspendRight(session=session, holder="", fence=right.fence, acquired_at="", expires_at="")


def vacant_since(tx: Snapshot, *, session: str, now: datetime) -> str | None:
    """When the last lease ended, by its end or before it; None while somebody holds the right.

    An empty text where nobody ever held it, or that was not noted.
    """
    if show(tx, session=session, now=now).holder:
        return None
    query = "SELECT holder, expires_at, vacated_at FROM suspend_rights WHERE session = :session"
    row = tx.one(query, session=session)
    if row is None:
        return ""
    return str(min(row["expires_at"], to_text(now)) if row["holder"] else row["vacated_at"])


def end_lease(tx: Tx, *, session: str, now: datetime) -> None:
    """Write down that a lease whose end has passed is over; a clock that goes back does not revive it."""
    row = tx.one("SELECT holder FROM suspend_rights WHERE session = :session", session=session)
    if row and row["holder"] and not show(tx, session=session, now=now).holder:
        grants.vacate_right(tx, session=session, holder=row["holder"], at=to_text(now))


def check_holder(
    tx: Snapshot, *, session: str, watcher: str, fence: int | None, now: datetime, action: str = "suspend"
) -> SuspendRight:
    """Make sure that the Watcher holds the right now; called in the transaction that suspends or resumes.

    ``fence`` is the number it was given on acquiring, or None if it kept none; ``action`` completes
    'Cannot … session' in the message.

    Raises:
        NotPermitted: no valid grant with *suspend*, nobody holds the right, or the fence is an old one.
        LockHeld: another Watcher holds it.
    """
    _require_suspend(tx, session=session, watcher=watcher, doing=action, now=now)
    right = show(tx, session=session, now=now)
    if right.holder != watcher:
        raise _not_holding(right, watcher=watcher, doing=f"{action} session '{session}'", now=now)
    if fence is not None and fence != right.fence:
        raise NotPermitted(
            f"Cannot {action} session '{session}': watcher '{watcher}' acts on fence {fence},"
            f" the suspend right is at fence {right.fence}",
            hint=f"vmm watcher lock show {session}",
            details={"session": session, "holder": right.holder, "fence": right.fence, "given": fence},
        )
    return right


def _write(tx: Tx, right: SuspendRight, *, seen_fence: int) -> None:
    written = tx.execute(
        f"INSERT INTO suspend_rights ({_COLUMNS})"  # noqa: S608 - a constant
        " VALUES (:session, :holder, :fence, :acquired_at, :expires_at)"
        " ON CONFLICT (session) DO UPDATE SET holder = excluded.holder, fence = excluded.fence,"
        " acquired_at = excluded.acquired_at, expires_at = excluded.expires_at, vacated_at = ''"
        " WHERE suspend_rights.fence = :seen",
        session=right.session,
        holder=right.holder,
        fence=right.fence,
        acquired_at=right.acquired_at,
        expires_at=right.expires_at,
        seen=seen_fence,
    )
    if not written:  # only an engine with several writers at a time gets here
        raise LockHeld(
            f"Cannot give the suspend right of session '{right.session}' to '{right.holder}':"
            " another watcher was faster",
            hint=f"vmm watcher lock show {right.session}",
            details={"session": right.session},
        )


def _require_suspend(tx: Snapshot, *, session: str, watcher: str, doing: str, now: datetime) -> Grant:
    grant = grants.get_present(tx, session=session, watcher=watcher, now=now)
    early = grant is not None and not grant.valid_at(to_text(now))
    if grant and Privilege.SUSPEND in grant.privileges and not early:
        return grant
    target = f"session '{session}'" if doing != "acquire" else f"the suspend right of session '{session}'"
    lacks = "lacks the privilege 'suspend'" if grant else "has no valid grant on it"
    mend = f"assign {session} {watcher} --privilege suspend"
    if grant and early:
        lacks, mend = f"has a grant that starts only at {grant.starts_at}", f"list {session}"
    elif grant:
        mend = f"update {session} {watcher} --add suspend"
    raise NotPermitted(
        f"Cannot {doing} {target}: watcher '{watcher}' {lacks}",
        hint=f"vmm watcher {mend}",
        details={
            "session": session,
            "watcher": watcher,
            "missing": "suspend" if grant and not early else "grant",
        },
    )


def _not_holding(right: SuspendRight, *, watcher: str, doing: str, now: datetime) -> VmmError:
    if right.holder:
        return _held(right, doing=doing, now=now)
    return NotPermitted(
        f"Cannot {doing}: nobody holds the suspend right",
        hint=f"vmm watcher lock acquire {right.session} {watcher}",
        details={"session": right.session, "holder": None},
    )


def _held(right: SuspendRight, *, doing: str, now: datetime) -> LockHeld:
    same_day = right.expires_at[:10] == to_text(now)[:10]
    until = right.expires_at[11:19] if same_day else right.expires_at[:19]
    return LockHeld(
        f"Cannot {doing}: watcher '{right.holder}' holds the suspend right until {until}Z",
        hint=f"vmm watcher lock show {right.session}",
        details={"session": right.session, "holder": right.holder, "expires_at": right.expires_at},
    )


def _lease_end(lease: timedelta, *, now: datetime) -> str:
    try:
        until = now + lease
    except OverflowError:
        until = now
    if until <= now:
        raise UsageError(
            f"Cannot lease the suspend right for {lease.total_seconds():g} s: not a usable length",
            hint="vmm watcher lock acquire --help",
        )
    return to_text(until)
