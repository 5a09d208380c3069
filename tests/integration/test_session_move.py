"""A session moves between two real VMs: with its data, its Watchers and the suspend right; or not at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from .calendars import answers, calendar, set_calendar
from .controller import Controller, wait_until
from .killed_at import MOVING, kill_at
from .test_interrupted import generations, open_words, require_nothing_half_made, used_session


def away(session: dict[str, Any], terminal: str = "phone") -> tuple[str, ...]:
    return ("session", "move", session["id"], "--terminal", terminal, "--avoid", session["vm"])


def require_terminal_moves_alone(vmm: Controller, session: dict[str, Any]) -> None:
    stayed = vmm("session", "move", session["id"], "--terminal", "phone").result
    assert (stayed["session"]["vm"], stayed["session"]["terminal"]) == (session["vm"], "phone")
    assert stayed["session"]["endpoint"] == session["endpoint"]
    assert not vmm("session", "move", session["id"], "--terminal", "phone").changed


def require_dry_run(vmm: Controller, session: dict[str, Any], *, to: str) -> None:
    before = vmm.everything()
    planned = vmm(*away(session), "--check").result
    assert (planned["from"], planned["to"]) == (session["vm"], to)
    assert vmm.everything() == before


def test_session_moves_with_data_watchers_and_right_and_back(
    vmm: Controller, radicale: tuple[str, str]
) -> None:
    """First only the terminal, then the VM, then back; always the same session, and the old VM clean."""
    session = used_session(vmm, "mia", colour="#0a0b0cff")
    name, first = session["id"], session["vm"]
    (second,) = set(radicale) - {first}
    vmm("watcher", "assign", name, "bo", "--privilege", "view", "--privilege", "suspend")
    right = vmm("watcher", "lock", "acquire", name, "bo").result["right"]

    require_terminal_moves_alone(vmm, session)
    require_dry_run(vmm, session, to=second)

    moved = vmm(*away(session)).result
    found = tuple(moved["session"][key] for key in ("id", "vm", "state"))
    assert found == (name, second, "active")
    assert moved["session"]["fence"] > session["fence"]
    assert calendar(moved["session"]["endpoint"], user="mia") == ("mia", "#0a0b0cff")
    assert moved["session"]["endpoint"] == session["endpoint"]
    assert vmm.condition(first) == "clean"
    assert vmm.on_guest(first, "find /home/session -name .Radicale.props") == ""
    shown = vmm("session", "show", name).result["session"]
    assert [grant["watcher"] for grant in shown["grants"]] == ["bo"]
    assert shown["right"] == right
    assert shown["selection"]["moved"]["from"] == first

    come_back(vmm, moved["session"], to=first)


def come_back(vmm: Controller, moved: dict[str, Any], *, to: str) -> None:
    """Not while it is suspended; then with what was changed meanwhile."""
    name = moved["id"]
    vmm("session", "suspend", name, "--as", "bo")
    vmm(*away(moved)).refused("Conflict", status=5, names="suspended")
    vmm("session", "resume", name, "--as", "bo")
    set_calendar(moved["endpoint"], user="mia", name="mia", colour="#0d0e0fff")
    back = vmm(*away(moved, "desktop")).result["session"]
    assert back["vm"] == to
    assert calendar(back["endpoint"], user="mia") == ("mia", "#0d0e0fff")
    vmm("session", "close", name)
    again = vmm(*open_words("mia")).result["session"]
    assert calendar(again["endpoint"], user="mia") == ("mia", "#0d0e0fff")
    vmm("session", "close", again["id"])
    require_nothing_half_made(vmm)


def test_session_moves_to_a_vm_that_is_parked_and_leaves_it_as_it_was(
    vmm: Controller, radicale: tuple[str, str]
) -> None:
    """It is resumed and kept as it is before the user's data come, so it goes back to that afterwards."""
    session = used_session(vmm, "noa", colour="#223344ff")
    (second,) = set(radicale) - {session["vm"]}
    domain = f"vmm-{vmm.name}-{second}"
    vmm("vm", "stop", second)
    vmm("vm", "start", second)
    assert vmm.virsh("snapshot-list", domain, "--name").split() == []
    vmm.virsh("managedsave", domain)
    moved = vmm(*away(session)).result["session"]
    assert moved["vm"] == second
    assert calendar(moved["endpoint"], user="noa") == ("noa", "#223344ff")
    assert len(vmm.virsh("snapshot-list", domain, "--name").split()) == 1
    assert vmm("session", "close", moved["id"]).result["cleaned_by"] == "snapshot"
    require_nothing_half_made(vmm)


@pytest.mark.parametrize("point", [*MOVING, "session.move.answered"])
def test_move_killed_in_between_goes_on_where_it_was(
    vmm: Controller, radicale: tuple[str, str], point: str
) -> None:
    """One reconciliation: the same VM, endpoint and data, and nothing on the other; then it can move."""
    session = used_session(vmm, "kay", colour=f"#{len(point):06x}ff")
    (second,) = set(radicale) - {session["vm"]}
    stored = generations(vmm, "kay")
    kill_at(vmm, point, *away(session))
    assert vmm.live_sessions()[0]["state"] == "starting"
    assert not answers(session["endpoint"]) or point == "session.move.answered"
    found = vmm("reconcile").result["findings"]
    assert [finding["action"] for finding in found] == ["undo_move", "forward", "start_ua"]
    assert not vmm("reconcile").changed
    kept = vmm.live_sessions()[0]
    assert (kept["vm"], kept["state"], kept["reason"]) == (session["vm"], "active", "")
    assert calendar(kept["endpoint"], user="kay") == ("kay", f"#{len(point):06x}ff")
    assert vmm.condition(second) == "clean"
    assert vmm.on_guest(second, "find /home/session -name .Radicale.props") == ""
    moved = vmm(*away(kept)).result["session"]
    assert (moved["id"], moved["vm"]) == (session["id"], second)
    assert calendar(moved["endpoint"], user="kay") == ("kay", f"#{len(point):06x}ff")
    vmm("session", "close", moved["id"])
    assert generations(vmm, "kay")[-1] >= (stored[-1] if stored else 0) + 2
    require_nothing_half_made(vmm)


def test_move_that_fails_on_the_new_vm_is_undone_by_the_same_run(
    vmm: Controller, radicale: tuple[str, str]
) -> None:
    """The UA is broken there: the session answers on its old VM again, and the new one is as it was."""
    session = used_session(vmm, "liv", colour="#112233ff")
    (second,) = set(radicale) - {session["vm"]}
    app, flag = "/opt/vmm/ua/radicale/3.2.3/app", vmm.home.with_name("at-point")
    environment = {**vmm.environment, "VMM_TRACE_PAUSE": f"session.move.captured:{flag}"}
    started = replace(vmm, environment=environment).start(*away(session))
    wait_until(lambda: flag.exists() or started.process.poll() is not None, what="captured", seconds=120)
    vmm.on_guest(second, f"mv {app} {app}.away")
    flag.unlink()
    failed = started.wait()
    assert failed.status == 11, failed
    assert second in failed.document["error"]["message"]
    kept = vmm.live_sessions()[0]
    assert (kept["vm"], kept["state"], kept["reason"]) == (session["vm"], "active", "")
    assert kept["endpoint"] == session["endpoint"]
    assert calendar(kept["endpoint"], user="liv") == ("liv", "#112233ff")
    assert vmm.condition(second) == "clean"
    assert vmm.on_guest(second, f"ls -d {app}") == app
    vmm("session", "close", kept["id"])
