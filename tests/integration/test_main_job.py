"""The whole job through the command line: VMs, an application, a session, its Watchers, a user's data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from .calendars import answers, calendar, make_calendar
from .controller import Controller

WORK = ("Work of Ada", "#123456ff")


@dataclass(frozen=True)
class Ada:
    """A user with an active session."""

    session: str
    vm: str
    endpoint: str


@pytest.fixture
def ada(vmm: Controller, radicale: tuple[str, str]) -> Iterator[Ada]:
    """A session of user ada, closed at the end."""
    del radicale
    session = vmm("session", "open", "--user", "ada", "--ua", "radicale").result["session"]
    yield Ada(session=session["id"], vm=session["vm"], endpoint=session["endpoint"])
    vmm("session", "close", session["id"])


def test_two_vms_created_at_once_are_listed_running_and_clean(
    vmm: Controller, idle_vms: tuple[str, str]
) -> None:
    """VMs made with one command run, are proven clean, and have profile and ports of their own."""
    vms = vmm("vm", "list").result["vms"]
    assert [vm["name"] for vm in vms] == list(idle_vms)
    assert {(vm["state"], vm["condition"], vm["profile"], vm["session"]) for vm in vms} == {
        ("running", "clean", "small", None)
    }
    assert len({vm["ssh_port"] for vm in vms}) == len(vms)


def test_settings_changed_in_one_session_are_there_in_the_next_on_another_vm(
    vmm: Controller, radicale: tuple[str, str]
) -> None:
    """What a user sets on one VM is stored at the end, leaves that VM, and is in place on the next one."""
    opened = vmm("session", "open", "--user", "bea", "--ua", "radicale").result
    session, first = opened["session"], opened["session"]["vm"]
    assert (session["state"], opened["deployed"]) == ("active", 0)
    make_calendar(session["endpoint"], user="bea", name=WORK[0], colour=WORK[1])

    closed = vmm("session", "close", session["id"]).result
    assert closed["session"]["state"] == "closed"
    assert closed["generation"]["number"] == closed["session"]["generation"] == 1
    assert closed["generation"]["size"] > 0
    manifest = vmm("image", "show", "bea", "radicale").result["manifest"]
    assert any(file["path"].endswith("work/.Radicale.props") for file in manifest["files"])
    assert not answers(session["endpoint"])
    assert vmm.condition(first) == "clean"

    again = vmm("session", "open", "--user", "bea", "--ua", "radicale", "--avoid", first).result
    assert again["session"]["vm"] in set(radicale) - {first}
    assert again["deployed"] == 1
    assert calendar(again["session"]["endpoint"], user="bea") == WORK
    vmm("session", "close", again["session"]["id"])


def test_vm_of_a_closed_session_has_nothing_of_the_user(vmm: Controller, ada: Ada) -> None:
    """After a session no file and no process of the user is on the VM: it looks as if it was never used."""
    make_calendar(ada.endpoint, user="ada", name=WORK[0], colour=WORK[1])
    look = "find /home/session -mindepth 1 | sort; ps -u session -o args=; ls /etc/skel -A | sort"
    during = vmm.on_guest(ada.vm, look)
    assert "/home/session/.local/share/radicale/collection-root/ada/work/.Radicale.props" in during
    assert "radicale" in during

    vmm("session", "close", ada.session)
    skeleton = vmm.on_guest(ada.vm, "ls -A /etc/skel | sort").split()
    home = vmm.on_guest(ada.vm, "cd /home/session && find . -mindepth 1 -printf '%P\\n' | sort").split()
    assert home == skeleton
    assert vmm.on_guest(ada.vm, "ps -u session -o args=; true") == ""
    assert vmm.on_guest(ada.vm, "find / -xdev -user session ! -path '/home/session*'") == ""
    assert vmm.on_guest(ada.vm, "grep -rlF 'Work of Ada' /etc /home /opt /root /srv /tmp /var; true") == ""


def test_opening_says_why_this_vm_and_why_not_the_others(vmm: Controller, radicale: tuple[str, str]) -> None:
    """The reply, and later `session show`, name the VM selected with its reasons, and why others were not."""
    busy, idle = radicale
    first = vmm("session", "open", "--user", "cy", "--ua", "radicale", "--vm", busy).result
    opened = vmm("session", "open", "--user", "dee", "--ua", "radicale").result
    assert opened["session"]["vm"] == idle
    assert [choice["vm"] for choice in opened["selection"]["ranked"]] == [idle]
    assert "radicale 3.2.3 active" in opened["selection"]["ranked"][0]["sentence"]
    rejected = {rejection["vm"]: rejection["sentence"] for rejection in opened["selection"]["rejected"]}
    assert first["session"]["id"] in rejected[busy]
    shown = vmm("session", "show", opened["session"]["id"]).result["session"]
    assert shown["selection"] == opened["selection"]
    for session in (first, opened):
        assert vmm("session", "close", session["session"]["id"]).changed


def test_update_of_one_vm_leaves_the_other_alone(vmm: Controller, radicale: tuple[str, str]) -> None:
    """One VM gets a newer version in place; the other keeps its own, and the old one stays as a way back."""
    first, second = radicale
    updated = vmm("ua", "update", "radicale", "--version", "3.5.4", "--vm", first).result
    assert updated["vms"].keys() == {first}
    uas = {vm["name"]: vm["uas"] for vm in vmm("vm", "list").result["vms"]}
    assert uas[first]["radicale"] == "3.5.4"
    assert uas[second]["radicale"] == "3.2.3"
    wanted = ("session", "open", "--user", "eve", "--ua", "radicale", "--version", "3.5.4")
    session = vmm(*wanted).result["session"]
    assert (session["vm"], session["version"]) == (first, "3.5.4")
    assert answers(session["endpoint"])
    vmm("session", "close", session["id"])
    back = vmm("ua", "update", "radicale", "--version", "3.2.3", "--vm", first).result["vms"][first]
    assert "deliver" not in back["actions"]


def test_only_the_holder_of_the_right_suspends_and_the_endpoint_is_silent_meanwhile(
    vmm: Controller, ada: Ada
) -> None:
    """Of two Watchers who may suspend only the holder of the right can; a suspended session is silent."""
    for watcher in ("bo", "cleo"):
        vmm("watcher", "assign", ada.session, watcher, "--privilege", "view", "--privilege", "suspend")
    vmm("watcher", "assign", ada.session, "vic", "--privilege", "view")
    vmm("session", "suspend", ada.session, "--as", "bo").refused("NotPermitted", status=6, names="nobody")
    right = vmm("watcher", "lock", "acquire", ada.session, "bo").result["right"]
    vmm("session", "suspend", ada.session, "--as", "cleo").refused("LockHeld", status=6, names="'bo'")
    vmm("watcher", "lock", "acquire", ada.session, "cleo").refused("LockHeld", status=6, names="'bo'")
    vmm("session", "suspend", ada.session, "--as", "vic").refused("NotPermitted", status=6, names="'vic'")
    assert answers(ada.endpoint)

    fence = str(right["fence"])
    suspended = vmm("session", "suspend", ada.session, "--as", "bo", "--fence", fence).result["session"]
    assert suspended["state"] == "suspended"
    assert not answers(ada.endpoint)
    vmm("session", "resume", ada.session, "--as", "cleo").refused("LockHeld", status=6, names="'bo'")
    assert vmm("session", "resume", ada.session, "--as", "bo").result["session"]["state"] == "active"
    assert answers(ada.endpoint, within_s=20)


def test_operator_resumes_what_a_watcher_suspended(vmm: Controller, ada: Ada) -> None:
    """The operator brings a session back although its Watcher is gone with the right."""
    vmm("watcher", "assign", ada.session, "bo", "--privilege", "suspend")
    vmm("watcher", "lock", "acquire", ada.session, "bo")
    assert vmm("session", "suspend", ada.session, "--as", "bo").changed
    assert vmm("session", "resume", ada.session).changed
    assert answers(ada.endpoint, within_s=20)
    assert not vmm("session", "resume", ada.session).changed


def test_closing_a_suspended_session_stores_its_data(vmm: Controller, ada: Ada) -> None:
    """Nobody needs to resume first: what the user set before the suspension is stored."""
    before = calendar(ada.endpoint, user="ada")
    vmm("watcher", "assign", ada.session, "bo", "--privilege", "suspend")
    vmm("watcher", "lock", "acquire", ada.session, "bo")
    vmm("session", "suspend", ada.session, "--as", "bo")
    assert vmm("session", "close", ada.session).result["generation"]["number"] >= 1
    session = vmm("session", "open", "--user", "ada", "--ua", "radicale").result["session"]
    assert calendar(session["endpoint"], user="ada") == before
    vmm("session", "close", session["id"])
