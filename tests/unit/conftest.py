"""What unit tests share: a session that lives."""

from __future__ import annotations

import pytest

from vmm_automation.state import sessions, vms
from vmm_automation.state.store import Engine

from ..fake_clock import FakeClock


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
