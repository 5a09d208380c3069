"""Pools of VMs: what was asked of each beyond its definition, which VMs are its members, and its failures.

A VM is a member from before it is made until after it is removed: whoever finds it half-made, or half
removed, knows whose it is. One run at a time refills a pool.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from vmm_automation.model.pool import Levels
from vmm_automation.model.times import to_text
from vmm_automation.model.vm import VmCondition
from vmm_automation.state import holds, session_rows, vms
from vmm_automation.state.store import Snapshot, Tx


class Drain(StrEnum):
    """Whether a pool gives out VMs: ``NO`` it does; else members without a session are kept or deleted."""

    NO = ""
    KEEP = "keep"
    DELETE = "delete"


class Phase(StrEnum):
    """Where a member is in its life: being made, made, or being removed."""

    MAKING = "making"
    MEMBER = "member"
    LEAVING = "leaving"


@dataclass(frozen=True)
class Pool:
    """What the state knows of a pool; ``levels`` None: those of its definition."""

    name: str
    levels: Levels | None = None
    drain: Drain = Drain.NO
    failures: int = 0
    failure: str = ""
    owner: str = ""
    began_at: str = ""


@dataclass(frozen=True)
class PoolMember:
    """One VM of a pool, and since when it has been in its phase."""

    vm: str
    pool: str
    phase: Phase
    since: str


def get(tx: Snapshot, *, pool: str) -> Pool:
    """What is known of a pool; one that nothing was asked of yet is as its definition says."""
    row = tx.one("SELECT * FROM pools WHERE pool = :pool", pool=pool)
    if row is None:
        return Pool(pool)
    asked = row["ready"] is not None
    levels = Levels(int(row["ready"]), int(row["parked"]), int(row["cold"])) if asked else None
    return Pool(
        pool,
        levels,
        Drain(row["drain"]),
        int(row["failures"]),
        row["failure"],
        row["owner"],
        row["began_at"],
    )


def drained(tx: Snapshot) -> set[str]:
    """The pools that give out no VM."""
    return {row["pool"] for row in tx.all("SELECT pool FROM pools WHERE drain <> '' ORDER BY pool")}


def set_levels(tx: Tx, *, pool: str, levels: Levels | None) -> None:
    """Ask for other levels than the definition's, or (None) for those again."""
    named: dict[str, Any] = {"ready": None, "parked": None, "cold": None}
    _set(tx, pool, **(levels.to_document() if levels else named))


def set_drain(tx: Tx, *, pool: str, drain: Drain) -> None:
    """Say whether the pool gives out VMs, and what becomes of those without a session."""
    _set(tx, pool, drain=str(drain))


def note_failure(tx: Tx, *, pool: str, reason: str) -> int:
    """One more failure in a row; returns how many there are."""
    failures = get(tx, pool=pool).failures + 1
    _set(tx, pool, failures=failures, failure=reason)
    return failures


def note_success(tx: Tx, *, pool: str) -> None:
    """Something was made: failures are counted anew."""
    _set(tx, pool, failures=0, failure="")


def begin(tx: Tx, *, pool: str, owner: str, now: datetime) -> None:
    """Be who refills the pool, instead of whoever was; whether that is allowed, the caller knows."""
    _set(tx, pool, owner=owner, began_at=to_text(now))


def end(tx: Tx, *, pool: str, owner: str) -> None:
    """Let another run refill the pool, if this one did."""
    if get(tx, pool=pool).owner == owner:
        _set(tx, pool, owner="", began_at="")


def members(tx: Snapshot, *, pool: str = "") -> list[PoolMember]:
    """The members of a pool, or of all, by name of the VM."""
    sql = "SELECT vm, pool, phase, since FROM pool_members WHERE pool = :pool OR :pool = '' ORDER BY vm"
    return [
        PoolMember(row["vm"], row["pool"], Phase(row["phase"]), row["since"])
        for row in tx.all(sql, pool=pool)
    ]


def pool_of(tx: Snapshot, *, vm: str) -> str:
    """The pool that a VM is a member of; empty for none."""
    row = tx.one("SELECT pool FROM pool_members WHERE vm = :vm", vm=vm)
    return str(row["pool"]) if row else ""


def add(tx: Tx, *, vm: str, pool: str, now: datetime) -> None:
    """A VM is about to be made for the pool."""
    tx.execute(
        "INSERT INTO pool_members (vm, pool, phase, since) VALUES (:vm, :pool, 'making', :at)",
        vm=vm,
        pool=pool,
        at=to_text(now),
    )


def move_to(tx: Tx, *, vm: str, phase: Phase, now: datetime) -> None:
    """A member is made, or is about to be removed."""
    tx.execute(
        "UPDATE pool_members SET phase = :phase, since = :at WHERE vm = :vm AND phase <> :phase",
        phase=str(phase),
        at=to_text(now),
        vm=vm,
    )


def forget(tx: Tx, *, vm: str) -> None:
    """The VM is gone, or belongs to no pool any more."""
    tx.execute("DELETE FROM pool_members WHERE vm = :vm", vm=vm)


def reserve(tx: Tx, *, vm: str, reason: str, now: datetime, only_clean: bool = False) -> bool:
    """Keep a VM from being claimed while it is worked on; False if a session or a rollout has it.

    With ``only_clean`` also if it is dirty. Reserved it is dirty; whoever proves VMs clean leaves it alone
    (:func:`reserved`). If the work is cut off it stays so, until another refill proves it clean.
    """
    if session_rows.live_on_vm(tx, vm=vm) or holds.reason(tx, vm=vm, now=now):
        return False
    if only_clean and vms.condition(tx, vm=vm) is not VmCondition.CLEAN:
        return False
    vms.mark_dirty(tx, vm=vm, reason=reason, now=now)
    tx.execute("UPDATE pool_members SET reserved = :reason WHERE vm = :vm", reason=reason, vm=vm)
    return True


def release(tx: Tx, *, vm: str) -> bool:
    """The work is over, or has failed; false where the VM was not reserved any more.

    Only of one that was may the caller say that it is clean: another was made anew meanwhile, and may have
    been claimed since.
    """
    sql = "UPDATE pool_members SET reserved = '' WHERE vm = :vm AND reserved <> ''"
    return bool(tx.execute(sql, vm=vm))


def reserved(tx: Snapshot) -> dict[str, str]:
    """The VMs that a refill works on, or was cut off at, and what it does to them."""
    rows = tx.all("SELECT vm, reserved FROM pool_members WHERE reserved <> '' ORDER BY vm")
    return {row["vm"]: row["reserved"] for row in rows}


def _set(tx: Tx, pool: str, **columns: str | int | None) -> None:
    tx.execute("INSERT INTO pools (pool) VALUES (:pool) ON CONFLICT (pool) DO NOTHING", pool=pool)
    assigned = ", ".join(f"{name} = :{name}" for name in columns)
    tx.execute(f"UPDATE pools SET {assigned} WHERE pool = :pool", pool=pool, **columns)  # noqa: S608
