"""Bounds how large a file may become, whoever writes it: this process, or a program that it starts."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vmm_automation.errors import ArtifactInvalid, VmmError


@contextmanager
def bounded(local: Path, *, limit: int, origin: str) -> Iterator[None]:
    """Let what runs within write ``limit`` bytes into a file at most; ``origin`` says what is written there.

    The kernel holds the bound for every file of this process and of programs started within, so that only one
    such transfer may run in a process at a time, and nothing else may write large files beside it.

    Raises:
        ArtifactInvalid: more was to be written; the file is gone.
    """
    try:
        with _largest_file(limit + 1):
            yield
    except (OSError, VmmError) as failure:
        if _size(local) <= limit:
            raise
        raise _refused(local, limit=limit, origin=origin) from failure
    if _size(local) > limit:
        raise _refused(local, limit=limit, origin=origin)


@contextmanager
def _largest_file(size: int) -> Iterator[None]:
    """Writing more fails here (EFBIG), and ends a program by SIGXFSZ."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    lowest = min((each for each in (size, soft) if each != resource.RLIM_INFINITY), default=size)
    resource.setrlimit(resource.RLIMIT_FSIZE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _refused(local: Path, *, limit: int, origin: str) -> ArtifactInvalid:
    local.unlink(missing_ok=True)
    return ArtifactInvalid(
        f"{origin} is refused: more than {limit:,} bytes came",
        hint="run the same command again",
        details={"limit": limit},
    )
