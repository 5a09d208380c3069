"""Disks of qcow2 in layers, by ``qemu-img``; each format is named, so no content is taken for a header."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Final

from vmm_automation.adapters.disks import create_overlay
from vmm_automation.adapters.process import run
from vmm_automation.errors import ArtifactInvalid

#: of docs/interop/qcow2.txt: magic, version, where the name of the file below is, and its length
_HEADER: Final = struct.Struct(">4sIQI")
_MAGIC: Final = b"QFI\xfb"
#: written when a guest uses the disk; without these a first mount writes megabytes
_MKFS: Final = ("-E", "lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0", "-m", "0")


def overlay(path: Path, *, over: Path) -> None:
    """Make an empty overlay; ``over`` may be relative to where ``path`` lies, and is kept so."""
    path.unlink(missing_ok=True)
    create_overlay(path, base=over)


def blank_disk(path: Path, *, size_mib: int, label: str) -> None:
    """Make a disk with an empty ext4 file system; takes as much room as that, not as ``size_mib``."""
    raw = path.with_name(f".{path.name}.raw")
    try:
        with raw.open("wb") as file:
            file.truncate(size_mib << 20)
        run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", label, *_MKFS, raw])
        fresh = path.with_name(f".{path.name}.fresh")
        run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, fresh])
        fresh.replace(path)
    finally:
        raw.unlink(missing_ok=True)


def flattened(source: Path, target: Path) -> Path:
    """Write what a chain of layers holds as one that needs no other."""
    fresh = target.with_name(f".{target.name}.fresh")
    fresh.touch(mode=0o600)  # and it stays so: from the start on nobody else reads it
    run(["qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", source, fresh])
    fresh.replace(target)
    return target


def backing_of(path: Path) -> Path | None:
    """The file that a layer lies on, None if it needs none; may be asked while a guest uses it.

    Raises:
        ArtifactInvalid: it is no qcow2.
    """
    with path.open("rb") as file:
        magic, _version, offset, length = _HEADER.unpack(file.read(_HEADER.size).ljust(_HEADER.size))
        if magic != _MAGIC:
            raise ArtifactInvalid(f"Disk '{path}' is no qcow2", details={"path": str(path)})
        file.seek(offset)
        name = os.fsdecode(file.read(length))
    return (path.parent / name).resolve() if offset else None


def sound(path: Path) -> None:
    """Check the structure of one layer.

    Raises:
        TaskFailed: it is damaged.
    """
    run(["qemu-img", "check", "-q", "-f", "qcow2", path])
