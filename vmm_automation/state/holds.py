"""VMs that are worked on without a session: until then nobody is given their seat.

A hold has an end of its own, so that one whose controller was killed does not outlive it for long.
"""

from __future__ import annotations

from datetime import datetime

from vmm_automation.model.times import to_text
from vmm_automation.state.store import Snapshot, Tx

#: for the claim of a seat: no hold on VM :vm at :at
NONE_SQL = "NOT EXISTS (SELECT 1 FROM vm_holds WHERE vm = :vm AND held_until > :at)"


def hold(tx: Tx, *, vm: str, reason: str, until: datetime) -> None:
    """Let no session have the VM that has it not already; a hold that is there is replaced."""
    release(tx, vm=vm)
    tx.execute(
        "INSERT INTO vm_holds (vm, reason, held_until) VALUES (:vm, :reason, :until)",
        vm=vm,
        reason=reason,
        until=to_text(until),
    )


def release(tx: Tx, *, vm: str) -> None:
    """Give the seat free; no change where there is no hold."""
    tx.execute("DELETE FROM vm_holds WHERE vm = :vm", vm=vm)


def reason(tx: Snapshot, *, vm: str, now: datetime) -> str:
    """Why nobody is given the VM; empty where it is not held."""
    row = tx.one("SELECT reason FROM vm_holds WHERE vm = :vm AND held_until > :at", vm=vm, at=to_text(now))
    return str(row["reason"]) if row else ""
