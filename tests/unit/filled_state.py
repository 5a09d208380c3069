"""A state with rows in every table, some of them of a past that counts on."""

from __future__ import annotations

from datetime import timedelta

import pytest

from vmm_automation.model.ua import DeploymentState
from vmm_automation.operations import watcher
from vmm_automation.state import events, ledger, vms
from vmm_automation.state.store import Engine

from .conftest import FakeClock
from .test_state_generations import add, run


def fill(store: Engine, clock: FakeClock) -> None:
    with store.transaction() as tx:
        for number in range(3):
            session = run(tx, clock, f"s-{number}", f"vm-{number}")
            add(tx, clock, number + 1, f"s-{number}", session.fence)
        run(tx, clock, "s-live", "vm-live", end=False)
        vms.next_fence(tx)  # drawn by somebody who then failed: it must never come again
        vms.mark_dirty(tx, vm="vm-1", reason='it\'s "dirty"\n100% é 𝄞', now=clock.now())
        vms.forget(tx, vm="vm-2")
        ledger.record(tx, vm="vm-1", ua="cal", version="1", state=DeploymentState.ACTIVE, now=clock.now())
        for number in range(200):  # more than are read at a time
            events.append(
                tx, actor="a", action=f"{number}", object_name="o", result={"é": number}, now=clock.now()
            )
    for name in ("bo", "cy"):
        watcher.assign(
            store,
            clock,
            session="s-live",
            watcher=name,
            privileges=["suspend"],
            duration=timedelta(hours=1),
            actor="root",
        )
    watcher.lock_acquire(store, clock, session="s-live", watcher="bo", actor="root")
    watcher.revoke(store, clock, session="s-live", watcher="cy", actor="root")
    with pytest.raises(ZeroDivisionError), store.transaction() as tx:  # PostgreSQL leaves out a number
        events.append(tx, actor="a", action="undone", object_name="o", result={}, now=clock.now())
        raise ZeroDivisionError
    events_after(store, clock)


def events_after(store: Engine, clock: FakeClock) -> int:
    with store.transaction() as tx:
        events.append(tx, actor="a", action="last", object_name="o", result={}, now=clock.now())
        return events.list_events(tx)[-1].seq
