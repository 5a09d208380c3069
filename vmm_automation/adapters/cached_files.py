"""Files kept under their digest, ``<sha256>-<file name>``, and never read back without checking it again."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vmm_automation.errors import ArtifactInvalid, DiskFull


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cached_file(directory: Path, sha256: str) -> Path | None:
    """The kept file with that digest, or None where there is none.

    Raises:
        ArtifactInvalid: there is one and its content has another digest.
    """
    kept = sorted(directory.glob(f"{sha256}-*"))
    if not kept:
        return None
    actual = sha256_of(kept[0])
    if actual != sha256:
        raise ArtifactInvalid(
            f"Artifact '{kept[0].name}' was altered in the cache: "
            f"expected sha256 {sha256}, the file has {actual}",
            hint=f"rm {kept[0]}",
            details={"path": str(kept[0]), "expected": sha256, "actual": actual},
        )
    return kept[0]


def keep_file(file: Path, *, directory: Path, sha256: str) -> Path:
    """Move ``file``, whose digest was just computed, to its place; both must be on one file system."""
    kept = directory / f"{sha256}-{file.name}"
    file.chmod(0o644)
    return file.replace(kept)


@contextmanager
def no_space(directory: Path) -> Iterator[None]:
    """Turn the operating system's word for a full disk into DiskFull, naming ``directory``."""
    try:
        yield
    except OSError as refused:
        if refused.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"Cannot write below '{directory}': no space left on device",
                hint=f"df -h {directory}",
                details={"directory": str(directory)},
            ) from refused
        raise
