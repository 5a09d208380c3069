"""A state file is not kept on a file system that several machines write to."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmm_automation.errors import StateUnusable
from vmm_automation.state.mounts import SHARED, file_system_of, type_in
from vmm_automation.state.sqlite import SqliteStore

MOUNTS = """\
21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
22 21 0:20 / /home rw,relatime shared:2 master:3 - nfs4 files.example.org:/home rw,vers=4.2
221 21 0:21 / /mnt/with\\040space\\040-\\040dash rw - cifs //host/share rw,username=bo
23 21 0:40 / /mnt/far rw,nosuid,nodev - fuse.sshfs bo@host: rw,user_id=1000
24 21 0:41 / /mnt/plan rw - 9p host rw,trans=virtio
25 21 0:42 / /var/tmp rw - tmpfs tmpfs rw
"""


@pytest.fixture
def silent_sshfs(tmp_path: Path) -> Iterator[Path]:
    """A real mount of type fuse.sshfs whose server never answers; after five seconds it is gone."""
    if os.geteuid() != 0 or not Path("/dev/fuse").exists():
        pytest.skip("mounting a FUSE file system needs root and /dev/fuse")
    place = tmp_path / "far"
    place.mkdir()
    server = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={server},rootmode=40000,user_id=0,group_id=0"
    # -i: by the kernel alone, without the program that would start a server
    mount = ["mount", "-i", "-t", "fuse.sshfs", "-o", options, "nowhere", str(place)]
    subprocess.run(mount, check=True, pass_fds=[server])
    gone = threading.Timer(5, os.close, [server])
    gone.start()
    yield place
    gone.cancel()
    gone.join()
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize(
    ("mount", "found"), [("21", "ext4"), ("22", "nfs4"), ("221", "cifs"), ("23", "fuse.sshfs"), ("2", "")]
)
def test_type_of_a_mount_is_read_from_the_kernels_list(mount: str, found: str) -> None:
    """Optional fields, spaces and dashes in a mount's place do not hide its type; an unknown one has none."""
    assert type_in(MOUNTS, mount=mount) == found


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse.sshfs", "fuse.glusterfs"]
)
def test_network_file_system_is_known(kind: str) -> None:
    """The usual ones are on the list, and no usual local one is."""
    assert kind in SHARED
    assert not SHARED & {"ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuseblk", "fuse.fuse-overlayfs"}


def test_directory_not_made_yet_is_on_the_file_system_it_will_be_on(tmp_path: Path) -> None:
    """What is there decides, through links too."""
    link = tmp_path / "link"
    link.symlink_to("/proc")
    assert file_system_of(link / "no" / "such" / "place") == "proc"
    assert file_system_of(tmp_path / "new" / "place") == file_system_of(tmp_path) not in SHARED


def test_state_file_on_a_network_file_system_is_refused(silent_sshfs: Path) -> None:
    """Tried: a new state in the mounted directory, by its name and through a link. Nothing waits."""
    link = silent_sshfs.parent / "link"
    link.symlink_to(silent_sshfs)
    for directory in (silent_sshfs, link):
        with pytest.raises(StateUnusable) as caught:
            SqliteStore.open(directory / "state.db")
        assert "network file system (fuse.sshfs)" in caught.value.message
        assert caught.value.hint.startswith("export VMM_STATE_URL=")
        assert caught.value.exit_code == 8
