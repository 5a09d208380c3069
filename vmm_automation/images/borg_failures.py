"""What borg's exit statuses mean to us, with ``BORG_EXIT_CODES=modern``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from vmm_automation.adapters.process import Completed, failure
from vmm_automation.errors import ArtifactInvalid, Conflict, DiskFull, LockHeld, PreflightFailed, VmmError

#: the unspecific warning, and where borg's specific ones begin: the work was done, but not as asked
WARNING: Final = 1
WARNINGS: Final = 100
#: somebody else has the repository; the command did nothing
LOCKED: Final = frozenset(range(70, 76))

_EXISTS: Final = 30
_ABSENT: Final = 31
_NO_SPACE: Final = frozenset({14, 20})
_NO_KEY: Final = frozenset({*range(40, 45), *range(50, 54)})
_STALE_CACHE: Final = frozenset(range(60, 65))
_CONNECTION: Final = frozenset(range(80, 87))
_DAMAGED: Final = frozenset({_ABSENT, 11, 12, 13, 15, 16, 17, 25, 26, 27, 48, *range(90, 100)})


def translate(done: Completed, *, doing: str, store: Path, key_file: Path) -> VmmError:
    """The error for a run of borg that did not end with status 0; ``doing`` reads "store user image 'x'"."""
    plain = failure(done)
    if isinstance(plain, DiskFull) or done.status in _NO_SPACE:
        return disk_full(store)
    if done.status in _DAMAGED or "IntegrityError" in done.error_tail:
        return damaged(done, doing=doing)
    error: type[VmmError] = type(plain)
    hint = ""
    if done.status in LOCKED:
        error, hint = LockHeld, "wait, then repeat the command"
    elif done.status in _CONNECTION:
        error, hint = PreflightFailed, "vmm image repair --check"
    elif done.status in _NO_KEY:
        error, hint = PreflightFailed, f"restore '{key_file}' from your backup"
    elif done.status in _STALE_CACHE:
        error, hint = PreflightFailed, f"rm -r '{store / 'borg'}'"
    elif done.status == _EXISTS:
        error = Conflict
    return error(f"Cannot {doing}: {_last_words(done)}", hint=hint, details=_details(done))


def damaged(done: Completed, *, doing: str) -> ArtifactInvalid:
    """The error for an archive or a repository that is not what was stored."""
    return ArtifactInvalid(
        f"Cannot {doing}: {_last_words(done)}", hint="vmm image verify --all", details=_details(done)
    )


def disk_full(directory: Path) -> DiskFull:
    """The error for a store or a spool without space."""
    return DiskFull(
        f"Cannot work on user images: no space left below '{directory}'",
        hint=f"df -h '{directory}'",
        details={"directory": str(directory)},
    )


def _details(done: Completed) -> dict[str, Any]:
    return {"status": done.status, "stderr": done.error_tail}


def _last_words(done: Completed) -> str:
    if done.status < 0:
        return f"borg was killed by signal {-done.status}"
    lines = [line.strip() for line in done.error_tail.splitlines() if line.strip()]
    return lines[-1] if lines else f"borg ended with status {done.status}"
