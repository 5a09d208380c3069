"""What goes into a bundle, read from wheels, archives and packages: every name checked, nothing run, nothing
written.

A hostile or broken archive must not reach outside its directory in the guest, where root unpacks it: absolute
names, ``..``, links that point outside and special files are refused, owners and set-id bits are dropped.
What unpacks to more than :data:`MOST_BYTES` or :data:`MOST_MEMBERS` is refused before it fills the memory.
"""

from __future__ import annotations

import lzma
import posixpath
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vmm_automation.errors import ArtifactInvalid

#: bytes of content, and members, that one artifact may unpack to
MOST_BYTES = 1 << 30
MOST_MEMBERS = 100_000
#: in a bundle: name and version of each package that it needs, one per line
PACKAGES_FILE = ".vmm-packages"
#: in a bundle: what the guest's own package sources are asked for, a word each
WANTED_FILE = ".vmm-wanted"
_EXECUTABLE = 0o111
_TYPE, _REGULAR, _LINK = 0o170000, 0o100000, 0o120000
_PLAIN_MODE = 0o644
_PROGRAM_MODE = 0o755


#: what reading a damaged or encrypted archive raises; nothing is written here
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
    RuntimeError,
)


@dataclass(frozen=True)
class Member:
    """One file (``content``) or symbolic link (``target``) of a bundle; directories follow from the names."""

    name: str
    content: bytes = b""
    target: str = ""
    mode: int = _PLAIN_MODE


def wheel_members(wheel: Path, *, below: str) -> Iterator[Member]:
    """The importable files of a pure-Python wheel, as an installation without scripts and byte-code lays them
    out.

    Raises:
        ArtifactInvalid: it is no wheel, not pure Python, or has a member that may not be.
    """
    try:
        measure = _Measure(wheel)
        with zipfile.ZipFile(wheel) as archive:
            for entry in archive.infolist():
                measure.take(entry.filename, entry.file_size)
                if entry.is_dir():
                    continue
                inside = _wheel_place(entry.filename, wheel)
                if inside:
                    name = safe_name(inside, source=wheel)
                    yield Member(f"{below}/{name}", archive.read(entry))
    except _DAMAGE as damaged:
        raise _damaged(wheel, damaged) from damaged


def _wheel_place(name: str, wheel: Path) -> str:
    """Where a member of a wheel belongs, or nothing: entry-point scripts are not delivered."""
    if name.endswith((".so", ".pyd", ".dylib")):
        raise ArtifactInvalid(
            f"Wheel '{wheel.name}' is not pure Python: it has '{name}'",
            hint="deliver it with kind: deb",
            details={"path": str(wheel), "member": name},
        )
    top, _, rest = name.partition("/")
    if not top.endswith(".data"):
        return name
    scheme, _, inside = rest.partition("/")
    if scheme in ("purelib", "platlib"):
        return inside
    if scheme == "scripts":
        return ""
    raise ArtifactInvalid(
        f"Wheel '{wheel.name}' cannot be delivered: it installs '{name}' outside the Python path",
        hint="deliver it with kind: archive",
        details={"path": str(wheel), "member": name},
    )


def archive_members(archive: Path, *, below: str) -> Iterator[Member]:
    """The files and links of a tar archive (plain, gzip, bzip2, xz) or of a zip file.

    Raises:
        ArtifactInvalid: it is no such archive, is damaged, or has a member that may not be.
    """
    try:
        if zipfile.is_zipfile(archive):
            yield from _zip_members(archive, below=below)
        else:
            yield from _tar_members(archive, below=below)
    except _DAMAGE as damaged:
        raise _damaged(archive, damaged) from damaged


def _zip_members(archive: Path, *, below: str) -> Iterator[Member]:
    measure = _Measure(archive)
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            measure.take(entry.filename, entry.file_size)
            if entry.is_dir():
                continue
            name = safe_name(entry.filename, source=archive)
            mode = entry.external_attr >> 16
            if mode & _TYPE not in (0, _REGULAR, _LINK):
                raise _refused(archive, entry.filename, "it is neither a file, a directory nor a link")
            content = opened.read(entry)
            if mode & _TYPE == _LINK:
                target = content.decode(errors="surrogateescape")
                _check_link(name, target, source=archive)
                yield Member(f"{below}/{name}", target=target)
            else:
                yield Member(f"{below}/{name}", content, mode=_safe_mode(mode))


def _tar_members(archive: Path, *, below: str) -> Iterator[Member]:
    measure = _Measure(archive)
    with tarfile.open(archive) as opened:
        for entry in opened:
            measure.take(entry.name, entry.size)
            if entry.isdir():
                if posixpath.normpath(entry.name) != ".":
                    safe_name(entry.name, source=archive)
                continue
            name = safe_name(entry.name, source=archive)
            if entry.issym():
                _check_link(name, entry.linkname, source=archive)
                yield Member(f"{below}/{name}", target=entry.linkname)
                continue
            if entry.islnk():
                safe_name(entry.linkname, source=archive)
            elif not entry.isfile():
                raise _refused(archive, entry.name, "it is neither a file, a directory nor a link")
            # A hard link's content is read through its first name: the bundle holds a copy.
            content = _read(opened, entry, archive)
            if entry.islnk():
                measure.take(entry.name, len(content))
            yield Member(f"{below}/{name}", content, mode=_safe_mode(entry.mode))


def _read(opened: tarfile.TarFile, entry: tarfile.TarInfo, archive: Path) -> bytes:
    try:
        file = opened.extractfile(entry)
    except KeyError as missing:
        raise _refused(
            archive, entry.name, f"it links to '{entry.linkname}', which is not there"
        ) from missing
    if file is None:
        raise _refused(archive, entry.name, "it links to something that is no file")
    return file.read()


def safe_name(name: str, *, source: Path) -> str:
    """``name`` in its plain form, if it stays below the directory it is unpacked in.

    Raises:
        ArtifactInvalid: it is absolute, has a ``..`` part or a character that no file name should have.
    """
    if name.startswith("/"):
        raise _refused(source, name, "its name is absolute")
    if ".." in name.split("/"):
        raise _refused(source, name, "its name has a '..' part")
    plain = posixpath.normpath(name)
    if plain == "." or not plain.isprintable() or "\\" in plain:
        raise _refused(source, name, "that is not the name of a file")
    return plain


class _Measure:
    """What an archive has unpacked to so far, by what its members say of themselves before they are read."""

    def __init__(self, source: Path) -> None:
        self._source = source
        self._bytes = self._members = 0

    def take(self, name: str, size: int) -> None:
        """One member more.

        Raises:
            ArtifactInvalid: that is more than an artifact may unpack to.
        """
        self._bytes += size
        self._members += 1
        if self._bytes > MOST_BYTES:
            raise _refused(
                self._source, name, f"with it the archive unpacks to more than {MOST_BYTES >> 20} MiB"
            )
        if self._members > MOST_MEMBERS:
            raise _refused(self._source, name, f"the archive has more than {MOST_MEMBERS} members")


def _check_link(name: str, target: str, *, source: Path) -> None:
    end = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
    named = target.split("/")
    down = next((number for number, part in enumerate(named) if part not in ("", ".", "..")), len(named))
    if ".." in named[down:]:  # behind a link to elsewhere, '..' leads where the names do not tell
        raise _refused(source, name, f"it is a symbolic link to '{target}', which goes down and up again")
    if target.startswith("/") or not target or end == ".." or end.startswith("../"):
        raise _refused(source, name, f"it is a symbolic link to '{target}', outside the archive")


def _safe_mode(mode: int) -> int:
    return _PROGRAM_MODE if mode & _EXECUTABLE else _PLAIN_MODE


def _refused(source: Path, name: str, why: str) -> ArtifactInvalid:
    return ArtifactInvalid(
        f"Archive '{source.name}' cannot be delivered: member '{ascii(name)[1:-1]}': {why}",
        hint=f"tar -tvf {source}",
        details={"path": str(source), "member": name},
    )


def _damaged(source: Path, damage: Exception) -> ArtifactInvalid:
    return ArtifactInvalid(
        f"Archive '{source.name}' cannot be read: {damage}",
        hint=f"file {source}",
        details={"path": str(source)},
    )
