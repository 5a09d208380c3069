"""What is asked of selection, and how a filter says that it refuses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vmm_automation.model.terminal import TerminalProfile
from vmm_automation.model.ua import Requirements, UaDefinition
from vmm_automation.model.vm import VmFacts

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Question:
    """What is asked for: a UA (in one version, or in any), for a terminal, on one VM or on any but some."""

    ua: UaDefinition
    terminal: TerminalProfile
    version: str | None = None
    wanted_vm: str | None = None
    avoid: frozenset[str] = frozenset()

    def needs(self, facts: VmFacts) -> Requirements:
        """What the version that is active on a VM requires."""
        return self.ua.needs(facts.active_uas.get(self.ua.id))


@dataclass(frozen=True)
class Miss:
    """Why a filter refuses: what it needs, what it found, and both in a clause that follows a subject."""

    needed: str
    found: str
    clause: str


def listed(words: Iterable[object] | None) -> str:
    """``h264, vp9``; ``none`` for an empty list and ``unknown`` for an absent one."""
    return UNKNOWN if words is None else ", ".join(map(str, words)) or "none"
