"""A clock that stands still until a test moves it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class FakeClock:
    """Implements ``ports.Clock``; time moves only when a test says so, back too."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)

    def now(self) -> datetime:
        """The time it stands at."""
        return self.time

    def sleep(self, seconds: float) -> None:
        """Pass the time at once."""
        self.time += timedelta(seconds=seconds)

    def advance(self, **units: float) -> datetime:
        """Move by a timedelta's units (negative: back) and return the new time."""
        self.time += timedelta(**units)
        return self.time
