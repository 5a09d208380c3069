"""A session: one user running one UA on one VM, from request to end."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class SessionState(StrEnum):
    """The life of a session; :data:`TRANSITIONS` says what may follow what."""

    STARTING = "starting"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    CLOSING = "closing"
    CLOSED = "closed"
    FAILED = "failed"


class SessionMode(StrEnum):
    """What becomes of what a session writes: a generation, nothing, or a save kept aside for a person."""

    WRITER = "writer"
    READ_ONLY = "read-only"
    BRANCH = "branch"

    @property
    def phrase(self) -> str:
        """As it stands after 'it is'."""
        return str(self) if self is SessionMode.READ_ONLY else f"a {self}"


TRANSITIONS: dict[SessionState, frozenset[SessionState]] = {
    SessionState.STARTING: frozenset({SessionState.ACTIVE, SessionState.CLOSING, SessionState.FAILED}),
    # starting again: on its way to another VM
    SessionState.ACTIVE: frozenset(
        {SessionState.STARTING, SessionState.SUSPENDED, SessionState.CLOSING, SessionState.FAILED}
    ),
    SessionState.SUSPENDED: frozenset({SessionState.ACTIVE, SessionState.CLOSING, SessionState.FAILED}),
    # closing again: another run takes over from one that was cut off
    SessionState.CLOSING: frozenset({SessionState.CLOSING, SessionState.CLOSED, SessionState.FAILED}),
    SessionState.CLOSED: frozenset(),
    SessionState.FAILED: frozenset(),
}
#: states in which the session holds its VM
LIVE: frozenset[SessionState] = frozenset(
    {SessionState.STARTING, SessionState.ACTIVE, SessionState.SUSPENDED, SessionState.CLOSING}
)


@dataclass(frozen=True)
class Session:
    """One row of the sessions table.

    ``fence`` grows with every claim of the same VM; ``owner`` names the process that is working on a
    session in *starting* or *closing* (``host:boot-id:pid:start-time``), so that the next run can
    tell an interrupted action from one under way. ``seen_at`` is when the user was last known to use it,
    empty if never told; ``suspended_by`` the Watcher who suspended it. ``reason`` says why it failed, or
    what stands in the way of using it. ``looked_at`` is when a capture that was due last found nothing to
    store, empty if none did. ``deployed`` is the generation that was last put into its guest, 0 for none;
    ``captured`` says that its data were saved at its end; ``mode`` is given with the claim and stays.
    Times are UTC, ISO 8601.
    """

    id: str
    user: str
    ua: str
    version: str
    vm: str
    terminal: str
    state: SessionState
    fence: int
    created_at: str
    changed_at: str
    owner: str = ""
    endpoint: str = ""
    port: int = 0
    generation: int = 0
    explanation: dict[str, Any] = field(default_factory=dict)
    reason: str = ""
    suspended_by: str = ""
    seen_at: str = ""
    looked_at: str = ""
    mode: SessionMode = SessionMode.WRITER
    deployed: int = 0
    captured: bool = False

    @property
    def live(self) -> bool:
        """Whether it still holds its VM."""
        return self.state in LIVE

    def to_document(self) -> dict[str, Any]:
        """As shown by ``vmm session show`` and in result documents."""
        return {
            "id": self.id,
            "user": self.user,
            "ua": self.ua,
            "version": self.version,
            "vm": self.vm,
            "terminal": self.terminal,
            "state": str(self.state),
            "fence": self.fence,
            "created_at": self.created_at,
            "changed_at": self.changed_at,
            "endpoint": self.endpoint,
            "generation": self.generation,
            "reason": self.reason,
            "suspended_by": self.suspended_by,
            "seen_at": self.seen_at,
            "mode": str(self.mode),
            "deployed": self.deployed,
        }
