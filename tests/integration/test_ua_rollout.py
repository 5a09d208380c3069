"""Rollouts on two real VMs of which one fails midway: the other goes on, and the next run finishes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .controller import Controller, Result, wait_until

_UPDATE = ("ua", "update", "radicale", "--version", "3.5.4", "--batch", "1")


def midway(vmm: Controller, act: Callable[[], Any]) -> Result:
    """Update both VMs, one after the other; ``act`` when the first has the bundle and did not unpack it."""
    flag = vmm.home.with_name("midway")
    held = replace(vmm, environment={**vmm.environment, "VMM_TRACE_PAUSE": f"ua.install.sent:{flag}"})
    started = held.start(*_UPDATE)
    try:
        for do in (act, lambda: None):
            wait_until(flag.exists, what="the bundle is sent", seconds=300)
            do()
            flag.unlink()
    finally:
        flag.unlink(missing_ok=True)
    return started.wait()


def outcomes(document: dict[str, Any]) -> dict[str, str]:
    return {vm: told["outcome"] for vm, told in document["vms"].items()}


def finished(vmm: Controller, failed: str, other: str) -> None:
    """The next run does what is left, by its plan, and then there is nothing left."""
    plan = {step["vm"]: step["does"] for step in vmm(*_UPDATE, "--plan").result["plan"]}
    assert plan == {failed: "update", other: "nothing"}
    again = vmm(*_UPDATE).result
    assert outcomes(again) == {failed: "done", other: "done"}
    assert again["vms"][other]["actions"] == []
    told = vmm("ua", "status", "radicale").result["vms"]
    assert not any(each["drifted"] for each in told.values()), told
    assert {each["uas"]["radicale"]["active"] for each in told.values()} == {"3.5.4"}


def test_disk_that_fills_up_midway_is_that_vms_failure_alone(
    vmm: Controller, radicale: tuple[str, str]
) -> None:
    """It keeps its version and no half of the new one; the other is updated; the status says partial."""
    full, other = radicale
    assert vmm("ua", "remove", "radicale", "--version", "3.5.4", "--yes").result is not None
    fill = "fallocate -l $(($(df -Pk /opt | awk 'NR == 2 { print $4 }') - 1024))K /root/filled; sync"
    error = midway(vmm, lambda: vmm.on_guest(full, fill)).refused("Partial", status=13, names="no space left")
    assert outcomes(error["details"]) == {full: "failed", other: "done"}
    left = vmm.on_guest(
        full, "rm /root/filled; readlink /opt/vmm/ua/radicale/current; ls -A /opt/vmm/ua/radicale"
    )
    assert left.split() == ["3.2.3", "3.2.3", "current"]
    finished(vmm, full, other)


def test_power_cut_of_a_vm_midway_is_finished_after_its_reboot(
    vmm: Controller, radicale: tuple[str, str]
) -> None:
    """It could not be reached and the other is updated; when it runs again, the same command finishes."""
    cut, other = radicale
    assert vmm("ua", "remove", "radicale", "--version", "3.5.4", "--yes").result is not None
    lost = midway(vmm, lambda: vmm.virsh("destroy", f"vmm-{vmm.name}-{cut}"))
    error = lost.refused("Partial", status=13, names="could not be reached")
    assert outcomes(error["details"]) == {cut: "failed", other: "done"}
    assert vmm("vm", "start", cut).changed
    finished(vmm, cut, other)
