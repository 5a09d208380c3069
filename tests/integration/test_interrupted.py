"""The controller dies in the middle of a run: the next run finishes or undoes it, and no data is lost."""

from __future__ import annotations

import signal
from typing import Any

import psutil
import pytest

from .calendars import calendar, make_calendar, set_calendar
from .controller import Controller, Started, wait_until

_VM = "vm-4"


def vm_files(vmm: Controller) -> list[str]:
    """The directories of VMs that have files."""
    return sorted(path.name for path in (vmm.home / "vms" / vmm.name).iterdir() if path.is_dir())


def require_nothing_half_made(vmm: Controller) -> None:
    """Each domain has files and the other way round, and no private data of a run is left on the controller."""
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
    if calendar(session["endpoint"], user=user) is None:
        make_calendar(session["endpoint"], user=user, name=user, colour=colour)
    else:
        set_calendar(session["endpoint"], user=user, name=user, colour=colour)
    return session


def require_gone(family: list[psutil.Process]) -> None:
    """No process of the family is left running."""
    _gone, alive = psutil.wait_procs(family, timeout=10)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_signal_to_vm_create_ends_all_it_started_and_the_next_run_cleans_up(
    vmm: Controller, two_vms: tuple[str, str], number: signal.Signals
) -> None:
    """SIGTERM and SIGINT end in exit status 14 with nothing left running; the VM can be deleted or finished."""
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


def test_vm_create_killed_again_and_again_is_finished_by_the_run_that_lives(
    vmm: Controller, two_vms: tuple[str, str]
) -> None:
    """Killed before, while and after a VM is defined: the same command makes one whole VM in the end."""
    before = vmm.domains()
    directory = vmm.home / "vms" / vmm.name / _VM
    moments = [
        lambda: True,
        lambda: directory.exists(),
        lambda: (directory / "seed.raw").exists(),
        lambda: len(vmm.domains()) > len(two_vms),
    ]
    for moment in moments:
        started = vmm.start("vm", "create", _VM)
        started.wait_for("Bring the VMs to the wanted state")
        wait_until(moment, what="the run got that far")
        started.kill_tree()
    made = vmm("vm", "create", _VM).result["vms"][_VM]
    assert made["action"] in {"create", "start"}
    assert vmm.on_guest(_VM, "hostname") == _VM
    assert vmm.domains() == sorted([*before, f"vmm-{vmm.name}-{_VM}"])
    require_nothing_half_made(vmm)
    assert not vmm("vm", "create", _VM).changed
    vmm("vm", "delete", _VM, "--yes")
    assert vmm.domains() == before
    require_nothing_half_made(vmm)


@pytest.mark.parametrize(
    "moment", ["Session s-", "Deploy the user's image", "is on VM", "Open the endpoint"]
)
def test_session_open_killed_is_given_up_and_the_next_one_has_all_data(
    vmm: Controller, radicale: tuple[str, str], moment: str
) -> None:
    """The half-open session fails, its VM is cleaned, and the user's next session has what was stored."""
    del radicale
    user = "kim"
    session = used_session(vmm, user, colour="#00aa00ff")
    vmm("session", "close", session["id"])
    stored = generations(vmm, user)

    started = vmm.start(*open_words(user))
    started.wait_for(moment)
    started.kill_tree()
    half_open = vmm.live_sessions()[0]
    assert (half_open["user"], half_open["state"]) == (user, "starting")

    opened = vmm(*open_words(user)).result
    assert opened["abandoned"] == [half_open["id"]]
    assert vmm("session", "show", half_open["id"]).result["session"]["state"] == "failed"
    assert calendar(opened["session"]["endpoint"], user=user) == (user, "#00aa00ff")
    assert generations(vmm, user) == stored
    vmm("session", "close", opened["session"]["id"])
    assert [vmm.condition(vm) for vm in ("vm-1", "vm-2")] == ["clean", "clean"]
    require_nothing_half_made(vmm)


@pytest.mark.parametrize(
    "moment",
    ["Take the session out of use", "Capture the user's image", "is stored", "Clean the VM", "End the session"],
)
def test_session_close_killed_is_finished_by_the_next_close(
    vmm: Controller, radicale: tuple[str, str], moment: str
) -> None:
    """One more generation is stored, neither none nor two; the VM ends clean; the settings are the last ones."""
    del radicale
    user, colour = "lou", f"#{len(moment):06x}ff"
    session = used_session(vmm, user, colour=colour)
    stored = generations(vmm, user)

    started: Started = vmm.start("session", "close", session["id"])
    started.wait_for(moment)
    started.kill_tree()

    closed = vmm("session", "close", session["id"]).result["session"]
    assert closed["state"] == "closed"
    assert generations(vmm, user) == [*stored, len(stored) + 1]
    assert vmm.condition(session["vm"]) == "clean"
    assert vmm.on_guest(session["vm"], "find /home/session -name '.Radicale.props'") == ""
    require_nothing_half_made(vmm)

    again = vmm(*open_words(user)).result["session"]
    assert calendar(again["endpoint"], user=user) == (user, colour)
    vmm("session", "close", again["id"])


def test_session_close_killed_lets_the_user_open_elsewhere_only_after_it_is_finished(
    vmm: Controller, radicale: tuple[str, str]
) -> None:
    """While a session is half closed its user gets no second one, which would miss the last changes."""
    del radicale
    session = used_session(vmm, "max", colour="#0000ffff")
    started = vmm.start("session", "close", session["id"])
    started.wait_for("Capture the user's image")
    started.kill_tree()
    refused = vmm(*open_words("max")).refused("Conflict", status=5, names=session["id"])
    assert refused["hint"] == f"vmm session close {session['id']}"
    assert vmm("session", "close", session["id"]).result["generation"]["number"] == 1
