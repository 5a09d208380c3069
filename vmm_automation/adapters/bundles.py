"""Bundles: the one file per UA version that is sent to guests.

Layout on disk: ``<directory>/<digest>.tar.gz``, and ``<directory>/<key>.digest``, which tells what was built
from the same definition and artifacts before. ``digest`` is the SHA-256 of the *unpacked* tar stream: times,
owners and order are fixed, so equal inputs give an equal digest on every controller, whatever its zlib. A
bundle appears by a rename, whole or not at all; one that was altered afterwards is built anew.

Layout inside, which is the layout of a version's directory in a guest::

    etc/            the definition's configuration files
    .vmm-unit       the systemd unit (absent for a tool)
    .vmm-deliver, .vmm-install   what the kind does in the guest (``kinds/__init__.py``)
    .vmm-packages   name and version of each package that the version needs, one per line
    app/, packages/ and what else the kind has
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vmm_automation.adapters.bundle_members import PACKAGES_FILE, WANTED_FILE, Member, safe_name
from vmm_automation.adapters.cached_files import no_space, sha256_of
from vmm_automation.adapters.kinds import kind_of
from vmm_automation.adapters.ua_unit import fill_placeholders, render_unit
from vmm_automation.errors import ArtifactInvalid, InvalidName
from vmm_automation.model.names import check_name
from vmm_automation.model.ua import UaDefinition, UaVersion
from vmm_automation.places import make_directory

#: raised when the layout above changes: then everything is delivered anew
LAYOUT = 2
_CHUNK = 1 << 20
#: 1980-01-01: old enough to be nobody's, and no tar calls it implausible
_MTIME = 315532800
UNIT_FILE = ".vmm-unit"
_NOTES = (PACKAGES_FILE, WANTED_FILE)
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Bundle:
    """What is sent; sizes in bytes, ``unit_sha256`` empty for a UA without a service."""

    path: Path
    digest: str
    size: int
    unpacked_size: int
    unit_sha256: str


def build_bundle(
    definition: UaDefinition, version: UaVersion, *, files: Sequence[Path], directory: Path
) -> Bundle:
    """The bundle of one version from its verified ``files`` (``fetch_artifacts``); built only if it is not
    there already.

    Raises:
        ArtifactInvalid: an artifact is damaged, or has a member that may not be delivered.
        DiskFull: no space is left below ``directory``.
        InvalidName: the UA or its version has a name that cannot be a directory's.
    """
    check_name("UA", definition.id)
    check_name("version", version.version)
    if version.version == "current":
        raise InvalidName(
            f"UA '{definition.id}' cannot have a version 'current': that is the link to the active one",
            hint="name the version otherwise",
            details={"ua": definition.id},
        )
    unit = render_unit(definition)
    with no_space(directory):
        make_directory(directory)
        key = directory / f"{_inputs_key(definition, version, files, unit)}.digest"
        found = _built_before(key, directory)
        if found is None:
            digest = _build(definition, version, files=files, directory=directory)
            _write_atomically(key, digest.encode())
            found = (digest, _unpacked(directory / f"{digest}.tar.gz")[1])
        digest, unpacked_size = found
        path = directory / f"{digest}.tar.gz"
        unit_sha256 = hashlib.sha256(unit.encode()).hexdigest() if unit else ""
        return Bundle(path, digest, path.stat().st_size, unpacked_size, unit_sha256)


def notes_of(bundle: Bundle) -> dict[str, str]:
    """What the kind has noted of packages in a bundle: small files, by name."""
    with tarfile.open(bundle.path) as archive:
        found = [member for member in archive if member.name in (PACKAGES_FILE, WANTED_FILE)]
        return {
            member.name: read.read().decode() for member in found if (read := archive.extractfile(member))
        }


def _inputs_key(definition: UaDefinition, version: UaVersion, files: Sequence[Path], unit: str) -> str:
    inputs = {
        "layout": LAYOUT,
        "ua": definition.id,
        "kind": version.kind,
        "packages": version.packages,
        "hooks": dict(kind_of(version.kind).hooks),
        "unit": unit,
        "etc": definition.files,
        "artifacts": [[path.name, sha256_of(path)] for path in files],
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def _built_before(key: Path, directory: Path) -> tuple[str, int] | None:
    if not key.is_file():
        return None
    digest = key.read_text().strip()
    actual, size = _unpacked(directory / f"{digest}.tar.gz")
    return (digest, size) if actual == digest else None


def _unpacked(path: Path) -> tuple[str, int]:
    """SHA-256 and size of the tar stream inside; an empty digest where the file is absent or damaged."""
    hashed = hashlib.sha256()
    size = 0
    try:
        with gzip.open(path) as stream:
            while chunk := stream.read(_CHUNK):
                hashed.update(chunk)
                size += len(chunk)
    except (FileNotFoundError, gzip.BadGzipFile, EOFError):
        return "", 0
    return hashed.hexdigest(), size


def _build(definition: UaDefinition, version: UaVersion, *, files: Sequence[Path], directory: Path) -> str:
    with _private_copies(files, directory=directory) as copies:
        members = _collected(definition, version, copies)
    with tempfile.NamedTemporaryFile(dir=directory, prefix=".bundle-", delete=False) as file:
        scratch = Path(file.name)
        try:
            # No name and no time in the gzip header: they are not content. Packages are compressed already.
            level = 0 if kind_of(version.kind).packed else 6
            with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=level, mtime=0) as stream:
                _write_tar(stream, members)
            file.flush()
            scratch.chmod(0o644)
            digest, _size = _unpacked(scratch)
            scratch.replace(directory / f"{digest}.tar.gz")
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise
    return digest


def _collected(definition: UaDefinition, version: UaVersion, files: Sequence[Path]) -> dict[str, Member]:
    """All members by name; two artifacts must not bring the same name with different content."""
    found: dict[str, Member] = {}
    for member in _members(definition, version, files):
        earlier = found.setdefault(member.name, member)
        if earlier != member:
            raise ArtifactInvalid(
                f"UA '{definition.id}' {version.version} cannot be bundled: "
                f"two of its artifacts have a file '{member.name}', and they differ",
                hint="leave one of them out",
                details={"ua": definition.id, "version": version.version, "member": member.name},
            )
    return found


def _members(definition: UaDefinition, version: UaVersion, files: Sequence[Path]) -> Iterator[Member]:
    kind = kind_of(version.kind)
    yield from kind.members(version, files)
    for hook, text in kind.hooks.items():
        yield Member(f".vmm-{hook}", text.encode())
    for name, content in definition.files.items():
        inside = safe_name(name, source=Path(f"{definition.id}.yml"))
        yield Member(f"etc/{inside}", fill_placeholders(content, ua=definition.id).encode())
    if unit := render_unit(definition):
        yield Member(UNIT_FILE, unit.encode())


@contextmanager
def _private_copies(files: Sequence[Path], *, directory: Path) -> Iterator[list[Path]]:
    """Copies that nobody else changes: what has the digest of its name is what goes into the bundle.

    Raises:
        ArtifactInvalid: one has it no more.
    """
    with tempfile.TemporaryDirectory(dir=directory, prefix=".building-") as scratch:
        copies = []
        for path in files:
            copy = Path(scratch) / path.name
            shutil.copyfile(path, copy)
            expected = path.name.partition("-")[0]
            if _DIGEST.fullmatch(expected) and (actual := sha256_of(copy)) != expected:
                raise ArtifactInvalid(
                    f"Artifact '{path.name}' was changed after it was verified: "
                    f"expected sha256 {expected}, the file has {actual}",
                    hint=f"rm {path}",
                    details={"path": str(path), "expected": expected, "actual": actual},
                )
            copies.append(copy)
        yield copies


def _write_tar(stream: gzip.GzipFile, members: dict[str, Member]) -> None:
    directories = sorted({parent for name in members for parent in _parents(name)})
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in directories:
            if name in members:
                raise ArtifactInvalid(
                    f"Archive cannot be delivered: '{name}' is a file and a directory",
                    details={"member": name},
                )
            entry = _entry(name, mode=0o755)
            entry.type = tarfile.DIRTYPE
            archive.addfile(entry)
        for name, member in sorted(members.items()):
            entry = _entry(name, mode=member.mode)
            if member.target:
                entry.type, entry.linkname = tarfile.SYMTYPE, member.target
                archive.addfile(entry)
            else:
                entry.size = len(member.content)
                archive.addfile(entry, io.BytesIO(member.content))


def _entry(name: str, *, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mode, entry.mtime, entry.uname, entry.gname = mode, _MTIME, "root", "root"
    return entry


def _parents(name: str) -> Iterator[str]:
    parts = name.split("/")
    return ("/".join(parts[:count]) for count in range(1, len(parts)))


def _write_atomically(path: Path, content: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        file.write(content)
    Path(file.name).replace(path)
