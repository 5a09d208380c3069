"""Grants: which Watcher may do what on a session, from when until when; and how that came to be.

A grant is *valid* from its start on until its end, and both are judged at the moment of use; before its
start it is *present* and gives nothing. A writer that finds an expired grant moves it to the
history as *expired*, so that a clock going back later cannot bring it to life again. Whoever loses the
grant, or its *suspend* privilege, loses the suspend right in the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from vmm_automation.errors import Conflict, NotFound, UsageError
from vmm_automation.model.times import to_text
from vmm_automation.model.watcher import Grant, Privilege
from vmm_automation.state.session_rows import require_live
from vmm_automation.state.store import Row, Snapshot, Tx

#: a grant that ends later than this from now is a slip of the keyboard
FARTHEST: Final = timedelta(days=3653)
_COLUMNS = "session, watcher, privileges, reason, granted_at, expires_at, starts_at, token_hash"
#: all columns: the audit entry of the same transaction asks for the same row (state/seen_rows.py)
ONE_ROW = "SELECT * FROM grants WHERE session = :session AND watcher = :watcher"


def assign(tx: Tx, *, grant: Grant, actor: str, now: datetime) -> Grant:
    """Give a Watcher privileges on a live session.

    Raises:
        NotFound: no such session.
        Conflict: it has ended, or the Watcher has a grant on it, valid or yet to start.
        UsageError: no privilege, or an end that has passed, is not after the start, or is ten years away.
    """
    require_live(tx, session_id=grant.session, doing=f"assign watcher '{grant.watcher}' to")
    _check(grant, now=now)
    expire_due(tx, session=grant.session, now=now)
    assigned = tx.execute(
        f"INSERT INTO grants ({_COLUMNS})"  # noqa: S608 - a constant
        " VALUES (:session, :watcher, :privileges, :reason, :granted_at, :expires_at, :starts_at,"
        " :token_hash) ON CONFLICT DO NOTHING",
        session=grant.session,
        watcher=grant.watcher,
        privileges=_text(grant.privileges),
        reason=grant.reason,
        granted_at=grant.granted_at,
        expires_at=grant.expires_at,
        starts_at=grant.starts_at,
        token_hash=grant.token_hash,
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
    """Put ``grant`` in the place of the Watcher's present grant on the same session.

    Raises:
        NotFound: no such session, or the Watcher has no grant on it.
        Conflict: the session has ended.
        UsageError: as for :func:`assign`.
    """
    require_live(tx, session_id=grant.session, doing=f"update watcher '{grant.watcher}' of")
    require_present(tx, session=grant.session, watcher=grant.watcher, now=now)
    _check(grant, now=now)
    tx.execute(
        "UPDATE grants SET privileges = :privileges, reason = :reason, granted_at = :granted_at,"
        " expires_at = :expires_at, starts_at = :starts_at, token_hash = :token_hash"
        " WHERE session = :session AND watcher = :watcher",
        privileges=_text(grant.privileges),
        reason=grant.reason,
        granted_at=grant.granted_at,
        expires_at=grant.expires_at,
        starts_at=grant.starts_at,
        token_hash=grant.token_hash,
        session=grant.session,
        watcher=grant.watcher,
    )
    _remember(tx, grant, change="updated", actor=actor, reason=grant.reason, at=to_text(now))
    if Privilege.SUSPEND not in grant.privileges or not grant.valid_at(to_text(now)):
        vacate_right(tx, session=grant.session, holder=grant.watcher, at=to_text(now))
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
        NotFound: no such session, or the Watcher has no grant on it.
    """
    grant = require_present(tx, session=session, watcher=watcher, now=now)
    _end(tx, grant, change="revoked", actor=actor, reason=reason, at=to_text(now))
    return grant


def end_all(tx: Tx, *, session: str, now: datetime, actor: str = "vmm", reason: str = "") -> list[Grant]:
    """Take all grants of a session away, and the suspend right; return the grants that were present."""
    expire_due(tx, session=session, now=now)
    ended = _grants(tx, session=session)
    for grant in ended:
        _end(tx, grant, change="revoked", actor=actor, reason=reason, at=to_text(now))
    return ended


def expire_due(tx: Tx, *, session: str, now: datetime) -> list[Grant]:
    """Move the grants of a session whose end has passed to the history."""
    due = [grant for grant in _grants(tx, session=session) if _ended(grant, now=now)]
    for grant in due:
        _end(tx, grant, change="expired", actor="vmm", reason="", at=grant.expires_at)
    return due


def get_valid(tx: Snapshot, *, session: str, watcher: str, now: datetime) -> Grant | None:
    """The Watcher's grant on a session if it is valid at this moment."""
    grant = get_present(tx, session=session, watcher=watcher, now=now)
    return grant if grant and grant.valid_at(to_text(now)) else None


def get_present(tx: Snapshot, *, session: str, watcher: str, now: datetime) -> Grant | None:
    """The Watcher's grant on a session, valid or yet to start, if its end has not passed."""
    row = tx.one(ONE_ROW, session=session, watcher=watcher)
    grant = _grant(row) if row else None
    return grant if grant and not _ended(grant, now=now) else None


def require_present(tx: Snapshot, *, session: str, watcher: str, now: datetime) -> Grant:
    """The Watcher's grant on a session, valid or yet to start.

    Raises:
        NotFound: there is none; never assigned, revoked or expired.
    """
    grant = get_present(tx, session=session, watcher=watcher, now=now)
    if grant is None:
        raise NotFound(
            f"Watcher '{watcher}' has no valid grant on session '{session}'",
            hint=f"vmm watcher list {session}",
            details={"session": session, "watcher": watcher},
        )
    return grant


def list_grants(
    tx: Snapshot, *, now: datetime, session: str | None = None, started: bool = True
) -> list[Grant]:
    """The grants that are valid at this moment (not only ``started``: those yet to start too), of one
    session or of all, by session and Watcher.
    """
    present = [grant for grant in _grants(tx, session=session) if not _ended(grant, now=now)]
    return [grant for grant in present if grant.valid_at(to_text(now)) or not started]


def history(tx: Snapshot, *, session: str) -> list[Row]:
    """What happened to the grants of a session, oldest first; ended sessions keep theirs."""
    return tx.all(
        "SELECT watcher, change, privileges, starts_at, expires_at, reason, actor, at FROM grant_history"
        " WHERE session = :session ORDER BY seq",
        session=session,
    )


def vacate_right(tx: Tx, *, session: str, holder: str, at: str) -> bool:
    """Take the suspend right from a holder; False if it does not hold it. Vacant since ``at``, or its end."""
    return bool(
        tx.execute(
            "UPDATE suspend_rights SET holder = '', acquired_at = '', expires_at = '',"
            " vacated_at = CASE WHEN expires_at < :at THEN expires_at ELSE :at END"
            " WHERE session = :session AND holder = :holder",
            session=session,
            holder=holder,
            at=at,
        )
    )


def _end(tx: Tx, grant: Grant, *, change: str, actor: str, reason: str, at: str) -> None:
    tx.execute(
        "DELETE FROM grants WHERE session = :session AND watcher = :watcher",
        session=grant.session,
        watcher=grant.watcher,
    )
    _remember(tx, grant, change=change, actor=actor, reason=reason, at=at)
    vacate_right(tx, session=grant.session, holder=grant.watcher, at=at)


def _remember(tx: Tx, grant: Grant, *, change: str, actor: str, reason: str, at: str) -> None:
    tx.execute(
        "INSERT INTO grant_history"
        " (session, watcher, change, privileges, starts_at, expires_at, reason, actor, at)"
        " VALUES (:session, :watcher, :change, :privileges, :starts_at, :expires_at, :reason, :actor, :at)",
        session=grant.session,
        watcher=grant.watcher,
        change=change,
        privileges=_text(grant.privileges),
        starts_at=grant.starts_at,
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
    wrong = ""
    if _ended(grant, now=now):
        wrong = "has passed"
    elif grant.expires_at <= grant.starts_at:
        wrong = f"is not after the start {grant.starts_at}"
    elif grant.expires_at > to_text(now + FARTHEST):
        wrong = "is more than ten years ahead"
    if wrong:
        raise UsageError(
            f"Cannot grant privileges to {where}: the end {grant.expires_at} {wrong}",
            hint="vmm watcher assign --help",
            details={"starts_at": grant.starts_at or None, "expires_at": grant.expires_at},
        )


def _ended(grant: Grant, *, now: datetime) -> bool:
    return grant.expires_at <= to_text(now)


def _grants(tx: Snapshot, *, session: str | None) -> list[Grant]:
    where = " WHERE session = :session" if session is not None else ""
    query = f"SELECT {_COLUMNS} FROM grants{where} ORDER BY session, watcher"  # noqa: S608 - constants
    return [_grant(row) for row in (tx.all(query, session=session) if where else tx.all(query))]


def _grant(row: Row) -> Grant:
    known = {name: row[name] for name in _COLUMNS.split(", ")}
    return Grant(**{**known, "privileges": frozenset(map(Privilege, row["privileges"].split(",")))})


def _text(privileges: Iterable[Privilege]) -> str:
    return ",".join(sorted(privileges))
