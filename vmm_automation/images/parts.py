"""How a tar and its manifest are cut for the store, so that a changed file costs little more than its size.

A store that finds equal content by cutting a stream where its bytes say so cuts anywhere: a changed small
file takes its neighbours along, and each archive has its list of pieces anew. So the tar is given to it in
parts that end where members end: a larger member is a part of its own, smaller ones are together, cut by the
digest of their names, and so at the same places each time. The manifest is cut in the same way.

All parts one after the other are the tar, byte for byte, the manifest, and a tail that has the sizes of both.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vmm_automation.errors import ArtifactInvalid
from vmm_automation.images.splice import members
from vmm_automation.model.image import Manifest

_OWN_PART_BYTES: Final = 4096
_SMALL_MEMBERS: Final = 4
_ENTRIES: Final = 16
_MAGIC: Final = b"vmm-automation parts 1"
_TAIL_BYTES: Final = 64


def pack(tar: Path, manifest: Manifest, *, into: Path) -> None:
    """Write a tar whose files are the parts, in order."""
    with tar.open("rb") as content, tarfile.open(into, "w", format=tarfile.GNU_FORMAT) as outer:
        size, length = tar.stat().st_size, 0
        for name, start, end in _cuts(tar, size):
            content.seek(start)
            outer.addfile(_header(f"tar/{name}", end - start), content)
        for name, text in _texts(manifest):
            outer.addfile(_header(f"manifest/{name}", len(text)), io.BytesIO(text))
            length += len(text)
        tail = b"%s %d %d" % (_MAGIC, size, length)
        outer.addfile(_header("tail", _TAIL_BYTES), io.BytesIO(tail.rjust(_TAIL_BYTES)))


def unpack(joined: Path, *, tar: Path, manifest: Path) -> bool:
    """Make all parts one after the other, a file, the tar and the manifest; False where it is none of ours.

    Raises:
        ArtifactInvalid: its sizes are not those of its tail.
    """
    size = joined.stat().st_size
    with joined.open("r+b") as file:
        file.seek(max(0, size - _TAIL_BYTES))
        words = file.read().split()
        if b" ".join(words[:-2]) != _MAGIC:
            return False
        first, second = int(words[-2]), int(words[-1])
        if first + second + _TAIL_BYTES != size:
            raise ArtifactInvalid(
                f"Stored user image '{joined.name}' lacks a part", hint="vmm image verify --all"
            )
        file.seek(first)
        manifest.write_bytes(file.read(second))
        file.truncate(first)
    joined.rename(tar)
    return True


def _cuts(tar: Path, size: int) -> Iterator[tuple[str, int, int]]:
    """The parts, each with where it begins and ends; what follows the last member is one more."""
    name, start, end = "", 0, 0
    for member in members(tar):
        digest = _digest(member.path)
        own = member.end - member.start >= _OWN_PART_BYTES
        if end > start and (own or digest[0] % _SMALL_MEMBERS == 0):
            yield name, start, end
            start = end
        if start == end:
            name = digest[:4].hex()
        end = member.end
        if own:
            yield name, start, end
            start = end
    if end > start:
        yield name, start, end
    if size > end:
        yield "end", end, size


def _texts(manifest: Manifest) -> Iterator[tuple[str, bytes]]:
    """The manifest as JSON, a line for each entry."""
    document = manifest.to_document()
    entries = document.pop("files")
    name, text = "begin", json.dumps(document, sort_keys=True)[:-1] + ', "files": ['
    between = "\n"
    for entry in entries:
        digest = _digest(entry["path"])
        if digest[0] % _ENTRIES == 0:
            yield name, text.encode()
            name, text = digest[:4].hex(), ""
        text += between + json.dumps(entry, sort_keys=True)
        between = ",\n"
    yield name, f"{text}\n]}}\n".encode()


def _digest(path: str) -> bytes:
    """What parts are cut and named by: no path of a user's is the name of one."""
    return hashlib.sha256(os.fsencode(path)).digest()


def _header(name: str, size: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size, header.mode = size, 0o600
    return header
