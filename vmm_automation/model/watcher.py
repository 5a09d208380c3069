"""Watchers: grants of privileges on one session, and the exclusive suspend right."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Privilege(StrEnum):
    """What a Watcher may do; each is granted on its own."""

    VIEW = "view"
    CONTROL = "control"
    SUSPEND = "suspend"
    END = "end"


@dataclass(frozen=True)
class Grant:
    """Privileges of one Watcher on one session, from ``starts_at`` until ``expires_at`` (UTC, ISO 8601).

    ``starts_at`` empty: from ``granted_at`` on. ``token_hash`` empty: the Watcher was given no token.
    """

    session: str
    watcher: str
    privileges: frozenset[Privilege]
    reason: str
    granted_at: str
    expires_at: str
    starts_at: str = ""
    token_hash: str = field(default="", repr=False)

    def valid_at(self, moment: str) -> bool:
        """Whether the privileges are there at a moment (text as of ``model/times.py``)."""
        return self.starts_at <= moment < self.expires_at

    def to_document(self) -> dict[str, Any]:
        """As shown by ``vmm watcher list`` and in result documents; ``protected``: its token is needed."""
        return {
            "session": self.session,
            "watcher": self.watcher,
            "privileges": sorted(self.privileges),
            "reason": self.reason,
            "granted_at": self.granted_at,
            "starts_at": self.starts_at or None,
            "expires_at": self.expires_at,
            "protected": bool(self.token_hash),
        }


@dataclass(frozen=True)
class SuspendRight:
    """The lease on the right to suspend a session; vacant when ``holder`` is empty.

    ``fence`` grows with every acquisition, so an old holder can be told from the present one.
    """

    session: str
    holder: str
    fence: int
    acquired_at: str
    expires_at: str

    def to_document(self) -> dict[str, Any]:
        """As shown by ``vmm watcher lock show`` and in result documents."""
        return {
            "session": self.session,
            "holder": self.holder or None,
            "fence": self.fence,
            "acquired_at": self.acquired_at or None,
            "expires_at": self.expires_at or None,
        }
