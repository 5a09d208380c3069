"""What selection answers: the VMs that fit, best first, and for each other VM the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from vmm_automation.model.pool import Warmth
from vmm_automation.selection.negotiation import Negotiated
from vmm_automation.selection.score import Term

#: the filter named for a VM that fits by itself while the terminal does not
TERMINAL = "terminal"
#: the filter named for a VM that was asked for by name and is not there
EXISTS = "exists"


@dataclass(frozen=True)
class Choice:
    """A VM that fits, with its score; ``newest`` tells whether its version is the newest defined."""

    vm: str
    ua: str
    version: str
    newest: bool
    vcpus: int
    memory_mib: int
    uses: Negotiated
    score: int
    terms: dict[str, Term]
    warmth: Warmth = Warmth.READY

    def sentence(self) -> str:
        """For people: ``vm-1: radicale 3.3.0 active (newest), 2 vCPUs, 768 MiB, protocol http``."""
        newest = " (newest)" if self.newest else ""
        vcpus = f"{self.vcpus} vCPU{'' if self.vcpus == 1 else 's'}"
        return (
            f"{self.vm}: {self.ua} {self.version} active{newest}, {vcpus}, {self.memory_mib} MiB,"
            f" protocol {self.uses.protocol}"
        )

    @property
    def protocol(self) -> str:
        """The protocol that the session would use."""
        return self.uses.protocol

    def to_document(self) -> dict[str, Any]:
        """As stored with the session and shown in result documents."""
        return {
            "vm": self.vm,
            "version": self.version,
            "protocol": self.protocol,
            "uses": self.uses.to_document(),
            "score": self.score,
            "warmth": str(self.warmth),
            "terms": {
                name: {"points": term.points, "phrase": term.phrase} for name, term in self.terms.items()
            },
            "sentence": self.sentence(),
        }


@dataclass(frozen=True)
class Rejection:
    """The first filter that a VM fails (``vm`` is empty where the terminal fails for every VM alike)."""

    vm: str
    filter: str
    needed: str
    found: str
    sentence: str

    def to_document(self) -> dict[str, Any]:
        """As stored with the session and shown in result documents."""
        return {
            "vm": self.vm or None,
            "filter": self.filter,
            "needed": self.needed,
            "found": self.found,
            "sentence": self.sentence,
        }


@dataclass(frozen=True)
class Selection:
    """The outcome: every VM is either in ``ranked`` (best first) or in ``rejected`` (by name), once.

    ``terminal`` lists what the terminal lacks; if it is not empty, no VM is ranked. ``asked`` is the
    question: UA, version, VM, and the terminal's profile with its bases merged in.
    """

    ranked: tuple[Choice, ...]
    rejected: tuple[Rejection, ...]
    terminal: tuple[Rejection, ...] = ()
    asked: dict[str, Any] = field(default_factory=dict)

    @property
    def best(self) -> Choice:
        """The VM to take. Raises IndexError if none fits, which :func:`select_vm` never returns."""
        return self.ranked[0]

    def to_document(self, *, most: int | None = None, chosen: str = "") -> dict[str, Any]:
        """As stored with the session and shown by ``explain``.

        With ``most`` only so many of those that fit, and the one that was ``chosen``, and so many of each
        filter; ``left_out`` are the others.
        """
        ranked, rejected = self.ranked, self.rejected
        if most is not None:
            ranked = ranked[:most] + tuple(each for each in ranked[most:] if each.vm == chosen)
            place = _places(each.filter for each in rejected)
            rejected = tuple(each for each, number in zip(rejected, place, strict=True) if number < most)
        told = len(ranked) + len(rejected)
        return {
            "asked": self.asked,
            "ranked": [choice.to_document() for choice in ranked],
            "rejected": [rejection.to_document() for rejection in rejected],
            "terminal": [rejection.to_document() for rejection in self.terminal],
            "left_out": len(self.ranked) + len(self.rejected) - told,
        }


def _places(words: Iterable[str]) -> Iterator[int]:
    """How often each of the words came before."""
    seen: Counter[str] = Counter()
    for word in words:
        yield seen[word]
        seen[word] += 1
