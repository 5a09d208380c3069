"""What is known of all VMs of a site: their domains, and what the state store has of them."""

from __future__ import annotations

from vmm_automation.model.vm import VmCondition, VmFacts
from vmm_automation.operations.context import Context
from vmm_automation.state import ledger, sessions, vms


def facts(context: Context) -> list[VmFacts]:
    """All VMs of the site with what the state store knows of them."""
    observed = context.hypervisor.vms()
    with context.store.reading() as tx:
        conditions = vms.conditions(tx)
        active = ledger.active_versions(tx)
        live = {session.vm: session.id for session in sessions.list_sessions(tx, live_only=True)}
    return [
        VmFacts(
            vm=vm,
            condition=conditions.get(vm.name, VmCondition.DIRTY),
            session=live.get(vm.name),
            active_uas=dict(active.get(vm.name, {})),
        )
        for vm in observed
    ]
