"""VMs that rollouts hold: nobody is given one before all who work on it are done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.programs.test_ua_lifecycle import context
from tests.programs.test_ua_rollout import BATCH, began, guest_of, works
from vmm_automation.operations import ua_rollout
from vmm_automation.operations.context import Context
from vmm_automation.state import holds

__all__ = ["context"]


def test_vm_that_two_rollouts_work_on_is_held_until_both_are_done(context: Context, tmp_path: Path) -> None:
    """The one that ends first does not give the seat away under the other's hands."""
    guest = guest_of(tmp_path, "vm-1")

    def act() -> dict[str, Any]:
        ua_rollout.on_vm(context, guest, works("vm-1"), ua_id="other", terms=BATCH)
        with context.store.reading() as tx:
            assert holds.reason(tx, vm="vm-1", now=context.clock.now()) == "UA 'demo' is rolled out to it"
        return works("vm-1")()

    began(context)
    ua_rollout.on_vm(context, guest, act, ua_id="demo", terms=BATCH)
    with context.store.reading() as tx:
        assert holds.reason(tx, vm="vm-1", now=context.clock.now()) == ""
