"""What a pool of VMs is asked to be: ``inventories/<site>/pools/<name>.yml``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum


class Warmth(StrEnum):
    """How soon a session can run on a VM.

    *ready*: booted, its UA active. *parked*: saved to disk with its memory, resumed within seconds.
    *cold*: switched off, to be booted.
    """

    READY = "ready"
    PARKED = "parked"
    COLD = "cold"


@dataclass(frozen=True)
class Levels:
    """How many VMs of each warmth there are to be that no session holds."""

    ready: int = 0
    parked: int = 0
    cold: int = 0

    @property
    def total(self) -> int:
        """Of all warmths together."""
        return self.ready + self.parked + self.cold

    def of(self, warmth: Warmth) -> int:
        """Of one warmth."""
        return int(getattr(self, warmth.value))

    def to_document(self) -> dict[str, int]:
        """As in result documents."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class PoolDefinition:
    """VMs of one profile with one UA, made and removed by themselves.

    ``most`` bounds all members, those in sessions too; ``least`` and ``most`` bound what ``scale`` asks for.
    ``version`` '' is the newest that is offered; ``ready_deadline_s`` are seconds.
    """

    name: str
    profile: str
    ua: str
    levels: Levels
    version: str = ""
    least: int = 0
    most: int = 0
    parallel_creates: int = 2
    max_unavailable: int = 1
    failures_before_stop: int = 3
    ready_deadline_s: int = 900
