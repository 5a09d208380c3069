"""Rollouts: one at a time per UA, a limit of failures, VMs in use left alone, a result per VM."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.programs.sandbox_guest import SandboxGuest
from tests.programs.test_ua_lifecycle import context
from vmm_automation.errors import Conflict, GuestUnreachable, LockHeld, Partial, TaskFailed
from vmm_automation.operations import deployment, ua_rollout
from vmm_automation.operations.context import Context
from vmm_automation.operations.ownership import owner_token, run_token
from vmm_automation.state import rollouts
from vmm_automation.state.store import Engine

__all__ = ["context"]
Act = Callable[[], dict[str, Any]]


def began(context: Context, *, owner: str = "", holder: str = "root") -> None:
    with context.store.transaction() as tx:
        now = context.clock.now()
        rollouts.begin(tx, ua="demo", holder=holder, owner=owner or run_token(), now=now)


def guest_of(tmp_path: Path, name: str) -> SandboxGuest:
    return SandboxGuest(tmp_path / name, name=name)


def works(name: str) -> Act:
    return lambda: {"changed": True, "vms": {name: {"actions": ["switch"]}}}


def fails() -> dict[str, Any]:
    raise GuestUnreachable("VM 'vm-1' could not be reached", hint="vmm vm show vm-1")


def test_real_installations_are_told_per_vm(context: Context, tmp_path: Path) -> None:
    """What ran, how long, and nothing against it; at the end the right is given back."""
    began(context)
    for name in ("vm-1", "vm-2"):
        guest = guest_of(tmp_path, name)

        def act(guest: SandboxGuest = guest) -> dict[str, Any]:
            return deployment.active(context, guest, ua_id="demo", version="1.0")

        told = ua_rollout.on_vm(context, guest, act, ua_id="demo")["vms"][name]
        assert (told["outcome"], told["reason"], told["actions"][0]) == ("done", "", "deliver")
        assert told["duration_ms"] > 0
    assert ua_rollout.concluded(context, ua_id="demo") == {"changed": False}
    with context.store.reading() as tx:
        assert rollouts.get(tx, ua="demo") is None
        assert rollouts.outcomes(tx, ua="demo") == []


def test_rollout_stops_at_its_limit_and_tells_of_every_vm(context: Context, tmp_path: Path) -> None:
    """After one failure no other VM is begun; the result is partial, with a reason for each."""
    began(context)
    acts: dict[str, Act] = {"vm-1": works("vm-1"), "vm-2": fails, "vm-3": works("vm-3")}
    for name, act in acts.items():
        ua_rollout.on_vm(context, guest_of(tmp_path, name), act, ua_id="demo", max_failures=1)
    with pytest.raises(Partial, match=r"failed on 1 of 3 VMs \(vm-2\)") as partial:
        ua_rollout.concluded(context, ua_id="demo")
    told = partial.value.details["vms"]
    assert {name: vm["outcome"] for name, vm in told.items()} == {
        "vm-1": "done",
        "vm-2": "failed",
        "vm-3": "skipped",
    }
    assert told["vm-3"]["reason"] == "stopped: failed on vm-2"


def test_rollout_in_which_all_failed_is_the_failure_itself(context: Context, tmp_path: Path) -> None:
    """The exit code is that of the class, not of a partial result; a dry run fails as it is."""
    began(context)
    with pytest.raises(GuestUnreachable):
        ua_rollout.on_vm(context, guest_of(tmp_path, "vm-1"), fails, ua_id="demo", check=True)
    ua_rollout.on_vm(context, guest_of(tmp_path, "vm-1"), fails, ua_id="demo")
    with pytest.raises(GuestUnreachable) as failure:
        ua_rollout.concluded(context, ua_id="demo")
    assert failure.value.details["vms"]["vm-1"]["outcome"] == "failed"


@pytest.mark.usefixtures("live")
def test_vm_in_a_session_is_passed_over_unless_forced(context: Context, tmp_path: Path) -> None:
    """It is told as busy; alone, that is a conflict; with force it is worked on."""
    guest = guest_of(tmp_path, "vm-1")
    began(context)
    told = ua_rollout.on_vm(context, guest, works("vm-1"), ua_id="demo")
    assert told["changed"] is False
    assert told["vms"]["vm-1"]["reason"] == "busy: session 's-1'"
    with pytest.raises(Conflict, match="on no VM"):
        ua_rollout.concluded(context, ua_id="demo")
    began(context)
    assert ua_rollout.on_vm(context, guest, works("vm-1"), ua_id="demo", force=True)["changed"]
    ua_rollout.concluded(context, ua_id="demo")


class _Prepared:
    """In place of the hypervisor: one VM that runs."""

    def vms(self) -> list[Any]:
        """It."""
        return [self.vm("vm-1")]

    def vm(self, name: str) -> Any:
        """It, by name."""
        from tests.unit.one_vm import OneVm

        return OneVm().vm(name)


def test_second_rollout_of_a_ua_is_refused_while_the_first_lives(context: Context, store: Engine) -> None:
    """The refusal names who holds it; one whose process is gone is taken over; a dry run takes nothing."""
    context.__dict__["hypervisor"] = _Prepared()
    began(context, owner=owner_token(1), holder="anna")
    with pytest.raises(LockHeld, match="'anna' rolls it out since") as held:
        ua_rollout.opened(context, ["vm-1"], ua_id="demo", version="1.0")
    assert held.value.details["holder"] == "anna"
    host, boot, *_rest = run_token().split(":")
    began(context, owner=f"{host}:{boot}:1:1", holder="gone")
    ua_rollout.opened(context, ["vm-1"], ua_id="demo", version="1.0", check=True)
    with store.reading() as tx:
        found = rollouts.get(tx, ua="demo")
    assert found is not None
    assert found.holder == "gone"
    assert ua_rollout.concluded(context, ua_id="demo") == {"changed": False}
    ua_rollout.opened(context, ["vm-1"], ua_id="demo", version="1.0")
    with store.reading() as tx:
        mine = rollouts.get(tx, ua="demo")
    assert mine is not None
    assert (mine.holder, mine.owner) == ("root", run_token())


def test_failed_probe_in_a_rollout_is_told_with_what_is_active(context: Context, tmp_path: Path) -> None:
    """The class and the reason of the failure survive the way through the state."""
    began(context)

    def act() -> dict[str, Any]:
        details = {"returned": "1.0"}
        raise TaskFailed("its probe did not hold; version 1.0 is active again", details=details)

    ua_rollout.on_vm(context, guest_of(tmp_path, "vm-1"), act, ua_id="demo")
    with pytest.raises(TaskFailed, match="is active again") as failed:
        ua_rollout.concluded(context, ua_id="demo")
    assert failed.value.details["returned"] == "1.0"
