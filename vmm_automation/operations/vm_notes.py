"""What becomes of a VM, in the state: made, or rebuilt, and nobody's data on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import vm_change
from vmm_automation.state import ledger, pools, vms


def note_made(context: Context, name: str, *, told: Mapping[str, Any]) -> None:
    """Call a VM clean that was just made; what was known of one of that name before is over."""
    with context.store.transaction() as tx:
        now = context.clock.now()
        with vm_change(tx, context, name, action="vm.create", now=now) as result:
            ledger.forget_vm(tx, vm=name)
            pools.release(tx, vm=name)
            vms.mark_clean(tx, vm=name, reason="created", now=now)
            result |= {"status": "ok", **told}


def note_rebuilt(context: Context, name: str, *, told: Mapping[str, Any]) -> None:
    """Call a VM clean that is on a fresh disk, with its UAs."""
    with context.store.transaction() as tx:
        now = context.clock.now()
        with vm_change(tx, context, name, action="vm.rebuild", now=now) as result:
            pools.release(tx, vm=name)
            vms.mark_clean(tx, vm=name, reason="rebuilt", now=now)
            result |= {"status": "ok", **told}
