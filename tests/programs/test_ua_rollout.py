"""Rollouts: one at a time per UA, a limit of failures, VMs in use left alone, a result per VM."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.programs.sandbox_guest import SandboxGuest
from tests.programs.test_ua_lifecycle import context
from vmm_automation.errors import Conflict, GuestUnreachable, LockHeld, NotFound, Partial, TaskFailed
from vmm_automation.operations import deployment, ua_rollout, ua_rollout_control
from vmm_automation.operations.context import Context
from vmm_automation.operations.ownership import owner_token, run_token
from vmm_automation.operations.ua_rollout_plan import Terms
from vmm_automation.state import rollouts
from vmm_automation.state.rollouts import Outcome
from vmm_automation.state.store import Engine

__all__ = ["context"]
BATCH, ONE = Terms(batch="1"), Terms(max_failures=1)
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

        told = ua_rollout.on_vm(context, guest, act, ua_id="demo", terms=BATCH)["vms"][name]
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
        ua_rollout.on_vm(context, guest_of(tmp_path, name), act, ua_id="demo", terms=ONE)
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
        ua_rollout.on_vm(context, guest_of(tmp_path, "vm-1"), fails, ua_id="demo", terms=BATCH, check=True)
    ua_rollout.on_vm(context, guest_of(tmp_path, "vm-1"), fails, ua_id="demo", terms=BATCH)
    with pytest.raises(GuestUnreachable) as failure:
        ua_rollout.concluded(context, ua_id="demo")
    assert failure.value.details["vms"]["vm-1"]["outcome"] == "failed"


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
        ua_rollout.opened(context, ["vm-1"], ua_id="demo", terms=Terms("1.0"))
    assert held.value.details["holder"] == "anna"
    host, boot, *_rest = run_token().split(":")
    began(context, owner=f"{host}:{boot}:1:1", holder="gone")
    ua_rollout.opened(context, ["vm-1"], ua_id="demo", terms=Terms("1.0"), check=True)
    with store.reading() as tx:
        found = rollouts.get(tx, ua="demo")
    assert found is not None
    assert found.holder == "gone"
    assert ua_rollout.concluded(context, ua_id="demo") == {"changed": False}
    ua_rollout.opened(context, ["vm-1"], ua_id="demo", terms=Terms("1.0"))
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

    ua_rollout.on_vm(context, guest_of(tmp_path, "vm-1"), act, ua_id="demo", terms=BATCH)
    with pytest.raises(TaskFailed, match="is active again") as failed:
        ua_rollout.concluded(context, ua_id="demo")
    assert failed.value.details["returned"] == "1.0"


def opened(context: Context, *names: str, terms: Terms = BATCH) -> dict[str, Any]:
    context.__dict__["hypervisor"] = _Several(names)
    return ua_rollout.opened(context, [], ua_id="demo", terms=terms)


class _Several(_Prepared):
    """In place of the hypervisor: VMs that run."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names

    def vms(self) -> list[Any]:
        """All of them."""
        return [self.vm(name) for name in self._names]


def outcome(context: Context, guest: SandboxGuest, act: Act, terms: Terms = BATCH) -> str:
    done = ua_rollout.on_vm(context, guest, act, ua_id="demo", terms=terms)
    return str(done["vms"][guest.name]["outcome"])


def test_paused_rollout_begins_no_other_vm_and_is_resumed_with_the_rest(
    context: Context, tmp_path: Path
) -> None:
    """What was done is not done again; the terms are kept; meanwhile no other rollout may begin."""
    guests = [guest_of(tmp_path, name) for name in ("vm-1", "vm-2", "vm-3")]
    plan = opened(context, "vm-1", "vm-2", "vm-3", terms=Terms("1.0", batch="1"))
    assert plan["batches"] == [1, 1, 1]
    assert outcome(context, guests[0], works("vm-1")) == "done"
    assert ua_rollout_control.paused(context, ua_id="demo", check=True)["changed"]
    assert outcome(context, guests[1], fails) == "failed"
    assert ua_rollout_control.paused(context, ua_id="demo")["changed"]
    assert not ua_rollout_control.paused(context, ua_id="demo")["changed"]
    assert outcome(context, guests[2], works("vm-3")) == "skipped"
    with pytest.raises(Partial, match=r"paused by 'root' with 1 VMs to do \(vm-3\)") as partial:
        ua_rollout.concluded(context, ua_id="demo")
    assert partial.value.hint == "vmm ua rollout resume demo"
    with pytest.raises(LockHeld, match="is paused by 'root'"):
        ua_rollout.opened(context, [], ua_id="demo", terms=BATCH)
    (shown,) = ua_rollout_control.shown(context)["rollouts"]
    assert (shown["state"], shown["vms"]["vm-3"]["outcome"]) == ("paused", "skipped")
    again = ua_rollout.resumed(context, ua_id="demo")
    assert [step["vm"] for step in again["plan"]] == ["vm-2", "vm-3"]
    assert ua_rollout_control.kept_terms(context, "demo") == Terms("1.0", batch="1")
    assert [outcome(context, guest, works(guest.name)) for guest in guests[1:]] == ["done", "done"]
    ua_rollout.concluded(context, ua_id="demo")
    assert ua_rollout_control.shown(context)["rollouts"] == []


def test_rollout_of_a_killed_run_is_shown_as_cut_off_and_resumed_or_stopped(context: Context) -> None:
    """One that goes on is neither; what is not there is not found."""
    context.__dict__["hypervisor"] = _Prepared()
    with pytest.raises(NotFound, match="there is none"):
        ua_rollout.resumed(context, ua_id="demo")
    opened(context, "vm-1", terms=Terms("1.0", batch="1"))
    with pytest.raises(LockHeld, match="rolls it out since"):
        ua_rollout.resumed(context, ua_id="demo")
    with pytest.raises(Conflict, match="works on it"):
        ua_rollout_control.stopped(context, ua_id="demo")
    with context.store.transaction() as tx:
        rollouts.let_go(tx, ua="demo")
    assert ua_rollout_control.shown(context, "demo")["rollouts"][0]["state"] == "cut off"
    assert ua_rollout.resumed(context, ua_id="demo", check=True)["targets"] == ["vm-1"]
    with context.store.transaction() as tx:
        rollouts.note(tx, Outcome("vm-1", "done"), ua="demo")
    with pytest.raises(Conflict, match="Nothing is left"):
        ua_rollout.resumed(context, ua_id="demo")
    assert ua_rollout_control.stopped(context, ua_id="demo")["changed"]
    assert not ua_rollout_control.stopped(context, ua_id="demo")["changed"]


def test_pause_counts_in_an_installation_without_terms_too(context: Context, tmp_path: Path) -> None:
    """There, a failure is the run's own."""
    plain = Terms("1.0")
    opened(context, "vm-1", "vm-2", terms=plain)
    guest = guest_of(tmp_path, "vm-1")
    with pytest.raises(GuestUnreachable):
        ua_rollout.on_vm(context, guest, fails, ua_id="demo", terms=plain)
    ua_rollout_control.paused(context, ua_id="demo")
    assert outcome(context, guest, works("vm-1"), plain) == "skipped"
