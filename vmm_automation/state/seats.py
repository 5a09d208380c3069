"""The seats: which VM is free, by UA, version and kind, so that a claim need not look at every VM.

A *kind* is what VMs of one make offer; VMs with the same UA in the same version and of the same kind are
alike to selection, but for their names. What is here is learnt from hypervisor, profiles and ledger, and may
be learnt anew at any time; whether a VM is free follows its condition in the same transaction, and the
conditional write of a claim stays what decides.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vmm_automation.state.store import Row, Snapshot, Tx

_GROUPS_OF_VM = "(ua, version, kind) IN (SELECT ua, version, kind FROM seats WHERE vm = :vm)"


@dataclass(frozen=True)
class Seat:
    """What was learnt of one VM: its kind, the versions of the UAs that are active, whether it is free."""

    kind: str
    free: bool
    active: dict[str, str]


@dataclass(frozen=True)
class SeatGroup:
    """VMs that are alike to a request: how many, how many of them not free, and the first free by name."""

    version: str
    kind: str
    total: int
    held: int
    first: str | None


def learn(tx: Tx, *, vm: str, offered: Mapping[str, Any], active: Mapping[str, str], free: bool) -> None:
    """Note what a VM offers (a JSON document without its name), and which UAs are active in which version."""
    forget(tx, vm=vm)
    document = _document(offered)
    kind = kind_of(offered)
    tx.execute(
        "INSERT INTO vm_kinds (kind, document) VALUES (:kind, :document) ON CONFLICT DO NOTHING",
        kind=kind,
        document=document,
    )
    for ua, version in {"": "", **active}.items():
        tx.execute(
            "INSERT INTO seats (vm, ua, version, kind, free) VALUES (:vm, :ua, :version, :kind, :free)",
            vm=vm,
            ua=ua,
            version=version,
            kind=kind,
            free=int(free),
        )
        tx.execute(
            "INSERT INTO seat_groups (ua, version, kind, total, held) VALUES (:ua, :version, :kind, 1, :held)"
            " ON CONFLICT (ua, version, kind) DO UPDATE SET total = seat_groups.total + 1,"
            " held = seat_groups.held + excluded.held",
            ua=ua,
            version=version,
            kind=kind,
            held=int(not free),
        )


def kind_of(offered: Mapping[str, Any]) -> str:
    """The name of what VMs offer that offer the same."""
    return hashlib.sha256(_document(offered).encode()).hexdigest()[:16]


def _document(offered: Mapping[str, Any]) -> str:
    return json.dumps(offered, sort_keys=True)


def set_free(tx: Tx, *, vm: str, free: bool) -> None:
    """Note whether the VM can be claimed; nothing for a VM that was not learnt."""
    changed = tx.execute(
        "UPDATE seats SET free = :free WHERE vm = :vm AND free <> :free", vm=vm, free=int(free)
    )
    if changed:
        step = -1 if free else 1
        tx.execute(
            f"UPDATE seat_groups SET held = held + :step WHERE {_GROUPS_OF_VM}",  # noqa: S608 - a constant
            step=step,
            vm=vm,
        )


def forget(tx: Tx, *, vm: str) -> None:
    """Drop a VM's seats: it is gone, not running, or about to be learnt anew."""
    row = tx.one("SELECT free FROM seats WHERE vm = :vm AND ua = ''", vm=vm)
    if row is None:
        return
    tx.execute(
        f"UPDATE seat_groups SET total = total - 1, held = held - :held WHERE {_GROUPS_OF_VM}",  # noqa: S608
        held=1 - int(row["free"]),
        vm=vm,
    )
    tx.execute("DELETE FROM seats WHERE vm = :vm", vm=vm)


def count(tx: Snapshot) -> int:
    """How many VMs have a seat."""
    row = tx.one("SELECT COALESCE(SUM(total), 0) AS n FROM seat_groups WHERE ua = ''")
    return int(row["n"]) if row else 0


def learnt(tx: Snapshot) -> dict[str, Seat]:
    """All that was learnt, by VM."""
    return _by_vm(tx.all("SELECT vm, ua, version, kind, free FROM seats"))


def learnt_of(tx: Snapshot, *, vm: str) -> Seat | None:
    """What was learnt of one VM."""
    rows = tx.all("SELECT vm, ua, version, kind, free FROM seats WHERE vm = :vm", vm=vm)
    return _by_vm(rows).get(vm)


def _by_vm(rows: list[Row]) -> dict[str, Seat]:
    found: dict[str, Seat] = {}
    for row in rows:
        seat = found.setdefault(row["vm"], Seat(row["kind"], bool(row["free"]), {}))
        if row["ua"]:
            seat.active[row["ua"]] = row["version"]
    return found


def groups(tx: Snapshot, *, ua: str) -> list[SeatGroup]:
    """The groups that a UA is active in; with ua '' each kind's VMs, whatever is on them."""
    rows = tx.all(
        "SELECT version, kind, total, held,"
        " (SELECT vm FROM seats WHERE ua = :ua AND version = seat_groups.version AND kind = seat_groups.kind"
        " AND free = 1 ORDER BY vm LIMIT 1) AS first"
        " FROM seat_groups WHERE ua = :ua AND total > 0 ORDER BY version, kind",
        ua=ua,
    )
    return [
        SeatGroup(row["version"], row["kind"], int(row["total"]), int(row["held"]), row["first"])
        for row in rows
    ]


def kinds(tx: Snapshot) -> dict[str, dict[str, Any]]:
    """What VMs of each kind offer."""
    rows = tx.all("SELECT kind, document FROM vm_kinds ORDER BY kind")
    return {row["kind"]: json.loads(row["document"]) for row in rows}


def free_seat(tx: Snapshot, *, vm: str, ua: str) -> tuple[str, str] | None:
    """Version and kind of one VM if the UA is active on it and it is free."""
    row = tx.one("SELECT version, kind FROM seats WHERE vm = :vm AND ua = :ua AND free = 1", vm=vm, ua=ua)
    return (row["version"], row["kind"]) if row else None
