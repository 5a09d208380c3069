"""Directories for what one run keeps private: its variables, a user's data on the way.

Each is 0700 and locked by its run while that lives. A run that was killed cannot remove its own, so every
new one first removes those that nobody has locked: nothing of a user stays behind for long.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vmm_automation.places import make_directory


@contextmanager
def private_directory(parent: Path, *, prefix: str) -> Iterator[Path]:
    """A new directory below ``parent``, removed with all in it at the end of the block."""
    make_directory(parent, mode=0o700)
    for leftover in parent.iterdir():
        _remove_unlocked(leftover)
    directory, descriptor = _new(parent, prefix=prefix)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(descriptor)


def _new(parent: Path, *, prefix: str) -> tuple[Path, int]:
    while True:
        directory = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        # Until it is locked another run may take it for a leftover; then another one is made.
        with suppress(FileNotFoundError, BlockingIOError):
            descriptor = _locked(directory)
            if directory.exists():
                return directory, descriptor
            os.close(descriptor)


def _remove_unlocked(directory: Path) -> None:
    with suppress(FileNotFoundError, NotADirectoryError, BlockingIOError):
        descriptor = _locked(directory)
        shutil.rmtree(directory, ignore_errors=True)
        os.close(descriptor)


def _locked(directory: Path) -> int:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    return descriptor
