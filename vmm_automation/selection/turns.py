"""Whose turn it is: which free VMs are kept for requests that wait, so that nobody overtakes them. Pure.

The rule: a request may take only what would be left over if all requests ahead of it (larger priority, or
the same and waiting for longer) were served first, each as selection would serve it. So none is overtaken by
one behind it, and a VM that none of those ahead can use is not kept from anybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vmm_automation.errors import Conflict, NotFound, NoVmFits
from vmm_automation.model.terminal import TerminalProfile
from vmm_automation.model.ua import UaDefinition
from vmm_automation.model.vm import VmCondition, VmFacts, VmState
from vmm_automation.selection.score import Load, loads_of
from vmm_automation.selection.select import select_vm


@dataclass(frozen=True)
class Waiting:
    """A request that waits, as selection sees it."""

    request: str
    ua: UaDefinition
    terminal: TerminalProfile
    version: str | None = None
    wanted_vm: str | None = None
    avoid: tuple[str, ...] = ()
    last_vm: str | None = None


def kept(facts: Sequence[VmFacts], ahead: Sequence[Waiting], *, pack: bool = False) -> list[VmFacts]:
    """The same VMs, each with the request that it is kept for; ``ahead`` in the order of their turns."""
    free = {each.vm.name: each for each in facts if is_free(each)}
    loads = loads_of(facts)
    owners: dict[str, str] = {}
    for waiting in ahead:
        if not free:
            break
        name = _best(waiting, list(free.values()), loads=loads, pack=pack)
        if name:
            region = free.pop(name).offers.region
            loads[region] = Load(loads[region].held + 1, loads[region].total)
            owners[name] = waiting.request
    return [replace(each, kept_for=owners.get(each.vm.name)) for each in facts]


def is_free(facts: VmFacts) -> bool:
    """Whether nobody has the VM or is about to; whether it runs and fits is for the filters to say."""
    return facts.free and facts.kept_for is None


def if_all_were_free(facts: Sequence[VmFacts]) -> list[VmFacts]:
    """The same VMs once all sessions and works on them have ended, all clean: what waiting may lead to."""
    return [
        replace(
            each,
            # a VM may be paused only while its session is suspended
            vm=replace(each.vm, state=VmState.RUNNING, ready=True) if each.session else each.vm,
            condition=VmCondition.CLEAN,
            session=None,
            held="",
            kept_for=None,
        )
        for each in facts
    ]


def _best(waiting: Waiting, free: list[VmFacts], *, loads: dict[str, Load], pack: bool) -> str | None:
    try:
        found = select_vm(
            ua=waiting.ua,
            terminal=waiting.terminal,
            facts=free,
            version=waiting.version,
            wanted_vm=waiting.wanted_vm,
            avoid=waiting.avoid,
            last_vm=waiting.last_vm,
            pack=pack,
            loads=loads,
        )
    except (NoVmFits, NotFound, Conflict):  # its version is defined, or offered, no longer
        return None
    return found.best.vm
