"""What unit tests share: a clock that stands still, and a state of the test's own on each engine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from vmm_automation.state import sessions, vms
from vmm_automation.state.store import Engine

from ..real_state import RealState


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


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(real_state: RealState) -> Iterator[Engine]:
    with real_state.open() as opened:
        yield opened


@pytest.fixture
def live(store: Engine, clock: FakeClock) -> Engine:
    """A store with live session s-1."""
    with store.transaction() as tx:
        vms.mark_clean(tx, vm="vm-1", now=clock.now())
        sessions.claim(
            tx,
            session_id="s-1",
            user="ann",
            ua="cal",
            version="1",
            vm="vm-1",
            terminal="phone",
            explanation={},
            owner="",
            now=clock.now(),
        )
    return store
