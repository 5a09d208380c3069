"""What the ledger says of a UA after a failure: no more than what was done to the VM."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.programs.sandbox_guest import SandboxGuest
from tests.programs.test_ua_lifecycle import agreed, context, install, states
from vmm_automation.errors import GuestUnreachable
from vmm_automation.model.ua import DeploymentState
from vmm_automation.operations import ua, ua_status
from vmm_automation.operations.context import Context
from vmm_automation.ports import GuestResult
from vmm_automation.state import ledger

__all__ = ["context"]


class _Gone(SandboxGuest):
    """Does not answer."""

    def run(self, script: str, *, stdin: bytes = b"") -> GuestResult:
        """See above."""
        del script, stdin
        raise GuestUnreachable("VM 'vm-1' could not be reached", hint="vmm vm show vm-1")


def test_vm_that_cannot_be_reached_keeps_what_is_active(
    context: Context, guest: SandboxGuest, tmp_path: Path
) -> None:
    """Nothing was done to it, so sessions may go on there; only what is not there yet has failed."""
    install(context, guest, "1.0")
    for version in ("1.0", "2.0"):
        with pytest.raises(GuestUnreachable):
            install(context, _Gone(tmp_path / "gone"), version)
    assert states(context) == {"1.0": "active", "2.0": "failed"}


def test_version_that_runs_though_it_is_said_to_have_failed_is_proven_and_kept(
    context: Context, guest: SandboxGuest
) -> None:
    """The repair does not take an application away that works."""
    install(context, guest, "1.0")
    with context.store.transaction() as tx:
        failed = DeploymentState.FAILED
        ledger.record(tx, vm="vm-1", ua="demo", version="1.0", state=failed, now=context.clock.now())
    assert agreed(ua_status.told(context, guest, repair=True)) == ["activate demo 1.0"]
    assert (states(context), ua.read_status(guest).ua("demo").active) == ({"1.0": "active"}, "1.0")
