"""Makes sure that the state file is a regular file which only its owner can read or write."""

from __future__ import annotations

import errno
import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path

from vmm_automation.errors import DiskFull, StateUnusable

_FILE_MODE = 0o600
_DIRECTORY_MODE = 0o711  # others pass through and see nothing: QEMU, as its own user, reads disks below
_OTHERS_WRITE = 0o022


def prepare(path: Path) -> None:
    """Create the file (0600) and its directory (0711) where missing; mend modes that are too open.

    An existing file is never opened here: closing any descriptor of it would drop the locks which
    another connection of this process holds (POSIX advisory locks belong to the process).

    Raises:
        StateUnusable: it is a symlink or not a regular file, belongs to somebody else, or lies in a
            directory where others may put files.
        DiskFull: there is no space to create it.
    """
    try:
        _prepare_directory(path.parent)
        _create(path)
        _check_file(path)
    except OSError as failed:
        if failed.errno == errno.ENOSPC:
            raise DiskFull(
                f"Cannot create state file '{path}': no space left", hint=f"df -h {path.parent}"
            ) from failed
        raise StateUnusable(
            f"Cannot open state file '{path}': {failed.strerror}",
            hint=f"ls -ld {path.parent}",
            details={"path": str(path)},
        ) from failed


def _prepare_directory(directory: Path) -> None:
    if not directory.exists():
        directory.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):  # another process was faster
            directory.mkdir(mode=_DIRECTORY_MODE)
            directory.chmod(_DIRECTORY_MODE)  # mkdir's mode is cut by the umask
    found = directory.stat()
    if found.st_uid not in (os.geteuid(), 0):
        raise _foreign(directory, found.st_uid)
    if found.st_mode & _OTHERS_WRITE:
        # a sticky directory is shared on purpose (/tmp): it is not ours to mend
        if found.st_mode & stat.S_ISVTX or found.st_uid != os.geteuid():
            raise StateUnusable(
                f"Cannot keep state in '{directory}': other users may write there",
                hint="export VMM_HOME=~/.local/share/vmm-automation",
                details={"path": str(directory)},
            )
        directory.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS_WRITE)


def _create(path: Path) -> None:
    with suppress(FileExistsError):  # an existing file is not opened: see prepare
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE))


def _check_file(path: Path) -> None:
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        kind = "a symlink" if stat.S_ISLNK(found.st_mode) else "not a regular file"
        raise StateUnusable(
            f"Cannot open state file '{path}': it is {kind}",
            hint=f"ls -l {path}",
            details={"path": str(path)},
        )
    if found.st_uid != os.geteuid():
        raise _foreign(path, found.st_uid)
    if stat.S_IMODE(found.st_mode) != _FILE_MODE:
        path.chmod(_FILE_MODE)


def _foreign(path: Path, uid: int) -> StateUnusable:
    try:
        owner = pwd.getpwuid(uid).pw_name
    except KeyError:
        owner = str(uid)
    return StateUnusable(
        f"Cannot use state at '{path}': it belongs to user '{owner}'",
        hint=f"sudo -u '{owner}' vmm session list",
        details={"path": str(path), "owner": owner},
    )
