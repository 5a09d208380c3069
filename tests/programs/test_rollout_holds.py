"""VMs that rollouts hold: nobody is given one before all who work on it are done."""

from __future__ import annotations

from pathlib import Path

from tests.programs.test_ua_lifecycle import context
from tests.programs.test_ua_rollout import BATCH, began, guest_of, works
from vmm_automation.operations import ua_drain, ua_rollout
from vmm_automation.operations.context import Context
from vmm_automation.state import holds

__all__ = ["context"]


def test_vm_that_two_rollouts_want_is_held_until_both_are_done(context: Context, tmp_path: Path) -> None:
    """The one that ends first does not give the seat away that the other waits for."""
    ua_drain.hold(context, "vm-1", reason="UA 'other' is rolled out to it", drain_s=60)
    began(context)
    ua_rollout.on_vm(context, guest_of(tmp_path, "vm-1"), works("vm-1"), ua_id="demo", terms=BATCH)
    with context.store.reading() as tx:
        assert holds.reason(tx, vm="vm-1", now=context.clock.now()) == "UA 'other' is rolled out to it"
