"""The controller dies in the middle of a run: the next run finishes or undoes it, and no data is lost."""

from __future__ import annotations

import signal
from itertools import cycle
from typing import Any

import psutil
import pytest

from .calendars import calendar, keep_calendar
from .controller import Controller, wait_until
from .killed_at import CLOSING, CREATING, DELETING, INSTALLING, OPENING, RENEWING, kill_at

_VM = "vm-4"


def vm_files(vmm: Controller) -> list[str]:
    """The directories of VMs that have files."""
    return sorted(path.name for path in (vmm.home / "vms" / vmm.name).iterdir() if path.is_dir())


def require_nothing_half_made(vmm: Controller) -> None:
    """Each domain has files and the other way round, and no private data of a run is left."""
    assert [name.removeprefix(f"vmm-{vmm.name}-") for name in vmm.domains()] == vm_files(vmm)
    assert list((vmm.home / "run").iterdir()) == []


def open_words(user: str) -> tuple[str, ...]:
    return ("session", "open", "--user", user, "--ua", "radicale")


def generations(vmm: Controller, user: str) -> list[int]:
    found = vmm("image", "list", "--user", user).result["generations"]
    return sorted(generation["number"] for generation in found)


def used_session(vmm: Controller, user: str, *, colour: str) -> dict[str, Any]:
    """An active session in which the user has just set a colour."""
    session: dict[str, Any] = vmm(*open_words(user)).result["session"]
    keep_calendar(session["endpoint"], user=user, colour=colour)
    return session


def require_gone(family: list[psutil.Process]) -> None:
    """No process of the family is left running."""
    _gone, alive = psutil.wait_procs(family, timeout=10)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_signal_to_vm_create_ends_all_it_started_and_the_next_run_cleans_up(
    vmm: Controller, two_vms: tuple[str, str], number: signal.Signals
) -> None:
    """SIGTERM and SIGINT end in exit status 14 with nothing left running; the next run cleans up."""
    before = (vmm.domains(), vm_files(vmm))
    started = vmm.start("vm", "create", _VM)
    wait_until(lambda: len(vmm.domains()) > len(two_vms), what="the domain is defined")
    family = started.family()
    ended = started.end(number)
    error = ended.refused("Canceled", status=14, names=number.name)
    assert "again" in error["hint"]
    require_gone(family)
    assert vmm("vm", "delete", _VM, "--yes").changed
    assert (vmm.domains(), vm_files(vmm)) == before
    require_nothing_half_made(vmm)


@pytest.mark.parametrize(
    "points", [CREATING[:4], *((point,) for point in CREATING[4:])], ids=lambda way: way[-1]
)
def test_vm_create_killed_again_and_again_is_finished_by_the_run_that_lives(
    vmm: Controller, two_vms: tuple[str, str], points: tuple[str, ...]
) -> None:
    """At each step up to its start in turn, and later: the same command makes one whole VM in the end."""
    del two_vms
    before = (vmm.domains(), vm_files(vmm))
    for point in points:
        kill_at(vmm, point, "vm", "create", _VM)
    assert vmm("vm", "create", _VM).result["vms"][_VM]["action"] in {"start", "none"}
    assert vmm.on_guest(_VM, "hostname") == _VM
    require_nothing_half_made(vmm)
    assert not vmm("vm", "create", _VM).changed
    assert vmm("vm", "delete", _VM, "--yes").changed
    assert (vmm.domains(), vm_files(vmm)) == before


def test_vm_create_killed_at_once_leaves_nothing_in_the_way(
    vmm: Controller, two_vms: tuple[str, str]
) -> None:
    """As soon as it speaks of VMs, whatever it does then."""
    del two_vms
    before = (vmm.domains(), vm_files(vmm))
    started = vmm.start("vm", "create", _VM)
    started.wait_for("Bring the VMs to the wanted state")
    started.kill_tree()
    assert vmm("vm", "delete", _VM, "--yes").result is not None
    assert (vmm.domains(), vm_files(vmm)) == before
    require_nothing_half_made(vmm)


@pytest.mark.parametrize("point", CREATING[:3])
def test_vm_create_killed_before_its_start_is_deleted_without_a_trace(
    vmm: Controller, two_vms: tuple[str, str], point: str
) -> None:
    """A disk, a seed, a domain that never ran: one delete takes whatever was there."""
    del two_vms
    before = (vmm.domains(), vm_files(vmm))
    kill_at(vmm, point, "vm", "create", _VM)
    assert vmm("vm", "delete", _VM, "--yes").changed
    assert (vmm.domains(), vm_files(vmm)) == before
    require_nothing_half_made(vmm)


def test_vm_delete_killed_at_each_step_is_finished_by_the_next(
    vmm: Controller, two_vms: tuple[str, str]
) -> None:
    """Whatever was gone by then, the next delete takes the rest; the last of them has nothing left to do."""
    del two_vms
    before = (vmm.domains(), vm_files(vmm))
    kill_at(vmm, "vm.create.disk", "vm", "create", _VM)
    kill_at(vmm, "vm.remove.removed", "vm", "delete", _VM, "--yes")
    kill_at(vmm, "vm.create.defined", "vm", "create", _VM)
    for point in DELETING[:2]:
        kill_at(vmm, point, "vm", "delete", _VM, "--yes")
    kill_at(vmm, DELETING[3], "vm", "delete", _VM, "--yes")
    assert not vmm("vm", "delete", _VM, "--yes").changed
    assert (vmm.domains(), vm_files(vmm)) == before
    require_nothing_half_made(vmm)


def test_vm_rebuild_killed_at_each_step_is_finished_by_the_next_or_by_reconcile(
    vmm: Controller, radicale: tuple[str, str]
) -> None:
    """The VM is there all the time, and dirty until its UA is on its new disk."""
    name = radicale[0]
    vmm.on_guest(name, "touch /root/mark")
    for point in RENEWING:
        kill_at(vmm, point, "vm", "rebuild", name, "--yes")
        assert vmm.condition(name) == "dirty"
    assert vmm("reconcile").result["dirty"] == [name]
    assert vmm.condition(name) == "clean"
    assert (
        vmm.on_guest(name, "ls /root/mark 2>&1; readlink /opt/vmm/ua/radicale/current").splitlines()[-1]
        == "3.2.3"
    )
    assert not vmm("ua", "status", "radicale", "--vm", name).changed
    require_nothing_half_made(vmm)


@pytest.mark.parametrize("point", INSTALLING)
def test_ua_update_killed_at_each_step_is_finished_by_the_next(
    vmm: Controller, radicale: tuple[str, str], point: str
) -> None:
    """The version is active on both VMs, and the ledger says so, after the same command."""
    kill_at(vmm, point, "ua", "update", "radicale", "--version", "3.5.4")
    assert vmm("ua", "update", "radicale", "--version", "3.5.4").result
    active = {vm["name"]: vm["uas"] for vm in vmm("vm", "list").result["vms"]}
    assert active == {vm: {"radicale": "3.5.4"} for vm in radicale}
    assert not vmm("ua", "update", "radicale", "--version", "3.5.4").changed


def test_session_open_killed_at_each_step_is_given_up_and_the_next_one_has_all_data(
    vmm: Controller, radicale: tuple[str, str]
) -> None:
    """Each time anew: the half-open session fails, its VM is cleaned; the last has what was stored."""
    del radicale
    user = "kim"
    session = used_session(vmm, user, colour="#00aa00ff")
    vmm("session", "close", session["id"])
    stored = generations(vmm, user)

    given_up = []
    for point in OPENING:
        kill_at(vmm, point, *open_words(user))
        (half_open,) = vmm.live_sessions()
        assert (half_open["user"], half_open["state"]) == (user, "starting")
        given_up.append(half_open["id"])
    opened = vmm(*open_words(user)).result
    assert opened["abandoned"] == given_up[-1:]
    states = [vmm("session", "show", one).result["session"]["state"] for one in given_up]
    assert (len(set(given_up)), set(states)) == (len(OPENING), {"failed"})
    assert calendar(opened["session"]["endpoint"], user=user) == (user, "#00aa00ff")
    assert generations(vmm, user) == stored
    vmm("session", "close", opened["session"]["id"])
    assert [vmm.condition(vm) for vm in ("vm-1", "vm-2")] == ["clean", "clean"]
    require_nothing_half_made(vmm)


def test_session_close_killed_at_each_step_is_finished_by_close_and_reconcile_in_turn(
    vmm: Controller, radicale: tuple[str, str]
) -> None:
    """Each of them comes further than the one before. One more generation is stored, neither none nor two;
    the VM ends clean; the last settings are kept.
    """
    del radicale
    user, colour = "lou", "#00bb00ff"
    session = used_session(vmm, user, colour=colour)
    stored = generations(vmm, user)

    ways = cycle([("session", "close", session["id"]), ("reconcile",)])
    for point, way in zip(CLOSING, ways, strict=False):
        kill_at(vmm, point, *way)
        (half_closed,) = vmm.live_sessions()
        assert half_closed["state"] == "closing"  # a second session would miss the last changes
        assert vmm.condition(session["vm"]) != "clean" or point == "image.clean.recorded"
    refused = vmm(*open_words(user)).refused("Conflict", status=5, names=session["id"])
    assert session["id"] in refused["hint"]
    assert vmm("reconcile").result["closed"] == {session["id"]: {"generation": len(stored) + 1}}
    assert not vmm("reconcile").changed
    closed = vmm("session", "close", session["id"]).result["session"]
    assert closed["state"] == "closed"
    assert generations(vmm, user) == [*stored, len(stored) + 1]
    assert vmm.condition(session["vm"]) == "clean"
    assert vmm.on_guest(session["vm"], "find /home/session -name '.Radicale.props'") == ""
    require_nothing_half_made(vmm)

    again = vmm(*open_words(user)).result["session"]
    assert calendar(again["endpoint"], user=user) == (user, colour)
    vmm("session", "close", again["id"])


def test_state_and_vm_that_part_are_brought_together(vmm: Controller, radicale: tuple[str, str]) -> None:
    """Killed while suspending and resuming, paused and resumed by hand, restarted: one reconcile each."""
    del radicale
    session = used_session(vmm, "mo", colour="#112233ff")
    name, domain = session["id"], f"vmm-{vmm.name}-{session['vm']}"
    assert vmm("watcher", "assign", name, "bo", "--privilege", "suspend").changed
    assert vmm("watcher", "lock", "acquire", name, "bo").changed

    def together(*, domain_is: str, action: str) -> None:
        found = vmm("reconcile").result["findings"]
        assert [finding["action"] for finding in found] == ([action] if action else [])
        assert vmm.virsh("domstate", domain).strip() == domain_is

    for verb, state, action in (("suspend", "paused", "pause"), ("resume", "running", "resume")):
        for point in ("recorded", "followed", "acted"):
            kill_at(vmm, f"session.switch.{point}", "session", verb, name, "--as", "bo")
            together(domain_is=state, action=action if point == "recorded" else "")
            vmm("session", "resume" if verb == "suspend" else "suspend", name, "--as", "bo")
        vmm("session", verb, name, "--as", "bo")
        by_hand = "resume" if verb == "suspend" else "suspend"
        vmm.virsh(by_hand, domain)
        together(domain_is=state, action=action)

    vmm.virsh("destroy", domain)
    together(domain_is="shut off", action="mark")
    assert not vmm("reconcile").changed
    refused = vmm(*open_words("mo")).refused("Conflict", status=5, names=name)
    assert refused["hint"] == f"vmm vm start {session['vm']}"
    started = vmm("vm", "start", session["vm"]).result
    assert [finding["action"] for finding in started["findings"]] == ["forward", "start_ua"]
    again = vmm(*open_words("mo")).result["session"]
    assert again["id"] == name
    assert calendar(again["endpoint"], user="mo") == ("mo", "#112233ff")
    vmm("session", "close", name)
