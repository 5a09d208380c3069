"""The requests that wait for a VM, in the order in which they are served.

A row is put in by the process that waits, and taken out in the transaction that serves it, by the process
itself when it gives up, or by anybody who cancels it or finds its process gone.
"""

from __future__ import annotations

import json
from datetime import datetime

from vmm_automation.errors import Conflict
from vmm_automation.model.times import to_text
from vmm_automation.model.waiting import WaitingRequest
from vmm_automation.state.session_rows import LIVE_SQL
from vmm_automation.state.store import Row, Snapshot, Tx


def listed(tx: Snapshot) -> list[WaitingRequest]:
    """All that wait, the one that is served next first."""
    rows = tx.all("SELECT * FROM waiting_requests ORDER BY priority DESC, number")
    return [_request(row) for row in rows]


def get(tx: Snapshot, *, request: str) -> WaitingRequest | None:
    """One of them, if it still waits."""
    row = tx.one("SELECT * FROM waiting_requests WHERE id = :id", id=request)
    return _request(row) if row else None


def next_number(tx: Tx) -> int:
    """The number of the next to come; one that nobody waits with any more may come again."""
    row = tx.one("SELECT COALESCE(MAX(number), 0) AS last FROM waiting_requests")
    return int(row["last"]) + 1 if row else 1


def add(tx: Tx, request: WaitingRequest) -> None:
    """Let a request wait.

    Raises:
        Conflict: the user waits for the same UA already.
    """
    own = tx.one(
        "SELECT id FROM waiting_requests WHERE user_name = :user AND ua = :ua",
        user=request.user,
        ua=request.ua,
    )
    if own:
        raise Conflict(
            f"User '{request.user}' waits for a session of UA '{request.ua}' already: request '{own['id']}'",
            hint=f"vmm session cancel {own['id']}",
            details={"request": own["id"]},
        )
    tx.execute(
        "INSERT INTO waiting_requests (id, number, priority, user_name, ua, version, vm, avoid, terminal,"
        " owner, asked_at, deadline_at, seen_at) VALUES (:id, :number, :priority, :user, :ua, :version, :vm,"
        " :avoid, :terminal, :owner, :asked_at, :deadline_at, :seen_at)",
        id=request.id,
        number=request.number,
        priority=request.priority,
        user=request.user,
        ua=request.ua,
        version=request.version,
        vm=request.vm,
        avoid=json.dumps(list(request.avoid)),
        terminal=json.dumps(request.terminal),
        owner=request.owner,
        asked_at=request.asked_at,
        deadline_at=request.deadline_at,
        seen_at=request.seen_at,
    )


def remove(tx: Tx, *, request: str) -> bool:
    """Let it wait no longer; whether it did."""
    return bool(tx.execute("DELETE FROM waiting_requests WHERE id = :id", id=request))


def set_seen(tx: Tx, *, request: str, now: datetime) -> None:
    """Note that its process is alive."""
    tx.execute("UPDATE waiting_requests SET seen_at = :at WHERE id = :id", id=request, at=to_text(now))


def any_vm_free(tx: Snapshot) -> bool:
    """Whether the state knows of a VM that is clean and held by no session."""
    row = tx.one(
        "SELECT 1 AS found FROM vm_conditions WHERE condition = 'clean' AND NOT EXISTS"  # noqa: S608 - constants
        f" (SELECT 1 FROM sessions WHERE sessions.vm = vm_conditions.vm AND {LIVE_SQL}) LIMIT 1"
    )
    return row is not None


def _request(row: Row) -> WaitingRequest:
    return WaitingRequest(
        id=row["id"],
        number=int(row["number"]),
        priority=int(row["priority"]),
        user=row["user_name"],
        ua=row["ua"],
        terminal=json.loads(row["terminal"]),
        owner=row["owner"],
        asked_at=row["asked_at"],
        deadline_at=row["deadline_at"],
        seen_at=row["seen_at"],
        version=row["version"],
        vm=row["vm"],
        avoid=tuple(json.loads(row["avoid"])),
    )
