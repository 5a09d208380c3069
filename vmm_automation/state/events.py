"""The log of what was done, by whom, to what, with what result: appended to, never changed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vmm_automation.model.times import to_text
from vmm_automation.state.store import Snapshot, Tx


@dataclass(frozen=True)
class Event:
    """One entry; ``seq`` orders entries even where the clock went back."""

    seq: int
    at: str
    actor: str
    action: str
    object: str
    result: dict[str, Any]


def append(
    tx: Tx, *, actor: str, action: str, object_name: str, result: dict[str, Any], now: datetime
) -> None:
    """Add an entry in the transaction of the change it tells of: both are kept, or neither."""
    tx.execute(
        "INSERT INTO events (at, actor, action, object, result)"
        " VALUES (:at, :actor, :action, :object, :result)",
        at=to_text(now),
        actor=actor,
        action=action,
        object=object_name,
        result=json.dumps(result, sort_keys=True),
    )


def list_events(tx: Snapshot) -> list[Event]:
    """All entries, oldest first."""
    rows = tx.all("SELECT seq, at, actor, action, object, result FROM events ORDER BY seq")
    return [Event(**{**row, "result": json.loads(row["result"])}) for row in rows]
