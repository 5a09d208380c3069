"""A file system of a test's own that is full soon: a real mount, which needs root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_MIB = 1 << 20


@contextmanager
def small_disk(directory: Path, *, mib: int) -> Iterator[Path]:
    """Mount it on a new directory; where that cannot be done the test is skipped, which CI does not allow."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    directory.mkdir()
    options = f"size={mib}m,mode=0755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], check=True)


@contextmanager
def filled(directory: Path) -> Iterator[None]:
    """Not one more byte fits on the file system while the block runs."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (_MIB, 4096, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue
    yield
    filler.unlink()


@contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """Nothing on the file system can be changed while the block runs."""
    _remount(directory, "ro")
    try:
        yield
    finally:
        _remount(directory, "rw")


def _remount(directory: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", str(directory)], check=True)
