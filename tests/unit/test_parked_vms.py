"""VMs saved with their memory: on libvirt's own test driver, as it tells them apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmm_automation.adapters.lockfile import exclusive
from vmm_automation.errors import Conflict, LockHeld
from vmm_automation.model.vm import VmState
from vmm_automation.operations import vm
from vmm_automation.operations.context import Context
from vmm_automation.operations.vm_work import Work
from vmm_automation.places import Places
from vmm_automation.site import Site

from ..made_site import MadeSite, make_site


@pytest.fixture
def made(tmp_path: Path) -> MadeSite:
    return make_site(tmp_path, running=["vm-1", "vm-2"])


@pytest.fixture
def context(made: MadeSite) -> Context:
    return Context(site=Site.load(made.directory), places=Places(made.home))


def test_parked_vm_is_told_from_one_that_is_off(context: Context) -> None:
    """It has its memory on disk until it is started, and then it runs."""
    assert vm.parked(context, ["vm-1"])["vms"]["vm-1"]["action"] == "park"
    assert {each.name: each.state for each in context.hypervisor.vms()} == {
        "vm-1": VmState.PARKED,
        "vm-2": VmState.RUNNING,
    }
    context.hypervisor.start("vm-1")
    assert context.hypervisor.vm("vm-1").state is VmState.RUNNING
    context.hypervisor.destroy("vm-1")
    assert context.hypervisor.vm("vm-1").state is VmState.STOPPED


def test_parking_twice_changes_nothing_and_a_parked_vm_is_stopped_already(context: Context) -> None:
    """Neither loses the saved memory."""
    vm.parked(context, ["vm-1"])
    assert not vm.parked(context, ["vm-1"])["changed"]
    assert not vm.stopped(context, ["vm-1"])["changed"]
    assert context.hypervisor.vm("vm-1").state is VmState.PARKED


def test_dry_run_of_parking_says_so_and_parks_nothing(context: Context) -> None:
    """The plan is told, the VM runs on."""
    assert vm.parked(context, ["vm-1"], check=True)["changed"]
    assert context.hypervisor.vm("vm-1").state is VmState.RUNNING


def test_vm_in_a_session_is_not_parked(context: Context, made: MadeSite) -> None:
    """Its user would be cut off."""
    made.claim("s-1", vm="vm-1")
    with pytest.raises(Conflict, match="Cannot park VM 'vm-1': session 's-1'"):
        vm.parked(context, ["vm-1"])


def test_vm_that_another_run_works_on_is_not_parked(context: Context) -> None:
    """One run per VM."""
    lock = Work(context, "vm-1").files.lock
    with exclusive(lock), pytest.raises(LockHeld):
        vm.parked(context, ["vm-1"])
    assert context.hypervisor.vm("vm-1").state is VmState.RUNNING
