"""What of a UA is offered: its published revisions, and the versions that were withdrawn.

Publishing is a record and no condition: a version of the catalogue is offered unless it was withdrawn.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from vmm_automation.model.times import to_text
from vmm_automation.state.store import Row, Snapshot, Tx


@dataclass(frozen=True)
class Revision:
    """A UA as it was published: ``common`` is a digest of what all versions share, ``versions`` has for each
    its ``digest``, ``kind`` and ``changes``.
    """

    ua: str
    number: int
    published_at: str
    published_by: str
    note: str
    common: str
    versions: dict[str, Any]


@dataclass(frozen=True)
class Withdrawal:
    """A version that is not offered any more; ``drain_until`` is empty where its sessions may go on."""

    ua: str
    version: str
    withdrawn_at: str
    withdrawn_by: str
    reason: str
    drain_until: str

    def to_document(self) -> dict[str, Any]:
        """As in result documents."""
        return asdict(self)


def revisions(tx: Snapshot, *, ua: str) -> list[Revision]:
    """All that were published of a UA, oldest first."""
    rows = tx.all(
        "SELECT ua, number, published_at, published_by, note, common, versions FROM ua_revisions"
        " WHERE ua = :ua ORDER BY number",
        ua=ua,
    )
    return [_revision(row) for row in rows]


def add(tx: Tx, revision: Revision) -> None:
    """Keep a revision; its number is one more than that of the last."""
    tx.execute(
        "INSERT INTO ua_revisions (ua, number, published_at, published_by, note, common, versions)"
        " VALUES (:ua, :number, :published_at, :published_by, :note, :common, :versions)",
        **{**asdict(revision), "versions": json.dumps(revision.versions, sort_keys=True)},
    )


def withdrawals(tx: Snapshot, *, ua: str) -> dict[str, Withdrawal]:
    """What of a UA was withdrawn, by version."""
    rows = tx.all(
        "SELECT ua, version, withdrawn_at, withdrawn_by, reason, drain_until FROM ua_withdrawals"
        " WHERE ua = :ua ORDER BY version",
        ua=ua,
    )
    return {row["version"]: Withdrawal(**row) for row in rows}


def withdraw(tx: Tx, withdrawal: Withdrawal) -> None:
    """Note that a version is not offered; what was noted before is replaced."""
    offer(tx, ua=withdrawal.ua, version=withdrawal.version)
    tx.execute(
        "INSERT INTO ua_withdrawals (ua, version, withdrawn_at, withdrawn_by, reason, drain_until)"
        " VALUES (:ua, :version, :withdrawn_at, :withdrawn_by, :reason, :drain_until)",
        **asdict(withdrawal),
    )


def offer(tx: Tx, *, ua: str, version: str) -> None:
    """Take a withdrawal back; no change where there is none."""
    tx.execute("DELETE FROM ua_withdrawals WHERE ua = :ua AND version = :version", ua=ua, version=version)


def is_drained(tx: Snapshot, *, ua: str, version: str, now: datetime) -> bool:
    """Whether the sessions of a version should have ended by now, because it was withdrawn."""
    found = tx.one(
        "SELECT version FROM ua_withdrawals WHERE ua = :ua AND version = :version"
        " AND drain_until <> '' AND drain_until <= :now",
        ua=ua,
        version=version,
        now=to_text(now),
    )
    return found is not None


def _revision(row: Row) -> Revision:
    return Revision(**{**row, "number": int(row["number"]), "versions": json.loads(row["versions"])})
