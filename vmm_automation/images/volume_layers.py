"""One layer of a user's volume: its record, and how its content is proven against it."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


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


def digested(file: Path, *, depth: int = 0, below: str = "") -> Layer:
    """The record of a file as it is now; reads all of it."""
    with file.open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    stat = file.stat()
    return Layer(file.stem, sha256, stat.st_size, stat.st_ino, stat.st_mtime_ns, depth, below)


def is_untouched(layer: Layer, file: Path) -> bool:
    """Whether nobody wrote to a layer's file since its digest was taken; takes no longer for more content."""
    stat = file.stat()
    return (layer.size, layer.inode, layer.modified_ns) == (stat.st_size, stat.st_ino, stat.st_mtime_ns)
