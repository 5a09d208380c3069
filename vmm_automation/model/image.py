"""The User Image File: numbered generations of one user's data of one UA, with a manifest of digests."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

MANIFEST_SCHEMA = 1


@dataclass(frozen=True)
class FileEntry:
    """One path of an image, relative to the session account's home.

    ``kind`` is ``file``, ``directory`` or ``symlink``; ``sha256`` is of a file's content and empty for
    the others; ``layer`` is ``settings`` or ``exceptions``; ``size`` is in bytes, ``mtime_ns`` in
    nanoseconds since the epoch.
    """

    path: str
    kind: str
    layer: str
    size: int
    mode: int
    mtime_ns: int
    sha256: str = ""
    target: str = ""


@dataclass(frozen=True)
class Manifest:
    """What a generation holds and where it came from."""

    user: str
    ua: str
    ua_version: str
    data_version: int
    generation: int
    parent: int
    session: str
    fence: int
    captured_at: str
    consistency: str
    files: tuple[FileEntry, ...]

    @property
    def root_digest(self) -> str:
        """SHA-256 over the canonical JSON of all entries, times left out: equal content, equal digest."""
        entries = [{**asdict(entry), "mtime_ns": 0} for entry in self.files]
        return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of file content."""
        return sum(entry.size for entry in self.files)

    def to_document(self) -> dict[str, Any]:
        """The manifest as stored and as shown by ``vmm image show``."""
        return {
            "schema": MANIFEST_SCHEMA,
            "user": self.user,
            "ua": self.ua,
            "ua_version": self.ua_version,
            "data_version": self.data_version,
            "generation": self.generation,
            "parent": self.parent,
            "session": self.session,
            "fence": self.fence,
            "captured_at": self.captured_at,
            "consistency": self.consistency,
            "size": self.size,
            "root_digest": self.root_digest,
            "files": [asdict(entry) for entry in self.files],
        }

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Manifest:
        """Read a stored manifest back.

        Raises:
            KeyError, TypeError, ValueError: it is not a manifest of this schema.
        """
        if document["schema"] != MANIFEST_SCHEMA:
            raise ValueError(f"manifest schema {document['schema']!r} is not {MANIFEST_SCHEMA}")
        derived = {"schema", "size", "root_digest", "files"}
        return cls(
            **{key: value for key, value in document.items() if key not in derived},
            files=tuple(FileEntry(**entry) for entry in document["files"]),
        )


@dataclass(frozen=True)
class Generation:
    """A manifest's summary, where its content is stored, and what was said of it since.

    ``state`` is ``stored``, ``missing`` (its archive is not in the store) or ``orphaned`` (a save that was
    refused and kept aside; ``number`` is the one it would have had). ``reason``: why it is, where it is no
    plain capture, or why it was kept aside.
    """

    user: str
    ua: str
    number: int
    archive: str
    root_digest: str
    size: int
    file_count: int
    ua_version: str
    data_version: int
    session: str
    fence: int
    captured_at: str
    pinned: bool = False
    state: str = "stored"
    reason: str = ""

    def to_document(self) -> dict[str, Any]:
        """As shown by ``vmm image list`` and in result documents."""
        return asdict(self)
