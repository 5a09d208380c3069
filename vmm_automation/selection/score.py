"""The score of the VMs that fit: newer version, warmer VM, the one of last time, its region's load, its size.

A version step (300) outweighs all other terms together, a step of warmth (100) what is left of them, and so
the same VM (50): placement is at most 24, memory at most 25.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vmm_automation.model.pool import Warmth
from vmm_automation.model.ua import UaDefinition
from vmm_automation.model.vm import VmFacts

VERSION_STEP = 300
WARM_STEP = 100
SAME_VM = 50
PLACEMENT = 24
MEMORY = 25


@dataclass(frozen=True)
class Load:
    """How many VMs a region has for sessions, and how many of them nobody can get now."""

    held: int
    total: int


@dataclass(frozen=True)
class Scale:
    """What the VMs that fit are measured against: the least memory of them, and the load of all regions.

    ``pack`` prefers the fullest region, else the one with most VMs free. ``all_ready``: warmth says nothing.
    """

    least_mib: int
    loads: Mapping[str, Load]
    pack: bool = False
    all_ready: bool = True


@dataclass(frozen=True)
class Term:
    """One part of a score: its points, and why in a phrase."""

    points: int
    phrase: str


def loads_of(everything: Sequence[VmFacts]) -> dict[str, Load]:
    """The load of each region, from all VMs that serve, whether they fit or not."""
    serving = [facts for facts in everything if facts.serves]
    total = Counter(facts.offers.region for facts in serving)
    held = Counter(facts.offers.region for facts in serving if not facts.free)
    return {region: Load(held[region], count) for region, count in total.items()}


def terms_of(facts: VmFacts, *, ua: UaDefinition, last_vm: str | None, scale: Scale) -> dict[str, Term]:
    """The terms of one VM's score, by name.

    What says nothing is left out: placement of one region alone, warmth where all VMs are ready.
    """
    warm = {} if scale.all_ready else {"warm": _warm(facts)}
    placement = {"placement": _placement(facts, scale=scale)} if len(scale.loads) > 1 else {}
    return {
        "version": _version(ua, facts.active_uas[ua.id]),
        **warm,
        "same_vm": _same_vm(facts, last_vm=last_vm),
        **placement,
        "memory": _memory(facts, least=scale.least_mib),
    }


def _placement(facts: VmFacts, *, scale: Scale) -> Term:
    """Of its region's VMs, the share that is free (or, to pack, held) once this one is held, too."""
    region = facts.offers.region
    load = scale.loads[region]
    held = load.held + 1
    counted = held if scale.pack else load.total - held
    where = f"region {region}" if region else "VMs without a region"
    return Term(PLACEMENT * counted // load.total, f"{where}: then {held} of {load.total} VMs held")


def _version(ua: UaDefinition, active: str) -> Term:
    versions = [version.version for version in ua.versions]
    position = versions.index(active)
    newer = len(versions) - 1 - position
    phrase = f"{active} is the newest version" if newer == 0 else f"{newer} newer than {active} defined"
    return Term(VERSION_STEP * (position + 1), phrase)


def _warm(facts: VmFacts) -> Term:
    if facts.warmth is Warmth.READY:
        return Term(2 * WARM_STEP, "ready")
    if facts.warmth is Warmth.PARKED:
        return Term(WARM_STEP, "parked: its memory has to be loaded")
    return Term(0, "cold: it has to be booted")


def _same_vm(facts: VmFacts, *, last_vm: str | None) -> Term:
    if last_vm is None:
        return Term(0, "no VM of last time is known")
    if facts.vm.name == last_vm:
        return Term(SAME_VM, "the VM of last time")
    return Term(0, f"last time it was '{last_vm}'")


def _memory(facts: VmFacts, *, least: int) -> Term:
    memory = facts.vm.memory_mib
    points = MEMORY * least // memory if memory else MEMORY
    if memory == least:
        return Term(points, f"{memory} MiB, no fitting VM has less")
    return Term(points, f"{memory} MiB, the least of the fitting VMs is {least} MiB")
