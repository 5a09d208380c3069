"""SQLite's failures told in our words."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from vmm_automation.errors import DiskFull, RuleBroken, StateUnusable, Timeout, VmmError

BUSY_TIMEOUT_S = 30.0


@contextmanager
def in_our_words(path: Path) -> Iterator[None]:
    """A block of statements on a state file; a mistake in our own SQL passes as it is."""
    try:
        yield
    except sqlite3.Error as failed:
        tell(failed, path)


def tell(failed: sqlite3.Error, path: Path) -> NoReturn:
    """Raise a failure in our words; called where an exception is handled."""
    known = _translated(failed, path)
    if known is None:  # a mistake in our own SQL: not for a person to mend
        raise failed
    raise known from failed


def _translated(failed: sqlite3.Error, path: Path) -> VmmError | None:
    code = getattr(failed, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    details: dict[str, Any] = {"path": str(path), "sqlite": str(failed)}
    if isinstance(failed, sqlite3.IntegrityError):
        return RuleBroken(f"Cannot write state file '{path}': {failed}", details=details)
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _no_space(path)):
        return DiskFull(
            f"Cannot write state file '{path}': no space left", hint=f"df -h {path.parent}", details=details
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StateUnusable(
            f"Cannot use state file '{path}': it is damaged ({failed})",
            hint=f"mv {path} {path}.damaged",
            details=details,
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Timeout(
            f"Cannot write state file '{path}': another process kept it locked for {BUSY_TIMEOUT_S:g} s",
            hint=f"fuser -v {path}",
            details=details,
        )
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR):
        return StateUnusable(
            f"Cannot use state file '{path}': {failed}", hint=f"ls -ld {path.parent} {path}", details=details
        )
    return None


def _no_space(path: Path) -> bool:
    return os.statvfs(path.parent).f_bavail == 0
