"""What a user leaves anywhere in a guest is not there for the next: proven on real VMs, for each policy."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from .calendars import calendar, keep_calendar
from .controller import Controller
from .killed_at import REBUILDING, kill_at

LEAVE = """
touch /var/tmp/leak /opt/leak; echo '10.9.8.7 leak' >>/etc/hosts; echo x >/root/leak
systemd-run --unit leak sleep 4000; dd if=/dev/zero of=/var/leak bs=1M count=20 status=none
"""
LOOK = """
find /var/tmp /opt /root /var -maxdepth 1 -name leak; grep leak /etc/hosts
systemctl is-active leak | grep -x active; true
"""


def words(user: str, vm: str = "vm-1") -> tuple[str, ...]:
    return ("session", "open", "--user", user, "--ua", "radicale", "--vm", vm)


def with_policy(vmm: Controller, tmp_path: Path, policy: str) -> Controller:
    text = (vmm.site / "site.yml").read_text()
    return vmm.on_site(tmp_path / "site", {"site.yml": f"{text}  cleanliness: {policy}\n"})


def misused(vmm: Controller, user: str, *, colour: str) -> dict[str, Any]:
    """A session with data of the user's, and things left where no user data is declared."""
    session: dict[str, Any] = vmm(*words(user)).result["session"]
    keep_calendar(session["endpoint"], user=user, colour=colour)
    vmm.on_guest(session["vm"], LEAVE)
    assert len(vmm.on_guest(session["vm"], LOOK).splitlines()) == 6
    return session


def disk_kib(vmm: Controller, vm: str) -> int:
    return (vmm.home / "vms" / vmm.name / vm / "disk.qcow2").stat().st_blocks // 2


def test_next_user_finds_nothing_that_the_one_before_left_anywhere(
    vmm: Controller, radicale: tuple[str, str]
) -> None:
    """Files, a unit and a changed /etc are gone; the clock is right; data, host key and disk stay."""
    del radicale
    sizes = []
    for round_ in range(2):
        session = misused(vmm, "una", colour=f"#0000{round_:02x}ff")
        closed = vmm("session", "close", session["id"]).result
        assert (closed["cleaned_by"], closed["fallback"]) == ("snapshot", None)
        assert vmm.condition("vm-1") == "clean"
        sizes.append(disk_kib(vmm, "vm-1"))
        assert vmm.on_guest("vm-1", LOOK) == ""
        assert abs(float(vmm.on_guest("vm-1", "date +%s")) - time.time()) < 10
    assert sizes[1] < sizes[0] + 10_000
    seeds = {vmm.on_guest("vm-1", "cat /proc/sys/kernel/random/uuid") for _ in range(2)}
    assert len(seeds) == 2
    again = vmm(*words("una")).result
    assert calendar(again["session"]["endpoint"], user="una") == ("una", "#000001ff")
    vmm("session", "close", again["session"]["id"])
    assert not vmm("reconcile").changed


def test_snapshot_of_before_an_update_never_brings_the_older_version_back(
    vmm: Controller, radicale: tuple[str, str]
) -> None:
    """Updated between two sessions: the ledger and the guest agree after the second, at the newer version."""
    del radicale
    vmm("session", "close", vmm(*words("ute")).result["session"]["id"])
    domain = f"vmm-{vmm.name}-vm-1"
    before = vmm.virsh("snapshot-list", domain, "--name").split()
    assert vmm("ua", "update", "radicale", "--version", "3.5.4", "--vm", "vm-1").result
    opened = vmm(*words("ute")).result
    assert vmm.virsh("snapshot-list", domain, "--name").split() == [opened["snapshot"]] != before
    assert vmm("session", "close", opened["session"]["id"]).result["cleaned_by"] == "snapshot"
    assert vmm.on_guest("vm-1", "readlink /opt/vmm/ua/radicale/current") == "3.5.4"
    assert not vmm("ua", "status", "radicale", "--vm", "vm-1").changed
    assert vmm("ua", "update", "radicale", "--version", "3.2.3", "--vm", "vm-1").result


@pytest.mark.parametrize("point", ["", "image.clean.cleaned"])
def test_policy_scrub_takes_the_users_own_away(
    vmm: Controller, radicale: tuple[str, str], tmp_path: Path, point: str
) -> None:
    """As it says: what is the session's account's; killed in between, it is done again."""
    del radicale
    scrubbing = with_policy(vmm, tmp_path, "scrub")
    session = scrubbing(*words("sid")).result["session"]
    scrubbing.on_guest("vm-1", "touch /var/tmp/sids; chown session /var/tmp/sids")
    if point:
        kill_at(scrubbing, point, "session", "close", session["id"])
        assert vmm.condition("vm-1") == "dirty"
    closed = scrubbing("session", "close", session["id"]).result
    assert (closed["cleaned_by"], closed["fallback"]) == ("scrub", None)
    assert scrubbing.on_guest("vm-1", "ls /var/tmp | grep sids; true") == ""
    assert scrubbing.condition("vm-1") == "clean"


def test_policy_rebuild_killed_at_each_step_ends_in_a_clean_vm_with_its_uas(
    vmm: Controller, radicale: tuple[str, str], tmp_path: Path
) -> None:
    """Never clean before its end; each run that finishes the closing comes further than the one before."""
    del radicale
    rebuilding = with_policy(vmm, tmp_path, "rebuild")
    session = misused(rebuilding, "ray", colour="#0000ffff")
    words_of_run = ("session", "close", session["id"])
    for point in REBUILDING:
        kill_at(rebuilding, point, *words_of_run)
        assert rebuilding.condition("vm-1") == "dirty"
        words_of_run = ("vm", "start", "vm-1")
    rebuilding(*words_of_run)
    closed = rebuilding("session", "close", session["id"]).result
    assert closed["session"]["state"] == "closed"
    assert (rebuilding.condition("vm-1"), rebuilding.on_guest("vm-1", LOOK)) == ("clean", "")
    again = rebuilding(*words("ray")).result["session"]
    assert calendar(again["endpoint"], user="ray") == ("ray", "#0000ffff")
    rebuilding("session", "close", again["id"])
