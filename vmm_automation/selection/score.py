"""The score of the VMs that fit: a newer version first, then the VM of last time, then the smaller VM.

The points are spread so that an earlier term always outweighs all later ones together: a version step is
100, the same VM is 50, memory is at most 25.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vmm_automation.model.ua import UaDefinition
from vmm_automation.model.vm import VmFacts

VERSION_STEP = 100
SAME_VM = 50
MEMORY = 25


@dataclass(frozen=True)
class Term:
    """One part of a score: its points, and why in a phrase."""

    points: int
    phrase: str


def terms_of(
    facts: VmFacts, *, ua: UaDefinition, last_vm: str | None, fitting: Sequence[VmFacts]
) -> dict[str, Term]:
    """The terms of one VM's score, by name; ``fitting`` are all VMs that fit, itself among them."""
    return {
        "version": _version(ua, facts.active_uas[ua.id]),
        "same_vm": _same_vm(facts, last_vm=last_vm),
        "memory": _memory(facts, least=min(each.vm.memory_mib for each in fitting)),
    }


def _version(ua: UaDefinition, active: str) -> Term:
    versions = [version.version for version in ua.versions]
    position = versions.index(active)
    newer = len(versions) - 1 - position
    phrase = f"{active} is the newest version" if newer == 0 else f"{newer} newer than {active} defined"
    return Term(VERSION_STEP * (position + 1), phrase)


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
