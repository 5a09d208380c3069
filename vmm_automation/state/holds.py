"""VMs that are worked on without a session: until then nobody is given their seat.

A VM may be held for several reasons, each by who works on it. A hold has an end of its own, so that one whose
controller was killed does not outlive it for long.
"""

from __future__ import annotations

from datetime import datetime

from vmm_automation.model.times import to_text
from vmm_automation.model.vm import VmCondition
from vmm_automation.state import seats, vms
from vmm_automation.state.store import Snapshot, Tx

#: for the claim of a seat: no hold on VM :vm at :at
NONE_SQL = "NOT EXISTS (SELECT 1 FROM holds WHERE vm = :vm AND held_until > :at)"


def hold(tx: Tx, *, vm: str, reason: str, until: datetime) -> None:
    """Let no session have the VM that has it not already; a hold for the same reason gets this end."""
    tx.execute(
        "INSERT INTO holds (vm, reason, held_until) VALUES (:vm, :reason, :until)"
        " ON CONFLICT (vm, reason) DO UPDATE SET held_until = excluded.held_until",
        vm=vm,
        reason=reason,
        until=to_text(until),
    )


def release(tx: Tx, *, vm: str, reason: str) -> None:
    """End one hold; with the last of a VM its seat is free. No change where it is not there."""
    tx.execute("DELETE FROM holds WHERE vm = :vm AND reason = :reason", vm=vm, reason=reason)
    if vms.condition(tx, vm=vm) is VmCondition.CLEAN:  # as far as is known here: who takes it looks again
        seats.set_free(tx, vm=vm, free=True)


def held(tx: Snapshot, *, now: datetime) -> dict[str, str]:
    """The VMs that are held, and why."""
    sql = "SELECT vm, reason FROM holds WHERE held_until > :at ORDER BY vm, reason DESC"
    return {row["vm"]: row["reason"] for row in tx.all(sql, at=to_text(now))}


def reason(tx: Snapshot, *, vm: str, now: datetime) -> str:
    """Why nobody is given the VM; empty where it is not held."""
    sql = "SELECT reason FROM holds WHERE vm = :vm AND held_until > :at ORDER BY reason LIMIT 1"
    row = tx.one(sql, vm=vm, at=to_text(now))
    return str(row["reason"]) if row else ""
