"""Makes sure that the state file is a regular local file which only its owner can read or write."""

from __future__ import annotations

import errno
import os
import pwd
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vmm_automation.errors import DiskFull, StateUnusable
from vmm_automation.state import mounts

_FILE_MODE = 0o600
_PLACE_MODE = 0o700
_DIRECTORY_MODE = 0o711  # others pass through and see nothing: QEMU, as its own user, reads disks below
_OTHERS_WRITE = 0o022
_HEADER = 100  # bytes of a SQLite file that come first


def found(path: Path) -> bool:
    """Whether the file is there, with its modes mended if they were too open; its directory is made (0711).

    An existing file is never opened here: closing any descriptor of it would drop the locks which
    another connection of this process holds (POSIX advisory locks belong to the process).

    Raises:
        StateUnusable: it is a symlink or not a regular file, belongs to somebody else, is cut off, or lies
            in a directory where others may put files, or on a file system that other machines write to.
        DiskFull: there is no space for the directory.
    """
    with _in_our_words(path):
        _refuse_shared_file_system(path)
        _prepare_directory(path.parent)
        try:
            _check_file(path)
        except FileNotFoundError:
            return False
    return True


def create(path: Path, *, fill: Callable[[Path], None]) -> None:
    """Make the file whole or not at all (0600); no change if another process was faster.

    Raises:
        StateUnusable: it cannot be made, or the log of an earlier file is there and would be taken for its.
        DiskFull: there is no space to create it.
    """
    place = path.with_name(f".{path.name}-{os.urandom(8).hex()}")
    new = place / path.name
    with _in_our_words(path):
        place.mkdir()
        place.chmod(_PLACE_MODE)
        try:
            descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
            os.fchmod(descriptor, _FILE_MODE)  # the umask may have taken of it
            os.close(descriptor)
            fill(new)
            _to_disk(new)
            _refuse_orphaned_log(path)
            with suppress(FileExistsError):
                os.link(new, path)
            _to_disk(path.parent)
        finally:
            for file in place.iterdir():
                file.unlink()
            place.rmdir()


@contextmanager
def _in_our_words(path: Path) -> Iterator[None]:
    try:
        yield
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


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_orphaned_log(path: Path) -> None:
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and not path.exists():  # in this order: the log of another process's new file comes later
        raise StateUnusable(
            f"Cannot create state file '{path}': the log of an earlier one is still there, which may have"
            " changes that are nowhere else",
            hint=f"mv {log} {log}.before",
            details={"path": str(path), "log": str(log)},
        )


def _refuse_shared_file_system(path: Path) -> None:
    kind = mounts.file_system_of(path.parent)
    if kind in mounts.SHARED:
        raise StateUnusable(
            f"Cannot keep state in '{path}': it is on a network file system ({kind}), where SQLite's locks"
            " do not hold; take a local disk, or PostgreSQL for several controllers",
            hint="export VMM_STATE_URL=postgresql://vmm@db.example.org/vmm",
            details={"path": str(path), "file_system": kind},
        )


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
    if found.st_size < _HEADER:  # none of ours ever is: SQLite would begin anew, and drop a log with changes
        raise StateUnusable(
            f"Cannot use state file '{path}': it is damaged (cut off after {found.st_size} bytes)",
            hint=f"mv {path} {path}.damaged",
            details={"path": str(path)},
        )
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
