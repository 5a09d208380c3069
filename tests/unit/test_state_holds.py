"""Holds on VMs: several at a time, each with its own end."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from vmm_automation.state import holds, schema
from vmm_automation.state.sqlite import SqliteStore
from vmm_automation.state.store import Engine

from ..fake_clock import FakeClock


def hold(store: Engine, clock: FakeClock, reason: str, *, seconds: int) -> None:
    with store.transaction() as tx:
        holds.hold(tx, vm="vm-1", reason=reason, until=clock.now() + timedelta(seconds=seconds))


def held(store: Engine, clock: FakeClock) -> str:
    with store.reading() as tx:
        return holds.reason(tx, vm="vm-1", now=clock.now())


def test_vm_is_held_until_the_last_reason_is_gone(store: Engine, clock: FakeClock) -> None:
    """By being released or by its own end; what ends one reason leaves the others."""
    hold(store, clock, "one", seconds=60)
    hold(store, clock, "two", seconds=10)
    with store.transaction() as tx:
        holds.release(tx, vm="vm-1", reason="one")
        holds.release(tx, vm="vm-2", reason="two")
    assert held(store, clock) == "two"
    clock.advance(seconds=10)
    assert held(store, clock) == ""


def test_hold_for_the_same_reason_gets_the_later_end(store: Engine, clock: FakeClock) -> None:
    """Who holds again goes on holding; one release ends it."""
    hold(store, clock, "one", seconds=10)
    hold(store, clock, "one", seconds=60)
    clock.advance(seconds=10)
    assert held(store, clock) == "one"
    with store.transaction() as tx:
        holds.release(tx, vm="vm-1", reason="one")
    assert held(store, clock) == ""


def test_hold_of_an_older_state_is_still_there(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rollout that goes on while the program is brought up to date loses nothing by that."""
    path = tmp_path / "home" / "state.db"
    with monkeypatch.context() as before:
        before.setattr(schema, "VERSION", 11)
        before.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:11])
        with SqliteStore.open(path) as old, old.transaction() as tx:
            tx.execute("INSERT INTO vm_holds (vm, reason, held_until) VALUES ('vm-1', 'one', '9999')")
    with SqliteStore.open(path) as store:
        assert held(store, clock) == "one"
