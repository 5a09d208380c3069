"""What is known of all VMs of a site: their domains, their profiles, and what the state store has of them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from vmm_automation.errors import InvalidName, NotFound, SiteInvalid
from vmm_automation.model.ua import DeploymentState
from vmm_automation.model.vm import Offers, Vm, VmCondition, VmFacts
from vmm_automation.operations.context import Context
from vmm_automation.state import holds, ledger, pools, sessions, vms
from vmm_automation.state.store import Snapshot


@dataclass(frozen=True)
class Observed:
    """What the hypervisor has, and what profiles say of it, at one moment; the state is not in it."""

    vms: list[Vm]
    offers: dict[str, Offers]
    at: datetime


def observed(context: Context) -> Observed:
    """All VMs of the site as hypervisor and profiles describe them."""
    found = context.hypervisor.vms()
    return Observed(found, _offers(context, found), context.clock.now())


def observed_one(context: Context, name: str) -> Observed:
    """One VM of the site likewise.

    Raises:
        NotFound: there is none of that name.
    """
    found = [context.hypervisor.vm(name)]
    return Observed(found, _offers(context, found), context.clock.now())


def known(tx: Snapshot, found: Observed) -> list[VmFacts]:
    """These VMs with what the state has of them now."""
    conditions = vms.conditions(tx)
    active = ledger.active_versions(tx)
    live = sessions.holders(tx)
    pool_of = {member.vm: member.pool for member in pools.members(tx)}
    drained = pools.drained(tx)
    held = holds.held(tx, now=found.at)
    return [
        VmFacts(
            vm=vm,
            condition=conditions.get(vm.name, VmCondition.DIRTY),
            session=live.get(vm.name),
            active_uas=dict(active.get(vm.name, {})),
            offers=found.offers.get(vm.profile, Offers()),
            pool=pool_of.get(vm.name, ""),
            drained=pool_of.get(vm.name, "") in drained,
            held=held.get(vm.name, ""),
        )
        for vm in found.vms
    ]


def known_one(tx: Snapshot, found: Observed) -> VmFacts | None:
    """The one VM of ``found``, if it is there, without reading what the state has of all."""
    for vm in found.vms:
        live = sessions.live_on_vm(tx, vm=vm.name)
        deployed = ledger.for_vm(tx, vm=vm.name)
        pool = pools.pool_of(tx, vm=vm.name)
        return VmFacts(
            vm=vm,
            condition=vms.condition(tx, vm=vm.name),
            session=live.id if live else None,
            active_uas={each.ua: each.version for each in deployed if each.state is DeploymentState.ACTIVE},
            offers=found.offers.get(vm.profile, Offers()),
            pool=pool,
            drained=bool(pool) and pool in pools.drained(tx),
            held=holds.reason(tx, vm=vm.name, now=found.at),
        )
    return None


def facts(context: Context) -> list[VmFacts]:
    """All VMs of the site with what the state store knows of them."""
    found = observed(context)
    with context.store.reading() as tx:
        return known(tx, found)


def _offers(context: Context, observed: list[Vm]) -> dict[str, Offers]:
    """What the profiles of these VMs offer; of a profile that is gone or wrong nothing is known."""
    found = {}
    for name in {vm.profile for vm in observed}:
        with suppress(NotFound, InvalidName, SiteInvalid):
            found[name] = context.site.profile(name).offers
    return found
