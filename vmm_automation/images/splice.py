"""A whole tar made of an earlier one and of what has changed since, member by member.

What is taken from either is copied as it is, headers included, so that names, times, sparse files and
extended attributes need not be understood here; nothing of the outcome counts before it was read and proven
as any archive is.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tarfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final

from vmm_automation.errors import ArtifactInvalid
from vmm_automation.images.archive import DIRECTORY, FILE
from vmm_automation.images.borg_failures import disk_full
from vmm_automation.model.image import FileEntry

_COPIED_BYTES: Final = 1 << 20
_NS_PER_S: Final = 1_000_000_000
_KINDS: Final = {FILE: "8", DIRECTORY: "4"}  # as the first digit of st_mode in hexadecimal
_SYMLINK: Final = "a"


@dataclass(frozen=True)
class Member:
    """Where the bytes of a member lie; ``link`` is the earlier path that a hard link names."""

    path: str
    source: Path
    start: int
    end: int
    link: str = ""


def members(archive: Path) -> Iterator[Member]:
    """The members of a tar that was proven before, in their order.

    Raises:
        ArtifactInvalid: it is damaged.
    """
    try:
        with tarfile.open(archive, "r:", encoding="utf-8", errors="surrogateescape") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # kept by tarfile, would fill the memory
                link = member.linkname if member.type == tarfile.LNKTYPE else ""
                yield Member(member.name, archive, member.offset, tar.offset, link)
    except tarfile.TarError as damaged:
        raise ArtifactInvalid(f"User image archive '{archive.name}' is damaged: {damaged}") from damaged


def unchanged(
    base: Sequence[FileEntry], *, removed: Collection[str], changed: Collection[str]
) -> tuple[FileEntry, ...]:
    """The entries of an earlier archive that are still as they were."""
    return tuple(entry for entry in base if entry.path not in removed and entry.path not in changed)


def stamps_digest(entries: Sequence[FileEntry]) -> str:
    """The digest that ``tell_changes`` of ``user_image_stamps.sh`` prints for members as these entries."""
    lines = sorted(_stamp(entry) for entry in entries)
    return hashlib.sha256(b"".join(line + b"\n" for line in lines)).hexdigest()


def cut(archive: Path, spans: Sequence[tuple[int, int]]) -> None:
    """Take members out of a tar; ``spans`` are their first bytes and the bytes behind them, in order.

    Raises:
        DiskFull: no space is left for what remains.
    """
    remains = archive.with_suffix(".cut")
    try:
        with archive.open("rb") as source, remains.open("wb") as target:
            edges = [0, *(edge for span in spans for edge in span), archive.stat().st_size]
            for start, end in zip(edges[::2], edges[1::2], strict=True):
                _copy(source, Member("", archive, start, end), target)
    except OSError as full:
        if full.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise disk_full(archive.parent) from full
    remains.replace(archive)


def splice(base: Path, changes: Path, *, kept: Collection[str], into: Path) -> None:
    """Write a tar with the members ``kept`` of ``base`` and all members of ``changes``, in one order.

    Raises:
        ArtifactInvalid: ``base`` has no such member, or a hard link leads to none.
        DiskFull: no space is left for it.
    """
    try:
        _splice(base, changes, kept=kept, into=into)
    except OSError as full:
        if full.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise disk_full(into.parent) from full


def _splice(base: Path, changes: Path, *, kept: Collection[str], into: Path) -> None:
    wanted = {member.path: member for member in members(base) if member.path in kept}
    if len(wanted) != len(kept):
        raise ArtifactInvalid(f"User image archive '{base.name}' lacks a path of its manifest")
    wanted |= {member.path: member for member in members(changes)}
    with into.open("xb") as target, base.open("rb") as old, changes.open("rb") as new:
        files = {base: old, changes: new}
        written: set[str] = set()
        for path in sorted(wanted, key=_parts):
            for each in (wanted[path].link, path):  # what a hard link names must come before it
                if each and each not in written:
                    written.add(each)
                    if each not in wanted:
                        raise ArtifactInvalid(f"A hard link of user image '{base.name}' leads to nothing")
                    _copy(files[wanted[each].source], wanted[each], target)
        target.write(b"\0" * (-target.tell() % tarfile.RECORDSIZE or tarfile.RECORDSIZE))


def relayered(entries: Sequence[FileEntry], layers: dict[str, str]) -> tuple[FileEntry, ...]:
    """The same entries in the layers that their paths have now."""
    return tuple(replace(entry, layer=layers[entry.path]) for entry in entries)


def _copy(source: BinaryIO, member: Member, target: BinaryIO) -> None:
    source.seek(member.start)
    left = member.end - member.start
    while left:
        piece = source.read(min(left, _COPIED_BYTES))
        if not piece:
            raise ArtifactInvalid("A user image archive ends within a member")
        target.write(piece)
        left -= len(piece)


def _parts(path: str) -> list[bytes]:
    """The order of GNU tar: a directory before what is in it, names in one directory by their bytes."""
    return os.fsencode(path).split(b"/")


def _stamp(entry: FileEntry) -> bytes:
    kind = _KINDS.get(entry.kind, _SYMLINK)
    size = len(os.fsencode(entry.target)) if kind == _SYMLINK else entry.size
    seconds, rest = divmod(entry.mtime_ns, _NS_PER_S)
    name = os.fsencode(entry.path) + (b"/" if entry.kind == DIRECTORY else b"")
    return f"{kind} {size} {seconds}.{rest:09d} ".encode() + name
