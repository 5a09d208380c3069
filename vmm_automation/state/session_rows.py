"""Reading sessions. Apart from ``sessions.py``, because grants read sessions and sessions end grants."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from vmm_automation.errors import Conflict, NotFound
from vmm_automation.model.session import LIVE, Session, SessionMode, SessionState

if TYPE_CHECKING:
    from vmm_automation.state.store import Row, Snapshot

#: what the unique indexes call a live session (a test holds it against model/session.py)
LIVE_SQL = "state IN ('starting', 'active', 'suspended', 'closing')"


def get(tx: Snapshot, *, session_id: str) -> Session:
    """One session.

    Raises:
        NotFound: there is none of that id.
    """
    row = tx.one("SELECT * FROM sessions WHERE id = :id", id=session_id)
    if row is None:
        raise NotFound(f"No session '{session_id}'", hint="vmm session list", details={"session": session_id})
    return _session(row)


def require_live(tx: Snapshot, *, session_id: str, doing: str) -> Session:
    """One session that holds its VM; ``doing`` completes 'Cannot … session' in the message.

    Raises:
        NotFound: there is none of that id.
        Conflict: it has ended.
    """
    session = get(tx, session_id=session_id)
    if session.state not in LIVE:
        raise Conflict(
            f"Cannot {doing} session '{session_id}': it is {session.state}",
            hint="vmm session list",
            details={"session": session_id, "state": str(session.state)},
        )
    return session


def live_on_vm(tx: Snapshot, *, vm: str) -> Session | None:
    """The session that holds a VM: is on it, or on its way to it."""
    row = tx.one(
        f"SELECT * FROM sessions WHERE {LIVE_SQL}"  # noqa: S608 - a constant
        " AND (vm = :vm OR id IN (SELECT session FROM session_moves WHERE vm = :vm))",
        vm=vm,
    )
    return _session(row) if row else None


def live_of_user(tx: Snapshot, *, user: str, ua: str) -> Session | None:
    """The session in which a user runs a UA; of several the one that writes the user's data."""
    row = tx.one(
        f"SELECT * FROM sessions WHERE user_name = :user AND ua = :ua AND {LIVE_SQL}"  # noqa: S608 - a constant
        " ORDER BY CASE mode WHEN 'writer' THEN 0 ELSE 1 END, fence LIMIT 1",
        user=user,
        ua=ua,
    )
    return _session(row) if row else None


def holders(tx: Snapshot) -> dict[str, str]:
    """VM to the session that holds it: is on it, or on its way to it."""
    rows = tx.all(
        f"SELECT vm, id FROM sessions WHERE {LIVE_SQL}"  # noqa: S608 - a constant
        " UNION ALL SELECT vm, session FROM session_moves"
    )
    return {row["vm"]: row["id"] for row in rows}


def last_vm(tx: Snapshot, *, user: str, ua: str) -> str | None:
    """The VM of a user's newest session of a UA, ended or not."""
    row = tx.one(
        "SELECT vm FROM sessions WHERE user_name = :user AND ua = :ua ORDER BY fence DESC LIMIT 1",
        user=user,
        ua=ua,
    )
    return str(row["vm"]) if row else None


def list_sessions(tx: Snapshot, *, live_only: bool = False) -> list[Session]:
    """Sessions, in the order they were claimed in."""
    where = f" WHERE {LIVE_SQL}" if live_only else ""
    rows = tx.all(f"SELECT * FROM sessions{where} ORDER BY fence")  # noqa: S608 - a constant
    return [_session(row) for row in rows]


def _session(row: Row) -> Session:
    return Session(
        id=row["id"],
        user=row["user_name"],
        ua=row["ua"],
        version=row["version"],
        vm=row["vm"],
        terminal=row["terminal"],
        state=SessionState(row["state"]),
        fence=row["fence"],
        created_at=row["created_at"],
        changed_at=row["changed_at"],
        owner=row["owner"],
        endpoint=row["endpoint"],
        port=row["port"],
        generation=row["generation"],
        explanation=json.loads(row["explanation"]),
        reason=row["reason"],
        suspended_by=row["suspended_by"],
        seen_at=row["seen_at"],
        looked_at=row["looked_at"],
        mode=SessionMode(row["mode"]),
        deployed=row["deployed"],
        captured=bool(row["captured"]),
    )
