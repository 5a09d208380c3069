"""The rules of grants and the suspend right in plain Python: what the state must answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from vmm_automation.model.session import LIVE, TRANSITIONS, SessionState


class Refused(Exception):
    """What must be refused, by the name of the error's class."""


@dataclass
class PlainWatchers:
    """One session with its grants (privileges, start, end) and its right; a writer removes ended grants."""

    state: SessionState = SessionState.STARTING
    grants: dict[str, tuple[frozenset[str], datetime, datetime]] = field(default_factory=dict)
    holder: str = ""
    fence: int = 0
    until: datetime | None = None

    def may_suspend(self, name: str, now: datetime) -> bool:
        """Whether the Watcher has a valid grant with the privilege."""
        return self.valid(name, now) and "suspend" in self.grants[name][0]

    def valid(self, name: str, now: datetime) -> bool:
        """Whether the Watcher has a valid grant."""
        return self.present(name, now) and self.grants[name][1] <= now

    def present(self, name: str, now: datetime) -> bool:
        """Whether the Watcher has a grant, valid or yet to start."""
        return name in self.grants and self.grants[name][2] > now

    def held(self, now: datetime) -> str:
        """Who holds the right at this moment, or nobody."""
        lasts = self.until is not None and self.until > now
        return self.holder if lasts and self.may_suspend(self.holder, now) else ""

    def assign(
        self, name: str, privileges: Iterable[str], start: datetime, end: datetime, now: datetime
    ) -> bool:
        """A new grant."""
        self._require_live()
        _refuse(self.present(name, now), "Conflict")
        self._sweep(now)
        self.grants[name] = (frozenset(privileges), start, end)
        return True

    def update(
        self, name: str, *, add: frozenset[str], remove: frozenset[str], extend: timedelta, now: datetime
    ) -> bool:
        """Another grant in its place; False where it is the same."""
        _refuse(bool(add & remove), "UsageError")
        self._require_live()
        _refuse(not self.present(name, now), "NotFound")
        privileges, start, end = self.grants[name]
        changed = ((privileges | add) - remove, start, end + extend)
        if changed == self.grants[name]:
            return False
        _refuse(not changed[0] or changed[2] <= max(now, start), "UsageError")
        self.grants[name] = changed
        if "suspend" not in changed[0] or start > now:
            self._vacate(name)
        elif self.holder == name and self.until:
            self.until = min(self.until, changed[2])
        return True

    def revoke(self, name: str, now: datetime) -> bool:
        """No grant any more."""
        _refuse(not self.present(name, now), "NotFound")
        self._end(name)
        return True

    def acquire(self, name: str, lease: timedelta, now: datetime) -> bool:
        """A new turn, or a longer one; False where it lasts as long already."""
        self._require_live()
        _refuse(not self.may_suspend(name, now), "NotPermitted")
        held = self.held(now)
        _refuse(held not in ("", name), "LockHeld")
        self._sweep(now)
        before = (self.holder, self.fence, self.until)
        until = now + lease
        if held == name and self.until:
            until = max(until, self.until)
        else:
            self.fence += 1
        self.holder, self.until = name, min(until, self.grants[name][2])
        return before != (self.holder, self.fence, self.until)

    def renew(self, name: str, lease: timedelta, now: datetime) -> bool:
        """A longer turn, never a new one."""
        self.check(name, None, now)
        return self.acquire(name, lease, now)

    def release(self, name: str, now: datetime) -> bool:
        """Given back by its holder."""
        self._require_held_by(name, now)
        self._vacate(name)
        return True

    def hand_over(self, name: str, to: str, lease: timedelta, now: datetime) -> bool:
        """A new turn of another, without a gap."""
        self._require_live()
        _refuse(name == to, "UsageError")
        self.check(name, None, now)
        _refuse(not self.may_suspend(to, now), "NotPermitted")
        self._sweep(now)
        self.holder, self.fence = to, self.fence + 1
        self.until = min(now + lease, self.grants[to][2])
        return True

    def take_away(self, actor: str, now: datetime) -> bool:
        """Broken by the operator."""
        _refuse(self.valid(actor, now), "NotPermitted")
        held = self.held(now)
        _refuse(not held, "Conflict")
        self._vacate(held)
        return True

    def check(self, name: str, fence: int | None, now: datetime) -> None:
        """May the Watcher suspend now?"""
        _refuse(not self.may_suspend(name, now), "NotPermitted")
        self._require_held_by(name, now)
        _refuse(fence not in (None, self.fence), "NotPermitted")

    def move(self, state: SessionState) -> None:
        """The session's next state; at its end nothing is left of grants and right."""
        _refuse(state not in TRANSITIONS[self.state], "Conflict")
        self.state = state
        if state not in LIVE:
            for name in list(self.grants):
                self._end(name)

    def _require_live(self) -> None:
        _refuse(self.state not in LIVE, "Conflict")

    def _require_held_by(self, name: str, now: datetime) -> None:
        held = self.held(now)
        _refuse(held not in ("", name), "LockHeld")
        _refuse(not held, "NotPermitted")

    def _sweep(self, now: datetime) -> None:
        for name in [each for each in self.grants if not self.present(each, now)]:
            self._end(name)

    def _end(self, name: str) -> None:
        del self.grants[name]
        self._vacate(name)

    def _vacate(self, name: str) -> None:
        if self.holder == name:
            self.holder, self.until = "", None


def _refuse(when: bool, error: str) -> None:
    if when:
        raise Refused(error)
