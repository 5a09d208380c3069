"""A user's data on a disk of its own, on a real VM: whatever its size, never lost, never in the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .calendars import calendar, keep_calendar
from .controller import Controller
from .killed_at import ON_VOLUME, kill_at

VM = "vm-1"
_OPENING, _CLOSING = ON_VOLUME[:3], ON_VOLUME[3:]
_JUNK = """
cd /home/session && touch .undeclared && mkdir -p .local/share/radicale/empty
cp /bin/true .local/share/radicale/root && chown -R session:session .undeclared .local
chmod 4755 .local/share/radicale/root
mknod .local/share/radicale/device c 1 3 && chmod 666 .local/share/radicale/device
setpriv --reuid=session --clear-groups sh -c 'echo x >.local/share/radicale/device' && echo written; true
"""


@pytest.fixture
def volume(site: Controller, radicale: tuple[str, str], tmp_path: Path) -> Controller:
    """The site, where sessions have volumes; no session goes on."""
    assert VM in radicale
    text = (site.site / "site.yml").read_text()
    return site.on_site(tmp_path / "site", {"site.yml": f"{text}  user_data_tier: volume\n"})


def words(user: str) -> tuple[str, ...]:
    return ("session", "open", "--user", user, "--ua", "radicale", "--vm", VM)


def used(vmm: Controller, user: str, *, colour: str) -> dict[str, Any]:
    """An active session in which the user has just set a colour, which is on the disk."""
    session: dict[str, Any] = vmm(*words(user)).result["session"]
    keep_calendar(session["endpoint"], user=user, colour=colour)
    vmm.on_guest(VM, "sync")
    return session


def closed(vmm: Controller, session: dict[str, Any]) -> dict[str, Any]:
    ended: dict[str, Any] = vmm("session", "close", session["id"]).result
    assert disks(vmm) == ["vda", "vdb"]
    assert vmm.condition(VM) == "clean"
    return ended


def disks(vmm: Controller) -> list[str]:
    return [line.split()[0] for line in vmm.virsh("domblklist", f"vmm-{vmm.name}-{VM}").splitlines() if line]


def tiers(vmm: Controller, user: str) -> dict[int, str]:
    found = vmm("image", "list", "--user", user).result["generations"]
    return {generation["number"]: generation["tier"] for generation in found}


def came_by(vmm: Controller, user: str) -> str:
    """How the newest deployment of a user's data went."""
    events = vmm("audit", "log", "--object", f"{user}/radicale", "--limit", "20").result["events"]
    return str([event["result"] for event in events if event["action"] == "image.deploy"][-1]["by"])


def colour_of_next(vmm: Controller, user: str) -> str:
    """What the user finds in a new session, which is closed again."""
    session = vmm(*words(user)).result["session"]
    found = calendar(session["endpoint"], user=user)
    closed(vmm, session)
    assert found
    return found[1]


def test_data_come_by_volume_and_only_what_is_declared_does(volume: Controller) -> None:
    """No set-user-id, no device, no undeclared file; the VM's snapshot and definition have no such disk."""
    session = used(volume, "val", colour="#00aa00ff")
    mounts = volume.on_guest(
        VM, "grep -E ' (/home/session|/var/lib/vmm/user-data) ' /proc/mounts"
    ).splitlines()
    assert len(mounts) == 2
    assert all("nosuid,nodev" in line for line in mounts)
    assert disks(volume) == ["vda", "vdb", "vdu"]
    assert "written" not in volume.on_guest(VM, _JUNK)
    volume.on_guest(VM, "rm /home/session/.local/share/radicale/device")
    domain = f"vmm-{volume.name}-{VM}"
    assert "user_volumes" not in volume.virsh("dumpxml", domain, "--inactive")
    for snapshot in volume.virsh("snapshot-list", domain, "--name").split():
        assert "user_volumes" not in volume.virsh("snapshot-dumpxml", domain, snapshot)
    closed(volume, session)
    assert tiers(volume, "val") == {1: "volume"}
    session = volume(*words("val")).result["session"]
    assert calendar(session["endpoint"], user="val") == ("val", "#00aa00ff")
    assert came_by(volume, "val") == "volume"
    found = volume.on_guest(VM, "cd /home/session; find . -name .undeclared; find . -perm /6000; ls .profile")
    assert found == ".profile"
    closed(volume, session)
    assert [
        one["status"] for one in volume("image", "verify", "val", "radicale", "--all").result["generations"]
    ] == ["good"] * 2


def test_generations_go_from_one_tier_to_the_other(site: Controller, volume: Controller) -> None:
    """Written on a volume, read as files; written as files, read from a fresh volume, then by that."""
    closed(volume, used(volume, "xen", colour="#000001ff"))
    session = site(*words("xen")).result["session"]
    assert calendar(session["endpoint"], user="xen") == ("xen", "#000001ff")
    assert (came_by(site, "xen"), disks(site)) == ("files", ["vda", "vdb"])
    keep_calendar(session["endpoint"], user="xen", colour="#000002ff")
    closed(site, session)
    assert tiers(volume, "xen") == {1: "volume", 2: "portable"}
    assert colour_of_next(volume, "xen") == "#000002ff"
    assert came_by(volume, "xen") == "files"
    assert volume("image", "restore", "xen", "radicale", "--generation", "1").changed
    assert colour_of_next(volume, "xen") == "#000001ff"
    assert came_by(volume, "xen") == "volume"


def test_damaged_volume_is_passed_over(volume: Controller) -> None:
    """A layer that somebody wrote to is not attached: the generation comes by files, and verify tells."""
    closed(volume, used(volume, "dan", colour="#0000ddff"))
    (name,) = (volume.home / "user_volumes" / "generations").glob("dan.*")
    file = volume.home / "user_volumes" / "layers" / f"{name.read_text().strip()}.qcow2"
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.chmod(0o600)
    file.write_bytes(raw)
    error = volume("image", "verify", "dan", "radicale").refused("ImageDamaged", status=9, names="dan")
    assert "its files are good" in error["message"]
    assert colour_of_next(volume, "dan") == "#0000ddff"
    assert came_by(volume, "dan") == "files"
    assert "dan" in volume("image", "repair").result["volumes"]["damaged"][0]


def test_volume_is_there_again_after_its_vm_was_started_anew(volume: Controller) -> None:
    """The power is cut in a session: started again, the UA finds the data, and closing stores them."""
    session = used(volume, "ren", colour="#00eeeeff")
    volume.virsh("destroy", f"vmm-{volume.name}-{VM}")
    assert disks(volume) == ["vda", "vdb"]
    assert volume("vm", "start", VM).result
    again = volume(*words("ren")).result["session"]
    assert again["id"] == session["id"]
    assert calendar(again["endpoint"], user="ren") == ("ren", "#00eeeeff")
    closed(volume, again)
    assert colour_of_next(volume, "ren") == "#00eeeeff"


def test_what_a_given_up_session_wrote_is_kept_and_can_be_had_back(volume: Controller) -> None:
    """Discarded: not in the next session, but in the list, and a person may put it into a session."""
    closed(volume, used(volume, "gus", colour="#000001ff"))
    lost = used(volume, "gus", colour="#000002ff")
    assert volume("session", "close", lost["id"], "--discard", "--yes").changed
    session = volume(*words("gus")).result["session"]
    assert calendar(session["endpoint"], user="gus") == ("gus", "#000001ff")
    (kept,) = volume("image", "list", "--orphaned", "--user", "gus").result["generations"]
    assert (kept["tier"], kept["session"]) == ("volume", lost["id"])
    volume("image", "deploy", session["id"], "--orphan", "nothing", "--yes").refused(
        "NotFound", status=4, names="nothing"
    )
    assert volume("image", "deploy", session["id"], "--orphan", kept["archive"], "--yes").changed
    again = volume(*words("gus")).result["session"]
    assert calendar(again["endpoint"], user="gus") == ("gus", "#000002ff")
    assert closed(volume, again)["generation"]["number"] == 2
    assert volume("image", "list", "--orphaned", "--user", "gus").result["generations"] == []


def test_session_moves_to_another_vm_with_what_is_on_its_volume(volume: Controller) -> None:
    """Both VMs are without that disk in the end, and the user finds what was changed after the move."""
    session = used(volume, "mov", colour="#00aa01ff")
    moved = volume("session", "move", session["id"], "--terminal", "phone", "--avoid", VM).result["session"]
    assert moved["vm"] != VM
    assert calendar(moved["endpoint"], user="mov") == ("mov", "#00aa01ff")
    assert disks(volume) == ["vda", "vdb"]
    keep_calendar(moved["endpoint"], user="mov", colour="#00aa02ff")
    volume("session", "close", moved["id"])
    assert "vdu" not in volume.virsh("domblklist", f"vmm-{volume.name}-{moved['vm']}")
    assert colour_of_next(volume, "mov") == "#00aa02ff"
    require_nothing_left(volume, "mov")


def test_opening_on_a_volume_killed_at_each_step_leaves_no_disk_and_loses_nothing(
    volume: Controller,
) -> None:
    """Each opening gives the one before up; the last finds what was stored, and nothing is left of them."""
    closed(volume, used(volume, "ola", colour="#123456ff"))
    for point in _OPENING:
        kill_at(volume, point, *words("ola"))
    assert colour_of_next(volume, "ola") == "#123456ff"
    require_nothing_left(volume, "ola")


def test_closing_on_a_volume_killed_at_each_step_stores_one_generation_each_time(
    volume: Controller,
) -> None:
    """By whichever tier, the next session finds the last change; nothing is lost, aside or stored twice."""
    for number, point in enumerate(_CLOSING):
        session = volume(*words("cal")).result["session"]
        if number:
            assert calendar(session["endpoint"], user="cal") == ("cal", f"#00000{number - 1}ff")
        keep_calendar(session["endpoint"], user="cal", colour=f"#00000{number}ff")
        volume.on_guest(VM, "sync")
        kill_at(volume, point, "session", "close", session["id"])
        closed(volume, session)
        assert list(tiers(volume, "cal")) == list(range(1, number + 2))
    require_nothing_left(volume, "cal")


def require_nothing_left(vmm: Controller, user: str) -> None:
    assert sorted(path.name for path in (vmm.home / "user_volumes" / "sessions").iterdir()) == []
    assert vmm("image", "list", "--orphaned", "--user", user).result["generations"] == []
