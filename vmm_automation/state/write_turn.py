"""Writers of one state file take turns: who came first writes first.

SQLite's own lock goes to whoever asks at the right moment, and who waits asks ever more rarely: of 16
processes that write without a pause one may wait for half a minute. The kernel's queue for a file lock is
fair, so it is there that writers wait; SQLite's lock is nearly always free then. It is order, not safety:
whoever does not get its turn in time, or cannot open the file, goes on to SQLite's lock, and that decides.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_MODE = 0o600


@contextmanager
def turn(state: Path, *, within_s: float) -> Iterator[None]:
    """Wait for a writer's turn, for ``within_s`` seconds at most, and have it for the block.

    The lock is on a file beside the state: to close a file of SQLite's would end SQLite's own locks.
    """
    descriptor = _opened(f"{state}-turn")
    if descriptor is None:  # what is wrong with the directory is told by what is written next
        yield
        return
    waiting = _Waiting(descriptor)
    try:
        waiting.begin(within_s)
        yield
    finally:
        waiting.end()


def _opened(path: str) -> int | None:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
    except OSError:
        return None
    with suppress(OSError):  # somebody else's, with a mode of its own
        if os.fstat(descriptor).st_mode & 0o777 != _MODE:  # an unusual umask
            os.fchmod(descriptor, _MODE)
    return descriptor


class _Waiting:
    """One writer in the queue. A thread waits in it, for that can be given up on: the call has no end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._guard = threading.Lock()
        self._given_up = self._in_queue = False

    def begin(self, within_s: float) -> None:
        """Return when it is its turn, or too late."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._in_queue = True
            thread = threading.Thread(target=self._queue, daemon=True)
            thread.start()
            thread.join(within_s)

    def end(self) -> None:
        """Let the next one have its turn; a thread that still waits does so as soon as it can."""
        with self._guard:
            self._given_up = True
            if not self._in_queue:
                os.close(self._descriptor)

    def _queue(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        with self._guard:
            self._in_queue = False
            if self._given_up:
                os.close(self._descriptor)
