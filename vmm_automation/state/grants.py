"""Grants: which Watcher may do what on a session, until when; and the history of how that came to be.

A grant's end is judged at the moment of use. A writer that finds an expired grant moves it to the
history as *expired*, so that a clock going back later cannot bring it to life again. Whoever loses the
grant, or its *suspend* privilege, loses the suspend right in the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from vmm_automation.errors import Conflict, NotFound, UsageError
from vmm_automation.model.times import to_text
from vmm_automation.model.watcher import Grant, Privilege
from vmm_automation.state.session_rows import require_live
from vmm_automation.state.store import Row, Snapshot, Tx

_COLUMNS = "session, watcher, privileges, reason, granted_at, expires_at"
#: all columns: the audit entry of the same transaction asks for the same row (state/seen_rows.py)
ONE_ROW = "SELECT * FROM grants WHERE session = :session AND watcher = :watcher"


def assign(tx: Tx, *, grant: Grant, actor: str, now: datetime) -> Grant:
    """Give a Watcher privileges on a live session.

    Raises:
        NotFound: no such session.
        Conflict: it has ended, or the Watcher has a valid grant on it.
        UsageError: no privilege, or an end that has passed.
    """
    require_live(tx, session_id=grant.session, doing=f"assign watcher '{grant.watcher}' to")
    _check(grant, now=now)
    expire_due(tx, session=grant.session, now=now)
    assigned = tx.execute(
        f"INSERT INTO grants ({_COLUMNS})"  # noqa: S608 - a constant
        " VALUES (:session, :watcher, :privileges, :reason, :granted_at, :expires_at)"
        " ON CONFLICT DO NOTHING",
        session=grant.session,
        watcher=grant.watcher,
        privileges=_text(grant.privileges),
        reason=grant.reason,
        granted_at=grant.granted_at,
        expires_at=grant.expires_at,
    )
    if not assigned:
        raise Conflict(
            f"Cannot assign watcher '{grant.watcher}' to session '{grant.session}': it is assigned already",
            hint=f"vmm watcher update {grant.session} {grant.watcher}",
            details={"session": grant.session, "watcher": grant.watcher},
        )
    _remember(tx, grant, change="assigned", actor=actor, reason=grant.reason, at=to_text(now))
    return grant


def update(tx: Tx, *, grant: Grant, actor: str, now: datetime) -> Grant:
    """Put ``grant`` in the place of the Watcher's valid grant on the same session.

    Raises:
        NotFound: no such session, or the Watcher has no valid grant on it.
        Conflict: the session has ended.
        UsageError: no privilege, or an end that has passed.
    """
    require_live(tx, session_id=grant.session, doing=f"update watcher '{grant.watcher}' of")
    require_valid(tx, session=grant.session, watcher=grant.watcher, now=now)
    _check(grant, now=now)
    tx.execute(
        "UPDATE grants SET privileges = :privileges, reason = :reason, granted_at = :granted_at,"
        " expires_at = :expires_at WHERE session = :session AND watcher = :watcher",
        privileges=_text(grant.privileges),
        reason=grant.reason,
        granted_at=grant.granted_at,
        expires_at=grant.expires_at,
        session=grant.session,
        watcher=grant.watcher,
    )
    _remember(tx, grant, change="updated", actor=actor, reason=grant.reason, at=to_text(now))
    if Privilege.SUSPEND not in grant.privileges:
        vacate_right(tx, session=grant.session, holder=grant.watcher)
    else:  # a right does not outlive the grant that it rests on
        tx.execute(
            "UPDATE suspend_rights SET expires_at = :until"
            " WHERE session = :session AND holder = :watcher AND expires_at > :until",
            until=grant.expires_at,
            session=grant.session,
            watcher=grant.watcher,
        )
    return grant


def revoke(tx: Tx, *, session: str, watcher: str, actor: str, now: datetime, reason: str = "") -> Grant:
    """Take a Watcher's grant away and return what it was.

    Raises:
        NotFound: no such session, or the Watcher has no valid grant on it.
    """
    grant = require_valid(tx, session=session, watcher=watcher, now=now)
    _end(tx, grant, change="revoked", actor=actor, reason=reason, at=to_text(now))
    return grant


def end_all(tx: Tx, *, session: str, now: datetime, actor: str = "vmm", reason: str = "") -> list[Grant]:
    """Take all grants of a session away, and the suspend right; return the grants that were valid."""
    expire_due(tx, session=session, now=now)
    ended = _grants(tx, session=session)
    for grant in ended:
        _end(tx, grant, change="revoked", actor=actor, reason=reason, at=to_text(now))
    return ended


def expire_due(tx: Tx, *, session: str, now: datetime) -> list[Grant]:
    """Move the grants of a session whose end has passed to the history."""
    due = [grant for grant in _grants(tx, session=session) if not _valid(grant, now=now)]
    for grant in due:
        _end(tx, grant, change="expired", actor="vmm", reason="", at=grant.expires_at)
    return due


def get_valid(tx: Snapshot, *, session: str, watcher: str, now: datetime) -> Grant | None:
    """The Watcher's grant on a session if it is valid at this moment."""
    row = tx.one(ONE_ROW, session=session, watcher=watcher)
    grant = _grant(row) if row else None
    return grant if grant and _valid(grant, now=now) else None


def require_valid(tx: Snapshot, *, session: str, watcher: str, now: datetime) -> Grant:
    """The Watcher's valid grant on a session.

    Raises:
        NotFound: there is none; never assigned, revoked or expired.
    """
    grant = get_valid(tx, session=session, watcher=watcher, now=now)
    if grant is None:
        raise NotFound(
            f"Watcher '{watcher}' has no valid grant on session '{session}'",
            hint=f"vmm watcher list {session}",
            details={"session": session, "watcher": watcher},
        )
    return grant


def list_grants(tx: Snapshot, *, now: datetime, session: str | None = None) -> list[Grant]:
    """The grants that are valid at this moment, of one session or of all, by session and Watcher."""
    return [grant for grant in _grants(tx, session=session) if _valid(grant, now=now)]


def history(tx: Snapshot, *, session: str) -> list[Row]:
    """What happened to the grants of a session, oldest first; ended sessions keep theirs."""
    return tx.all(
        "SELECT watcher, change, privileges, expires_at, reason, actor, at FROM grant_history"
        " WHERE session = :session ORDER BY seq",
        session=session,
    )


def vacate_right(tx: Tx, *, session: str, holder: str) -> bool:
    """Take the suspend right from a holder; False if it does not hold it."""
    return bool(
        tx.execute(
            "UPDATE suspend_rights SET holder = '', acquired_at = '', expires_at = ''"
            " WHERE session = :session AND holder = :holder",
            session=session,
            holder=holder,
        )
    )


def _end(tx: Tx, grant: Grant, *, change: str, actor: str, reason: str, at: str) -> None:
    tx.execute(
        "DELETE FROM grants WHERE session = :session AND watcher = :watcher",
        session=grant.session,
        watcher=grant.watcher,
    )
    _remember(tx, grant, change=change, actor=actor, reason=reason, at=at)
    vacate_right(tx, session=grant.session, holder=grant.watcher)


def _remember(tx: Tx, grant: Grant, *, change: str, actor: str, reason: str, at: str) -> None:
    tx.execute(
        "INSERT INTO grant_history (session, watcher, change, privileges, expires_at, reason, actor, at)"
        " VALUES (:session, :watcher, :change, :privileges, :expires_at, :reason, :actor, :at)",
        session=grant.session,
        watcher=grant.watcher,
        change=change,
        privileges=_text(grant.privileges),
        expires_at=grant.expires_at,
        reason=reason,
        actor=actor,
        at=at,
    )


def _check(grant: Grant, *, now: datetime) -> None:
    where = f"watcher '{grant.watcher}' on session '{grant.session}'"
    if not grant.privileges:
        raise UsageError(
            f"Cannot leave {where} without any privilege",
            hint=f"vmm watcher revoke {grant.session} {grant.watcher}",
        )
    if not _valid(grant, now=now):
        raise UsageError(
            f"Cannot grant privileges to {where}: the end {grant.expires_at} has passed",
            hint="vmm watcher assign --help",
            details={"expires_at": grant.expires_at},
        )


def _valid(grant: Grant, *, now: datetime) -> bool:
    return grant.expires_at > to_text(now)


def _grants(tx: Snapshot, *, session: str | None) -> list[Grant]:
    where = " WHERE session = :session" if session is not None else ""
    query = f"SELECT {_COLUMNS} FROM grants{where} ORDER BY session, watcher"  # noqa: S608 - constants
    return [_grant(row) for row in (tx.all(query, session=session) if where else tx.all(query))]


def _grant(row: Row) -> Grant:
    known = {name: row[name] for name in _COLUMNS.split(", ")}
    return Grant(**{**known, "privileges": frozenset(map(Privilege, row["privileges"].split(",")))})


def _text(privileges: Iterable[Privilege]) -> str:
    return ",".join(sorted(privileges))
