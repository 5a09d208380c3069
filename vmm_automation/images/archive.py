r"""Reads the tar of a user image as hostile input: a guest made it, and a user may have owned that guest.

What an archive may hold: regular files (sparse ones and hard links to earlier files included),
directories, and symbolic links that cannot lead out of the home. Everything else refuses the archive as
a whole; nothing is repaired silently, so that what is stored is exactly what was checked.

Set-user-ID, set-group-ID and sticky bits are not part of an image: entries carry the nine permission
bits, and the guest unpacks with only these. Owners are not part of it either: whatever numbers the tar
has, deploying gives every path to the session account.

Names are bytes on Linux. Those that are not UTF-8 are kept by Python's ``surrogateescape``: each bad
byte becomes one of U+DC80..U+DCFF, survives JSON as ``\udcXX``, and is the same byte again in a guest.
"""

from __future__ import annotations

import hashlib
import io
import posixpath
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

from vmm_automation.errors import ArtifactInvalid
from vmm_automation.images.layers import ancestors
from vmm_automation.model.image import FileEntry

FILE: Final = "file"
DIRECTORY: Final = "directory"
SYMLINK: Final = "symlink"

_READ_BYTES: Final = 1 << 20
_PATH_BYTES: Final = 4096  # PATH_MAX of Linux
_BLOCK_BYTES: Final = 512
#: of one member: its names, attributes and, of a sparse file, where its holes are
_HEADER_BYTES: Final = 4 << 20
_OVERHEAD_BYTES: Final = 8192  # of one member, on average, beside its content
_PERMISSIONS: Final = 0o777
_NS_PER_S: Final = 1_000_000_000
_CONTENT_TYPES: Final = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.GNUTYPE_SPARSE)
_TYPE_NAMES: Final = {
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a named pipe",
}
#: what tarfile lets through when headers are nonsense, besides its own TarError
_MALFORMED: Final = (
    tarfile.TarError,
    ArithmeticError,
    EOFError,
    LookupError,
    RecursionError,
    ValueError,
)


@dataclass(frozen=True)
class ArchivePolicy:
    """Limits of one archive: ``max_bytes`` is of file content with holes counted in full.

    ``home`` is the session account's home in the guest: absolute link targets must lie below it.
    """

    home: str = "/home/session"
    max_members: int = 100_000
    max_bytes: int = 4 << 30

    @property
    def tar_bytes(self) -> int:
        """How large a whole tar may be."""
        return self.max_bytes + self.max_members * _OVERHEAD_BYTES + tarfile.RECORDSIZE


class _BoundedFile(io.BufferedReader):
    """A file whose single reads are bounded, so that a forged header size cannot fill the memory.

    ``header_left`` bounds what is read for the headers of one member together, None for content.
    """

    header_left: int | None = _HEADER_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file, up to 1 MiB at once."""
        if size is None or not 0 <= size <= _READ_BYTES:
            raise tarfile.ReadError(f"a header claims {size} bytes")
        if self.header_left is not None:
            self.header_left -= size
            if self.header_left < 0:
                raise tarfile.ReadError(f"the headers of a member have more than {_HEADER_BYTES:,} bytes")
        return super().read(size)


def read_archive(
    archive: Path, *, policy: ArchivePolicy, layer: Callable[[str], str]
) -> tuple[FileEntry, ...]:
    """Check a tar against the policy and return its entries sorted by path, in one pass over it.

    ``layer`` tells the layer of a path, or empty for a path that must not be in the archive.

    Raises:
        ArtifactInvalid: the file is not a whole tar, or a member breaks the policy; ``details['path']``.
    """
    try:
        with _BoundedFile(archive.open("rb", buffering=0)) as file:
            reader = _Reader(file, policy=policy, layer=layer)
            return reader.entries()
    except FileNotFoundError as missing:
        raise ArtifactInvalid(f"User image archive '{archive}' does not exist") from missing
    except _MALFORMED as malformed:
        raise ArtifactInvalid(
            f"User image archive '{archive.name}' is damaged or cut short: {malformed}",
            hint="capture the user image again",
        ) from malformed


class _Reader:
    """One pass over one tar."""

    def __init__(self, file: _BoundedFile, *, policy: ArchivePolicy, layer: Callable[[str], str]) -> None:
        self._file = file
        self._policy = policy
        self._layer = layer
        self._found: dict[str, FileEntry] = {}
        self._bytes = 0

    def entries(self) -> tuple[FileEntry, ...]:
        with tarfile.TarFile.open(
            fileobj=self._file, mode="r:", encoding="utf-8", errors="surrogateescape"
        ) as tar:
            for member in self._members(tar):
                entry = self._entry(tar, member)
                self._found[entry.path] = entry
            self._check_end(tar.offset)
        self._check_parents()
        return tuple(self._found[path] for path in sorted(self._found))

    def _members(self, tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
        count = 0
        while (member := self._next(tar)) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # kept by tarfile, would fill the memory
            count += 1
            if count > self._policy.max_members:
                raise _refused(member.name, f"it is one more than the {self._policy.max_members:,} allowed")
            yield member

    def _next(self, tar: tarfile.TarFile) -> tarfile.TarInfo | None:
        self._file.header_left = _HEADER_BYTES
        member = tar.next()
        self._file.header_left = None
        if tar.pax_headers:
            raise tarfile.ReadError("it has headers for all members")
        return member

    def _entry(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> FileEntry:
        path = member.name
        self._check_path(path)
        kind, size, digest, target = DIRECTORY, 0, "", ""
        if member.type in _CONTENT_TYPES:
            kind, size = FILE, member.size
            self._count(path, size)
            digest = self._digest(tar, member)
        elif member.type == tarfile.LNKTYPE:
            linked = self._hard_linked(path, member.linkname)
            kind, size, digest = FILE, linked.size, linked.sha256
            self._count(path, size)
        elif member.type == tarfile.SYMTYPE:
            kind, target = SYMLINK, member.linkname
            self._check_target(path, target)
        elif member.type != tarfile.DIRTYPE:
            found = _TYPE_NAMES.get(member.type, f"of type {member.type!r}")
            raise _refused(path, f"it is {found}; only files, directories and links are kept")
        return FileEntry(
            path=path,
            kind=kind,
            layer=self._layer(path),
            size=size,
            mode=_PERMISSIONS if kind == SYMLINK else member.mode & _PERMISSIONS,
            mtime_ns=_mtime_ns(member),
            sha256=digest,
            target=target,
        )

    def _check_path(self, path: str) -> None:
        if path.startswith("/"):
            raise _refused(path, "it is absolute")
        if any(part in ("", ".", "..") for part in path.split("/")) or "\0" in path:
            raise _refused(path, "it has a part that is empty, '.' or '..', or a zero byte")
        if len(path.encode(errors="surrogateescape")) > _PATH_BYTES:
            raise _refused(path, f"it is longer than {_PATH_BYTES} bytes")
        if path in self._found:
            raise _refused(path, "it is there twice")
        if not self._layer(path):
            raise _refused(path, "the UA definition declares no settings or exceptions there")

    def _check_target(self, path: str, target: str) -> None:
        """A link may climb only at its start, so that what other links point to cannot change its end."""
        if not target or "\0" in target:
            raise _refused(path, "its link target is empty or has a zero byte")
        parts = target.split("/")
        if target.startswith("/"):
            inside = posixpath.normpath(target) == self._policy.home or target.startswith(
                f"{self._policy.home}/"
            )
            escapes = ".." in parts or not inside
        else:
            steps = [part for part in parts if part not in ("", ".")]
            climbed = next((at for at, part in enumerate(steps) if part != ".."), len(steps))
            escapes = ".." in steps[climbed:] or climbed > path.count("/")
        if escapes:
            raise _refused(path, f"its link target {target!r} leads out of the home or may do so")

    def _hard_linked(self, path: str, target: str) -> FileEntry:
        linked = self._found.get(target)
        if linked is None or linked.kind != FILE:
            raise _refused(path, f"it is a hard link to {target!r}, which is no earlier file of the archive")
        return linked

    def _count(self, path: str, size: int) -> None:
        self._bytes += size
        if size < 0 or self._bytes > self._policy.max_bytes:
            limit = f"{self._policy.max_bytes:,} bytes"
            raise _refused(path, f"with its {size:,} bytes the archive exceeds {limit}")

    def _digest(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
        content = tar.extractfile(member)
        digest = hashlib.sha256()
        read = 0
        while content is not None and (piece := content.read(_READ_BYTES)):
            digest.update(piece)
            read += len(piece)
        if read != member.size:
            raise tarfile.ReadError(f"'{shown(member.name)}' ends after {read} of {member.size} bytes")
        return digest.hexdigest()

    def _check_parents(self) -> None:
        for path in self._found:
            for above in ancestors(path):
                if above in self._found and self._found[above].kind != DIRECTORY:
                    raise _refused(path, f"{shown(above)!r} above it is no directory")

    def _check_end(self, offset: int) -> None:
        """Two zero blocks must end the tar and only zeros may follow: tarfile itself does not insist."""
        self._file.seek(offset)
        rest = 0
        while piece := self._file.read(_READ_BYTES):
            if piece.count(0) != len(piece):
                raise tarfile.ReadError("there is something else than a member where one should be")
            rest += len(piece)
        if rest < 2 * _BLOCK_BYTES:
            raise tarfile.ReadError("the end mark is missing")


def shown(path: str) -> str:
    """A path as it may be printed: bytes that are not UTF-8 and control characters are escaped."""
    text = path.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def _mtime_ns(member: tarfile.TarInfo) -> int:
    exact = member.pax_headers.get("mtime")
    return int(Decimal(exact if exact is not None else str(member.mtime)) * _NS_PER_S)


def _refused(path: str, why: str) -> ArtifactInvalid:
    return ArtifactInvalid(
        f"User image refused: path '{shown(path)}': {why}",
        hint="exclude the path under user_data.exclude in the UA definition, or remove it in the guest",
        details={"path": shown(path)},
    )
