"""Selection over the seats that the state has learnt: one VM stands for all that are alike to the request.

Its time depends on how many kinds of VMs and versions there are, not on how many VMs. It looks at what was
learnt; whoever acts on the answer asks the hypervisor about the one VM that it names.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from vmm_automation.model.pool import Warmth
from vmm_automation.model.terminal import TerminalProfile
from vmm_automation.model.ua import UaDefinition
from vmm_automation.model.vm import Offers, Vm, VmCondition, VmFacts, VmState
from vmm_automation.selection.outcome import Selection
from vmm_automation.selection.score import Load
from vmm_automation.selection.select import select_vm
from vmm_automation.state import seats, sessions
from vmm_automation.state.store import Snapshot, Tx

_STATES = {Warmth.READY: VmState.RUNNING, Warmth.PARKED: VmState.PARKED, Warmth.COLD: VmState.STOPPED}
_SOME = "some"  # only VMs of pools are cold, whichever it is
_OFFERED = ("profile", "vcpus", "memory_mib", "features", "protocols")


def learn(tx: Tx, facts: VmFacts) -> None:
    """Note what was found of one VM; one that nobody could use now has no seat.

    Whether it is free is what the state says of it: a VM that is clean and held by nobody.
    """
    seat = seat_of(facts)
    if seat is None:
        seats.forget(tx, vm=facts.vm.name)
        return
    seats.learn(tx, vm=facts.vm.name, offered=_offered(facts), active=seat.active, free=seat.free)


def seat_of(facts: VmFacts) -> seats.Seat | None:
    """What is to be learnt of a VM; None for one that nobody could use now."""
    if not facts.serves:
        return None
    return seats.Seat(seats.kind_of(_offered(facts)), facts.free, dict(facts.active_uas))


def _offered(facts: VmFacts) -> dict[str, Any]:
    warmth = facts.warmth or Warmth.READY  # one that is paused or off is as its session left it
    stated = {key: getattr(facts.vm, key) for key in _OFFERED}
    return stated | {"offers": asdict(facts.offers), "warmth": str(warmth)}


def place(
    tx: Snapshot, *, user: str, ua: UaDefinition, terminal: TerminalProfile, pack: bool = False
) -> Selection:
    """The best VM of each group that is alike, best first; a group without a free VM is rejected as one.

    Raises:
        NoVmFits: no VM that was learnt passes all filters.
    """
    kinds = seats.kinds(tx)
    last = sessions.last_vm(tx, user=user, ua=ua.id)
    facts = [_stands_for(group, ua=ua.id, offered=kinds[group.kind]) for group in seats.groups(tx, ua=ua.id)]
    own = seats.free_seat(tx, vm=last, ua=ua.id) if last else None
    if last and own and all(each.vm.name != last for each in facts):
        facts.append(_facts(last, ua=ua.id, version=own[0], offered=kinds[own[1]]))
    return select_vm(
        ua=ua,
        terminal=terminal,
        facts=facts,
        version=None,
        wanted_vm=None,
        avoid=(),
        last_vm=last,
        pack=pack,
        loads=_loads(tx, kinds),
    )


def _loads(tx: Snapshot, kinds: dict[str, dict[str, Any]]) -> dict[str, Load]:
    found: dict[str, Load] = {}
    for group in seats.groups(tx, ua=""):
        region = str(kinds[group.kind]["offers"]["region"])
        load = found.get(region, Load(0, 0))
        found[region] = Load(load.held + group.held, load.total + group.total)
    return found


def _stands_for(group: seats.SeatGroup, *, ua: str, offered: dict[str, Any]) -> VmFacts:
    if group.first is not None:
        return _facts(group.first, ua=ua, version=group.version, offered=offered)
    shown = f"all {group.total} of profile {offered['profile']} with {ua} {group.version} ({group.kind})"
    return _facts(shown, ua=ua, version=group.version, offered=offered, held=True)


def _facts(name: str, *, ua: str, version: str, offered: dict[str, Any], held: bool = False) -> VmFacts:
    def words(key: str) -> tuple[str, ...]:
        return tuple(offered[key])

    offers: dict[str, Any] = {
        key: tuple(each) if isinstance(each, list) else each for key, each in offered["offers"].items()
    }
    vm = Vm(
        name=name,
        domain="",
        uuid="",
        state=_STATES[offered.get("warmth", Warmth.READY)],
        profile=offered["profile"],
        base_digest="",
        vcpus=offered["vcpus"],
        memory_mib=offered["memory_mib"],
        ssh_port=0,
        host_key="",
        features=words("features"),
        protocols=words("protocols"),
        ready=True,
    )
    condition = VmCondition.DIRTY if held else VmCondition.CLEAN
    return VmFacts(vm, condition, None, {ua: version}, Offers(**offers), pool=_SOME)
