"""What runs in a guest for a volume, in a guest of namespaces: a directory stands for the disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vmm_automation.images.archive import ArchivePolicy
from vmm_automation.images.borg import BorgStore
from vmm_automation.operations.user_image import clean, deploy
from vmm_automation.operations.user_image_scripts import (
    SessionAccount,
    VolumePlace,
    mount_script,
    seal_script,
    unmount_script,
)
from vmm_automation.operations.user_volume import sealed_paths
from vmm_automation.ports import GuestResult

from .local_guest import FILL, UA, UID, LocalGuest, captured

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces with accounts need root")

ACCOUNT, PLACE = SessionAccount(), VolumePlace(directory="/home/volume")
DISK = "/root/disk"
_MESS = r"""
mkdir -p .cache/junk .config/notes/cache; echo x >.cache/junk/f; echo x >.bash_history; echo x >-rf
echo x >"$(printf "undeclared\nname")"; echo x >.config/notes/cache/page
python3 -c "import socket; socket.socket(socket.AF_UNIX).bind(\".config/notes/socket\")"
chmod 6711 .config/notes/settings; ln -s /etc/passwd .config/link
"""


@pytest.fixture
def mounted(guest: LocalGuest) -> LocalGuest:
    """A guest whose account has its home on an empty volume."""
    attach(guest)
    assert mount(guest).status == 0
    return guest


def attach(guest: LocalGuest) -> None:
    """A directory where the disk would be mounted."""
    done = guest.run(f"mkdir -p {DISK} /home/volume && mount --bind {DISK} /home/volume")
    assert done.status == 0, done.stderr


def mount(guest: LocalGuest) -> GuestResult:
    return guest.run(mount_script(ACCOUNT, PLACE))


def on_disk(guest: LocalGuest) -> list[str]:
    """Every path of the home on the disk, which is mounted nowhere."""
    mounts = guest.run("grep -c -e /home/volume -e /home/session /proc/mounts").stdout
    assert mounts == "0\n", mounts
    listed = guest.run(f"cd {DISK}/home && find . -mindepth 1 -print0 | sort -z | tr '\\n\\0' '?\\n'")
    return listed.stdout.splitlines()


def test_home_on_an_empty_volume_is_as_every_new_home(mounted: LocalGuest) -> None:
    """The skeleton is there, of the account and closed to others; a second mount changes nothing."""
    before = mounted.tree()
    assert before.splitlines()[0] == f"f 644 {UID} ./.profile "
    assert mounted.outside(f"{DISK}/home").stat().st_mode & 0o777 == 0o700
    assert mounted.outside(f"{DISK}/home").stat().st_uid == UID
    mounts = mounted.run("cat /proc/mounts").stdout
    assert mount(mounted).status == 0
    assert mounted.run("cat /proc/mounts").stdout == mounts
    assert mounted.tree() == before


def test_generation_is_switched_into_a_volume_by_renames_and_what_is_sealed_is_it(
    mounted: LocalGuest, store: BorgStore, tmp_path: Path
) -> None:
    """Names of all kinds come from the other tier onto the volume, and stay; all that is undeclared goes."""
    mounted.as_session(FILL)
    manifest, archive = captured(mounted, store, tmp_path)
    mounted.run(unmount_script(ACCOUNT, PLACE))
    mounted.run(f"rm -rf {DISK}/home")
    attach(mounted)
    mount(mounted)
    tar, _ = store.read(archive, into=tmp_path / "out")
    on_volume = SessionAccount(home=PLACE.home)
    policy = ArchivePolicy(home=ACCOUNT.home)
    for _ in range(2):
        deploy(mounted, tar=tar, manifest=manifest, ua=UA, session="s-2", account=on_volume, policy=policy)
    again, _ = captured(mounted, store, tmp_path, number=2)
    assert again.root_digest == manifest.root_digest
    assert sorted(path.name for path in mounted.outside(DISK).iterdir()) == ["home"]
    mounted.as_session(_MESS)
    assert captured(mounted, store, tmp_path, number=3)[0].root_digest == manifest.root_digest
    done = mounted.run(seal_script(ACCOUNT, PLACE), stdin=sealed_paths(again))
    assert done.status == 0, done.stderr
    kept = on_disk(mounted)
    assert len(kept) == sealed_paths(again).count(b"\0")
    assert not [path for path in kept if "cache" in path or "undeclared" in path or path.endswith("socket")]
    assert mounted.run(f"find {DISK}/home -perm /7000").stdout == ""
    attach(mounted)
    mount(mounted)
    assert captured(mounted, store, tmp_path, number=4)[0].root_digest == manifest.root_digest


def test_volume_is_not_sealed_while_it_may_change_or_lacks_something(
    mounted: LocalGuest, store: BorgStore, tmp_path: Path
) -> None:
    """A process of the user, or a path that is not there any more: it stays mounted, and says why."""
    mounted.as_session(FILL)
    manifest, _ = captured(mounted, store, tmp_path)
    seal = seal_script(ACCOUNT, PLACE)
    mounted.in_background("sleep 600")
    running = mounted.run(seal, stdin=sealed_paths(manifest))
    assert (running.status, "still runs" in running.stderr) == (4, True), running.stderr
    mounted.run("pkill -u session")
    more = mounted.run(seal, stdin=sealed_paths(manifest) + b"zzz\0")
    assert (more.status, "other paths" in more.stderr) == (4, True), more.stderr
    assert mounted.run("mountpoint -q /home/session").status == 0
    assert mounted.run(seal, stdin=sealed_paths(manifest)).status == 0


@pytest.mark.parametrize(
    "prepared",
    ["chown 0:0 home", "rm -rf home; ln -s /etc home", "rm -rf home; : >home; chown 2000:2000 home"],
)
def test_volume_whose_home_is_not_the_accounts_is_refused(guest: LocalGuest, prepared: str) -> None:
    """Made by who was root elsewhere, or of an account with another number: nothing is bound over it."""
    guest.run(f"mkdir -p {DISK}/home && cd {DISK} && {prepared}")
    attach(guest)
    refused = mount(guest)
    assert (refused.status, "not of this VM's account" in refused.stderr) == (7, True), refused.stderr
    assert guest.run("mountpoint -q /home/session").status != 0


def test_unmounting_ends_what_uses_the_volume_and_leaves_a_guest_that_can_be_cleaned(
    mounted: LocalGuest,
) -> None:
    """Processes in the home and files held open end; the home below is as before, and nothing is left."""
    mounted.in_background("exec 3>held; cd .; sleep 600")
    done = mounted.run(unmount_script(ACCOUNT, PLACE))
    assert done.status == 0, done.stderr
    assert "./held" in on_disk(mounted)
    assert mounted.run(unmount_script(ACCOUNT, PLACE)).status == 0
    clean(mounted)
    assert mounted.tree().splitlines()[0] == f"f 644 {UID} ./.profile "
