"""Advisory locks between processes of one controller, on files that are never unlinked.

Unlinking a lock file on release would let two processes hold "the" lock on two files of the same name.
The kernel releases a lock when its holder dies, so no lock is ever stale.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vmm_automation.errors import LockHeld
from vmm_automation.places import make_directory


@contextmanager
def exclusive(path: Path, *, wait: bool = True, what: str = "this") -> Iterator[None]:
    """Hold the lock while the block runs.

    Raises:
        LockHeld: ``wait`` is false and another process holds it; names its pid.
    """
    make_directory(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _take(descriptor, wait=wait, what=what)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, *, wait: bool, what: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError as held:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        raise LockHeld(
            f"Cannot work on {what}: process {holder} of this controller is working on it",
            hint=f"ps -fp {holder}",
            details={"holder": holder},
        ) from held
