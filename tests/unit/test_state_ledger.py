"""The ledger of deployments."""

from __future__ import annotations

import pytest

from vmm_automation.model.ua import DeploymentState
from vmm_automation.state import ledger
from vmm_automation.state.store import Engine

from ..fake_clock import FakeClock

D = DeploymentState


def test_new_active_version_makes_the_other_inactive(store: Engine, clock: FakeClock) -> None:
    """Two versions stand side by side, one of them active, per VM."""
    with store.transaction() as tx:
        for vm in ("vm-1", "vm-2"):
            ledger.record(tx, vm=vm, ua="cal", version="1", state=D.ACTIVE, now=clock.now(), digest="d1")
        ledger.record(tx, vm="vm-1", ua="cal", version="2", state=D.DELIVERED, now=clock.now(), digest="d2")
        done = ledger.record(tx, vm="vm-1", ua="cal", version="2", state=D.ACTIVE, now=clock.advance(hours=1))
    assert (done.state, done.digest) == (D.ACTIVE, "d2")
    with store.reading() as snapshot:
        assert ledger.active_versions(snapshot) == {"vm-1": {"cal": "2"}, "vm-2": {"cal": "1"}}
        states = {(row.vm, row.version): row.state for row in ledger.for_ua(snapshot, ua="cal")}
        assert ledger.for_vm(snapshot, vm="vm-1")[1] == done
    assert states == {("vm-1", "1"): D.INACTIVE, ("vm-1", "2"): D.ACTIVE, ("vm-2", "1"): D.ACTIVE}


@pytest.mark.parametrize("state", [D.REMOVED, D.FAILED, D.INACTIVE, D.DELIVERED])
def test_version_that_is_not_active_is_not_listed_as_such(
    store: Engine, clock: FakeClock, state: DeploymentState
) -> None:
    """Selection sees only what runs; the row stays with its reason."""
    with store.transaction() as tx:
        ledger.record(tx, vm="vm-1", ua="cal", version="1", state=D.ACTIVE, now=clock.now())
        ledger.record(tx, vm="vm-1", ua="cal", version="1", state=state, now=clock.now(), reason="why")
        assert ledger.active_versions(tx) == {}
        assert [(row.state, row.reason) for row in ledger.for_vm(tx, vm="vm-1")] == [(state, "why")]


def test_forgotten_vm_leaves_no_rows(store: Engine, clock: FakeClock) -> None:
    """A VM that was deleted has nothing deployed."""
    with store.transaction() as tx:
        for vm in ("vm-1", "vm-2"):
            ledger.record(tx, vm=vm, ua="cal", version="1", state=D.ACTIVE, now=clock.now())
        ledger.forget_vm(tx, vm="vm-1")
        assert [row.vm for row in ledger.for_ua(tx, ua="cal")] == ["vm-2"]
