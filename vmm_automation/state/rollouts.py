"""Rollouts under way: who brings a UA to many VMs, and what came of it on each so far.

At most one row per UA: whoever has put it there is the only one to roll that UA out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vmm_automation.model.times import to_text
from vmm_automation.state.store import Snapshot, Tx


@dataclass(frozen=True)
class Rollout:
    """One rollout: its UA, who began it, the token of the process that works on it ('' for none), since when.

    ``request`` is what was asked for; ``paused_at`` is empty while it may begin other VMs.
    """

    ua: str
    holder: str
    owner: str
    began_at: str
    request: dict[str, Any]
    paused_at: str = ""
    paused_by: str = ""


@dataclass(frozen=True)
class Outcome:
    """What came of a rollout on one VM: *done*, *failed* or *skipped*; ``error`` is a failure's document."""

    vm: str
    outcome: str
    duration_ms: int = 0
    reason: str = ""
    error: dict[str, Any] | None = None

    def to_document(self) -> dict[str, Any]:
        """As in result documents."""
        return {"outcome": self.outcome, "duration_ms": self.duration_ms, "reason": self.reason}


def get(tx: Snapshot, *, ua: str) -> Rollout | None:
    """The rollout of a UA that is under way, paused, or was cut off."""
    return next((each for each in every(tx) if each.ua == ua), None)


def every(tx: Snapshot) -> list[Rollout]:
    """All rollouts that did not end, by UA."""
    rows = tx.all(
        "SELECT ua, holder, owner, began_at, request, paused_at, paused_by FROM rollouts ORDER BY ua"
    )
    return [Rollout(**{**row, "request": json.loads(row["request"] or "{}")}) for row in rows]


def begin(
    tx: Tx, *, ua: str, holder: str, owner: str, now: datetime, request: Mapping[str, Any] | None = None
) -> None:
    """Take the right to roll a UA out, from whoever had it; whether that is allowed, the caller knows."""
    end(tx, ua=ua)
    tx.execute(
        "INSERT INTO rollouts (ua, holder, owner, began_at, request)"
        " VALUES (:ua, :holder, :owner, :at, :request)",
        ua=ua,
        holder=holder,
        owner=owner,
        at=to_text(now),
        request=json.dumps(request or {}, sort_keys=True),
    )


def pause(tx: Tx, *, ua: str, by: str, now: datetime) -> None:
    """Let it begin no other VM; what it works on goes on."""
    tx.execute(
        "UPDATE rollouts SET paused_at = :at, paused_by = :by WHERE ua = :ua", at=to_text(now), by=by, ua=ua
    )


def let_go(tx: Tx, *, ua: str) -> None:
    """No process works on it any more, and it did not end."""
    tx.execute("UPDATE rollouts SET owner = '' WHERE ua = :ua", ua=ua)


def resume(tx: Tx, *, ua: str, owner: str) -> None:
    """Another process works on it, and all that was not done is to be begun."""
    tx.execute(
        "UPDATE rollouts SET owner = :owner, paused_at = '', paused_by = '' WHERE ua = :ua",
        owner=owner,
        ua=ua,
    )
    tx.execute("DELETE FROM rollout_vms WHERE ua = :ua AND outcome <> 'done'", ua=ua)


def end(tx: Tx, *, ua: str) -> None:
    """Give the right back, and forget what came of it."""
    tx.execute("DELETE FROM rollout_vms WHERE ua = :ua", ua=ua)
    tx.execute("DELETE FROM rollouts WHERE ua = :ua", ua=ua)


def note(tx: Tx, outcome: Outcome, *, ua: str) -> None:
    """Write down what came of it on one VM."""
    tx.execute(
        "INSERT INTO rollout_vms (ua, vm, outcome, duration_ms, reason, error)"
        " VALUES (:ua, :vm, :outcome, :duration_ms, :reason, :error)"
        " ON CONFLICT (ua, vm) DO UPDATE SET outcome = excluded.outcome,"
        " duration_ms = excluded.duration_ms, reason = excluded.reason, error = excluded.error",
        ua=ua,
        vm=outcome.vm,
        outcome=outcome.outcome,
        duration_ms=outcome.duration_ms,
        reason=outcome.reason,
        error=json.dumps(outcome.error) if outcome.error else "",
    )


def outcomes(tx: Snapshot, *, ua: str) -> list[Outcome]:
    """What came of it so far, by VM."""
    rows = tx.all(
        "SELECT vm, outcome, duration_ms, reason, error FROM rollout_vms WHERE ua = :ua ORDER BY vm", ua=ua
    )
    return [Outcome(**{**row, "error": json.loads(row["error"]) if row["error"] else None}) for row in rows]
