"""What is known of all VMs of a site: their domains, their profiles, and what the state store has of them."""

from __future__ import annotations

from contextlib import suppress

from vmm_automation.errors import InvalidName, NotFound, SiteInvalid
from vmm_automation.model.vm import Offers, Vm, VmCondition, VmFacts
from vmm_automation.operations.context import Context
from vmm_automation.state import ledger, sessions, vms


def facts(context: Context) -> list[VmFacts]:
    """All VMs of the site with what the state store knows of them."""
    observed = context.hypervisor.vms()
    with context.store.reading() as tx:
        conditions = vms.conditions(tx)
        active = ledger.active_versions(tx)
        live = sessions.holders(tx)
    offers = _offers(context, observed)
    return [
        VmFacts(
            vm=vm,
            condition=conditions.get(vm.name, VmCondition.DIRTY),
            session=live.get(vm.name),
            active_uas=dict(active.get(vm.name, {})),
            offers=offers.get(vm.profile, Offers()),
        )
        for vm in observed
    ]


def _offers(context: Context, observed: list[Vm]) -> dict[str, Offers]:
    """What the profiles of these VMs offer; of a profile that is gone or wrong nothing is known."""
    found = {}
    for name in {vm.profile for vm in observed}:
        with suppress(NotFound, InvalidName, SiteInvalid):
            found[name] = context.site.profile(name).offers
    return found
