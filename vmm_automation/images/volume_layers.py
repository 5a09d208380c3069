"""One layer of a user's volume: its record, and how its content is proven against it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vmm_automation.adapters.qcow2_layers import sound


@dataclass(frozen=True)
class Layer:
    """What is recorded of a layer when it is made; ``depth`` counts the layers down to an empty disk.

    ``inode`` and ``modified_ns`` are the file's when its digest was taken: as long as they and its size hold,
    nobody wrote to it, and reading all of it again would tell no more but for a failing disk.
    """

    name: str
    sha256: str
    size: int
    inode: int
    modified_ns: int
    depth: int = 0
    below: str = ""

    def to_document(self) -> dict[str, Any]:
        """As recorded beside the layer."""
        return asdict(self)


def recorded(file: Path, *, depth: int = 0, below: str = "") -> Layer:
    """Check the form of a layer that nobody writes to any more, and read all of it for its record.

    Its content is on the disk then: else a power cut could leave the record without what it speaks of.

    Raises:
        TaskFailed: its form is damaged.
    """
    sound(file)
    with file.open("rb") as content:
        os.fsync(content.fileno())
    file.chmod(0o400)
    digest, stat = digest_of(file), file.stat()
    name = file.stem.removeprefix(".")
    return Layer(name, digest, stat.st_size, stat.st_ino, stat.st_mtime_ns, depth, below)


def digest_of(file: Path) -> str:
    """The SHA-256 of all of a file."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def is_untouched(layer: Layer, file: Path) -> bool:
    """Whether nobody wrote to a layer's file since its digest was taken; takes no longer for more content."""
    stat = file.stat()
    return (layer.size, layer.inode, layer.modified_ns) == (stat.st_size, stat.st_ino, stat.st_mtime_ns)


def write_whole(path: Path, text: str) -> None:
    """A small file, whole or not at all, on the disk before it has its name."""
    fresh = path.with_name(f".{path.name}.fresh")
    with fresh.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
