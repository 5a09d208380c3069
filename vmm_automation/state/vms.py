"""Which VMs are proven clean of users' data, and the fence that orders claims.

A VM that the state does not know is *dirty*: after a lost state file nobody gets a VM with another
user's data on it. One counter gives the fences of all VMs, so that a fence grows with every claim of a
VM and two sessions of one user on different VMs can be told apart as older and newer.
"""

from __future__ import annotations

from datetime import datetime

from vmm_automation.errors import Conflict
from vmm_automation.model.times import to_text
from vmm_automation.model.vm import VmCondition
from vmm_automation.state import seats, session_rows
from vmm_automation.state.store import Snapshot, Tx

#: why a VM is dirty whose UAs may be in the ledger and not in its guest; only rebuilding it makes it clean
REBUILDING = "being rebuilt"


def condition(tx: Snapshot, *, vm: str) -> VmCondition:
    """Whether the VM is proven clean; *dirty* for one that is not known."""
    row = tx.one("SELECT condition FROM vm_conditions WHERE vm = :vm", vm=vm)
    return VmCondition(row["condition"] or "dirty") if row else VmCondition.DIRTY


def reason(tx: Snapshot, *, vm: str) -> str:
    """Why the VM's condition is what it is; empty if nothing was said."""
    row = tx.one("SELECT reason FROM vm_conditions WHERE vm = :vm", vm=vm)
    return str(row["reason"]) if row else ""


def conditions(tx: Snapshot) -> dict[str, VmCondition]:
    """The condition of every VM that is known, by name; take *dirty* for one that is not in it."""
    rows = tx.all("SELECT vm, condition FROM vm_conditions WHERE condition IS NOT NULL ORDER BY vm")
    return {row["vm"]: VmCondition(row["condition"]) for row in rows}


def mark_dirty(tx: Tx, *, vm: str, reason: str, now: datetime) -> None:
    """Say that a user's data may be on the VM; no session can claim it until it is marked clean."""
    _mark(tx, vm=vm, condition=VmCondition.DIRTY, reason=reason, now=now)


def mark_clean(tx: Tx, *, vm: str, now: datetime, reason: str = "") -> None:
    """Say that nobody's data is on the VM: it was just made, rebuilt, or proven clean."""
    _mark(tx, vm=vm, condition=VmCondition.CLEAN, reason=reason, now=now)


def forget(tx: Tx, *, vm: str) -> None:
    """Drop what is known of a deleted VM, except its fence: a new VM of that name counts on.

    Raises:
        Conflict: a session holds the VM.
    """
    holding = session_rows.live_on_vm(tx, vm=vm)
    if holding:
        raise Conflict(
            f"Cannot forget VM '{vm}': session '{holding.id}' holds it",
            hint=f"vmm session close {holding.id}",
            details={"vm": vm, "session": holding.id},
        )
    seats.forget(tx, vm=vm)
    tx.execute("UPDATE vm_conditions SET condition = NULL, reason = '' WHERE vm = :vm", vm=vm)


def newest_fence(tx: Snapshot, *, vm: str) -> int:
    """The fence of the VM's last claim; 0 if it was never claimed."""
    row = tx.one("SELECT fence FROM vm_conditions WHERE vm = :vm", vm=vm)
    return int(row["fence"]) if row else 0


def next_fence(tx: Tx) -> int:
    """Draw the next fence; numbers may be left out, never given twice."""
    # the update first: it makes writers of an engine that has several wait for each other
    tx.execute("UPDATE counters SET value = value + 1 WHERE name = 'session_fence'")
    row = tx.one("SELECT value FROM counters WHERE name = 'session_fence'")
    assert row is not None  # the schema puts this row in
    return int(row["value"])


def _mark(tx: Tx, *, vm: str, condition: VmCondition, reason: str, now: datetime) -> None:
    tx.execute(
        "INSERT INTO vm_conditions (vm, condition, changed_at, reason)"
        " VALUES (:vm, :condition, :changed_at, :reason)"
        " ON CONFLICT (vm) DO UPDATE SET condition = excluded.condition,"
        " changed_at = excluded.changed_at, reason = excluded.reason",
        vm=vm,
        condition=str(condition),
        changed_at=to_text(now),
        reason=reason,
    )
    seats.set_free(tx, vm=vm, free=condition is VmCondition.CLEAN)
