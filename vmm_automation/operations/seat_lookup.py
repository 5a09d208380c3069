"""Selection on a site with many VMs: over the seats that the state has learnt, and a look at one VM only.

What was learnt may be outdated, so nothing is taken on its word: the VM that comes first is compared with
hypervisor, profile and state, and what differs is learnt anew before the next try. Where seats do not lead to
a VM, the caller looks at all VMs, and by that all are learnt.
"""

from __future__ import annotations

from typing import Any

from vmm_automation.errors import NotFound, NoVmFits
from vmm_automation.model.terminal import TerminalProfile
from vmm_automation.model.ua import UaDefinition
from vmm_automation.model.vm import VmFacts
from vmm_automation.operations import placement
from vmm_automation.operations.context import Context
from vmm_automation.operations.vm_facts import Observed, known, known_one, observed_one
from vmm_automation.selection.outcome import Selection
from vmm_automation.site import Placement
from vmm_automation.state import seats

_TRIES = 8
#: of so many VMs that fit, and of each reason why not, the explanation tells that a large site keeps
TOLD = 10


def selection(
    context: Context, *, user: str, ua: UaDefinition, terminal: TerminalProfile
) -> Selection | None:
    """A selection whose best VM was just seen to be as learnt; the others were not looked at.

    None where the site is small, no seat fits, or too much of what was learnt is outdated.
    """
    pack = context.site.policies.placement is Placement.PACK
    for _ in range(_TRIES):
        with context.store.reading() as tx:
            if not is_large(context, seats.count(tx)):
                return None
            try:
                found = placement.place(tx, user=user, ua=ua, terminal=terminal, pack=pack)
            except NoVmFits:
                return None
        if _is_as_learnt(context, found.best.vm):
            return found
    return None


def is_large(context: Context, vms: int) -> bool:
    """Whether a site with so many VMs looks up seats."""
    least = context.site.policies.seats_from
    return bool(least) and vms >= least


def explanation(context: Context, selection: Selection, *, chosen: str) -> dict[str, Any]:
    """What is stored of a selection over all VMs: of a large site not each of them, for each session."""
    large = is_large(context, len(selection.ranked) + len(selection.rejected))
    return selection.to_document(most=TOLD if large else None, chosen=chosen)


def learn_all(context: Context, found: Observed) -> None:
    """Learn what all VMs of a large site are like, if they were just looked at; little if little changed."""
    if not is_large(context, len(found.vms)):
        return
    with context.store.reading() as tx:
        outdated = _outdated(known(tx, found), seats.learnt(tx))
    if not outdated:
        return
    with context.store.transaction() as tx:
        facts = {each.vm.name: each for each in known(tx, found)}
        for name in outdated:
            if name in facts:
                placement.learn(tx, facts[name])
            else:
                seats.forget(tx, vm=name)


def _is_as_learnt(context: Context, name: str) -> bool:
    """Whether the VM is still what the seats say; if not, it is learnt anew."""
    try:
        found = observed_one(context, name)
    except NotFound:
        found = Observed([], {}, context.clock.now())
    with context.store.reading() as tx:
        seat, real = seats.learnt_of(tx, vm=name), known_one(tx, found)
    if seat is not None and real is not None and seat == placement.seat_of(real):
        return seat.free
    with context.store.transaction() as tx:
        now = known_one(tx, found)
        placement.learn(tx, now) if now else seats.forget(tx, vm=name)
    return False


def _outdated(facts: list[VmFacts], learnt: dict[str, seats.Seat]) -> list[str]:
    """The VMs of which something else was learnt than is so, or which are gone."""
    real = {each.vm.name: seat for each in facts if (seat := placement.seat_of(each)) is not None}
    return sorted(name for name in {*real, *learnt} if real.get(name) != learnt.get(name))
