"""Which file system a directory is on: SQLite's locks and its shared memory hold within one machine only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

#: file systems that several machines write to at once, as /proc/self/mountinfo calls them
SHARED: Final = frozenset(
    {
        *("9p", "acfs", "afs", "beegfs", "ceph", "cifs", "coda", "gfs2", "gpfs", "lustre", "ncpfs", "nfs"),
        *("nfs4", "ocfs2", "orangefs", "panfs", "prl_fs", "pvfs2", "smb3", "smbfs", "vboxsf", "virtiofs"),
        *("fuse.ceph", "fuse.ceph-fuse", "fuse.cifs", "fuse.curlftpfs", "fuse.davfs", "fuse.gcsfuse"),
        *("fuse.glusterfs", "fuse.goofys", "fuse.juicefs", "fuse.moosefs", "fuse.mfs", "fuse.rclone"),
        *("fuse.s3fs", "fuse.seaweedfs", "fuse.smbnetfs", "fuse.sshfs", "fuse.vmhgfs-fuse", "fuse.weed"),
    }
)


def file_system_of(directory: Path) -> str:
    """The type of file system that a directory is on, or will be once it is made; '' if nobody can say.

    Nothing in it is looked at: a mounted directory is told at once, though its server does not answer.
    """
    for present in (directory, *directory.parents):
        try:
            descriptor = os.open(present, os.O_PATH | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return ""  # told by whoever opens the file
        try:
            return _type_of_mount(descriptor)
        finally:
            os.close(descriptor)
    return ""


def type_in(mountinfo: str, *, mount: str) -> str:
    """The type of file system of a mount, by its number in a text like /proc/self/mountinfo; '' if absent."""
    for line in mountinfo.splitlines():
        if line.startswith(f"{mount} "):
            return line.rpartition(" - ")[2].partition(" ")[0]
    return ""


def _type_of_mount(descriptor: int) -> str:
    try:
        known = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
        mounts = Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
    except OSError:
        return ""  # no /proc
    fields = dict(line.split(":", 1) for line in known.splitlines() if ":" in line)
    return type_in(mounts, mount=fields.get("mnt_id", "").strip())
