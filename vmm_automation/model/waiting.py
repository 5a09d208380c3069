"""A request for a session that waits for a VM, and its place among those that do."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from vmm_automation.model.times import from_text

#: the priorities that a request may have; the larger is served first
PRIORITIES = range(10)


@dataclass(frozen=True, order=True)
class Place:
    """Where a request stands: the smaller place is served first. ``number`` None: it only just came."""

    rank: int
    late: bool
    number: int

    @classmethod
    def of(cls, priority: int, number: int | None = None) -> Place:
        """By priority, then in the order of arrival; who has no number yet comes behind all of the same."""
        return cls(-priority, number is None, number or 0)


@dataclass(frozen=True)
class WaitingRequest:
    """One row of the queue.

    ``owner`` names the process that waits (``host:boot-id:pid:start-time``), ``seen_at`` is when it last
    said so. ``terminal`` is a profile's name or the profile itself. Times are UTC, ISO 8601.
    """

    id: str
    number: int
    priority: int
    user: str
    ua: str
    terminal: str | dict[str, Any]
    owner: str
    asked_at: str
    deadline_at: str
    seen_at: str
    version: str = ""
    vm: str = ""
    avoid: tuple[str, ...] = field(default_factory=tuple)

    @property
    def place(self) -> Place:
        """Where it stands."""
        return Place.of(self.priority, self.number)

    def waited_s(self, now: datetime) -> float:
        """For how many seconds it has waited; never less than 0, though the clock went back."""
        return max(0.0, round((now - from_text(self.asked_at)).total_seconds(), 1))

    def to_document(self, *, position: int, now: datetime) -> dict[str, Any]:
        """As listed; ``position`` 1 is served next."""
        terminal = self.terminal if isinstance(self.terminal, str) else self.terminal.get("name")
        return {
            "request": self.id,
            "position": position,
            "priority": self.priority,
            "user": self.user,
            "ua": self.ua,
            "version": self.version,
            "vm": self.vm,
            "avoid": list(self.avoid),
            "terminal": terminal or "",
            "asked_at": self.asked_at,
            "deadline_at": self.deadline_at,
            "waited_s": self.waited_s(now),
        }
