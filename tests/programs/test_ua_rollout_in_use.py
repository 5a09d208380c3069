"""Rollouts where others use the VMs: sessions, other runs; passed over, waited for, or worked on by force."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fake_clock import FakeClock
from tests.programs.test_ua_lifecycle import context
from tests.programs.test_ua_rollout import BATCH, began, fails, guest_of, opened, outcome, works
from vmm_automation.errors import Conflict
from vmm_automation.operations import ua_rollout, ua_rollout_control
from vmm_automation.operations.context import Context
from vmm_automation.operations.ua_rollout_plan import Terms
from vmm_automation.places import Places
from vmm_automation.state import sessions, vms
from vmm_automation.state.sessions import SeatTaken

__all__ = ["context"]


@pytest.mark.usefixtures("live")
def test_vm_in_a_session_is_passed_over_unless_forced(context: Context, tmp_path: Path) -> None:
    """It is told as busy; alone, that is a conflict; with force it is worked on."""
    guest = guest_of(tmp_path, "vm-1")
    began(context)
    told = ua_rollout.on_vm(context, guest, works("vm-1"), ua_id="demo", terms=BATCH)
    assert told["changed"] is False
    assert told["vms"]["vm-1"]["reason"] == "busy: session 's-1'"
    with pytest.raises(Conflict, match="on no VM"):
        ua_rollout.concluded(context, ua_id="demo")
    began(context)
    assert ua_rollout.on_vm(context, guest, works("vm-1"), ua_id="demo", terms=Terms(batch="1", force=True))[
        "changed"
    ]
    ua_rollout.concluded(context, ua_id="demo")


def test_vm_that_is_worked_on_is_given_to_no_session(context: Context, tmp_path: Path) -> None:
    """Not meanwhile; afterwards, and some time after a run was killed, the seat is free again."""
    clock = context.clock
    assert isinstance(clock, FakeClock)
    opened(context, "vm-1", terms=BATCH)

    def claim(name: str) -> None:
        with context.store.transaction() as tx:
            vms.mark_clean(tx, vm="vm-1", now=clock.now())
            sessions.claim(
                tx, session_id=name, user=name, ua="demo", version="1.0", vm="vm-1", terminal="phone",
                explanation={}, owner="", now=clock.now(),
            )  # fmt: skip

    def act() -> dict[str, Any]:
        with pytest.raises(SeatTaken, match="UA 'demo' is rolled out to it"):
            claim("early")
        return works("vm-1")()

    guest = guest_of(tmp_path, "vm-1")
    assert outcome(context, guest, act) == "done"
    with pytest.raises(ZeroDivisionError):
        ua_rollout.on_vm(context, guest, lambda: {"changed": 1 // 0}, ua_id="demo", terms=BATCH)
    with pytest.raises(SeatTaken):
        claim("early")
    clock.advance(seconds=context.site.policies.claim_deadline_s)
    claim("late")


def test_what_was_so_is_asked_again_when_the_vm_is_free(context: Context, tmp_path: Path) -> None:
    """Whoever had the VM may have had it for long: a pause of meanwhile counts."""
    opened(context, "vm-1", terms=BATCH)
    context.__dict__["places"] = _PausedMeanwhile(context)
    told = ua_rollout.on_vm(context, guest_of(tmp_path, "vm-1"), fails, ua_id="demo", terms=BATCH)
    assert told["vms"]["vm-1"]["reason"] == "paused by 'root'"


class _PausedMeanwhile(Places):
    """Where a VM's lock is looked for, the rollout is paused: as while another has the VM."""

    def __init__(self, context: Context) -> None:
        super().__init__(context.places.home)
        self.__dict__["context"] = context

    @property
    def vms(self) -> Path:
        """As ever."""
        ua_rollout_control.paused(self.__dict__["context"], ua_id="demo")
        return super().vms
