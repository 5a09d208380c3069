"""Artifacts that are files: brought into the cache from a path, a file: URL or http(s), by their digest.

A download is kept as ``<directory>/.part-<sha256>`` until it is whole, so that one that was cut off goes on
where it ended; who else wants the same artifact waits for it. Nothing without the right digest gets a name
under which it would be used.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from vmm_automation.adapters.cached_files import cached_file, keep_file, sha256_of
from vmm_automation.adapters.http_download import download
from vmm_automation.adapters.lockfile import exclusive
from vmm_automation.errors import ArtifactInvalid
from vmm_automation.model.ua import Artifact

_REMOTE = ("http://", "https://")


def is_remote(source: str) -> bool:
    """Whether a source is to be downloaded."""
    return source.startswith(_REMOTE)


def fetch_file(
    artifact: Artifact, *, definition_dir: Path, directory: Path, progress: Callable[[str], None]
) -> Path:
    """The artifact in the cache, verified just now; fetched where it is not there.

    Raises:
        ArtifactInvalid: it is absent, cannot be fetched, or is not what its definition says.
    """
    if kept := cached_file(directory, artifact.sha256):
        return kept
    if not is_remote(artifact.source):
        return _copied(artifact, definition_dir=definition_dir, directory=directory, progress=progress)
    with exclusive(directory / f".part-{artifact.sha256}.lock", what=f"artifact '{artifact.source}'"):
        if kept := cached_file(directory, artifact.sha256):
            return kept
        return _downloaded(artifact, directory=directory, progress=progress)


def archive_path(source: str, *, definition_dir: Path) -> Path:
    """The file that a source means which is not remote. Raises ArtifactInvalid for one that is no file."""
    if source.startswith("file:"):
        return Path(unquote(urlsplit(source).path))
    if "://" in source:
        raise ArtifactInvalid(
            f"Artifact '{source}' cannot be fetched: it is neither a path nor a file:, http: or https: URL",
            hint="copy it beside the UA definition and name that file",
            details={"source": source},
        )
    return definition_dir / Path(source).expanduser()


def _copied(
    artifact: Artifact, *, definition_dir: Path, directory: Path, progress: Callable[[str], None]
) -> Path:
    source = archive_path(artifact.source, definition_dir=definition_dir)
    if not source.is_file():
        raise ArtifactInvalid(
            f"Artifact '{artifact.source}' is absent: there is no file '{source}'",
            hint=f"ls -l {source.parent}",
            details={"source": artifact.source, "expected": artifact.sha256, "actual": None},
        )
    progress(f"copy {source.name}")
    with tempfile.TemporaryDirectory(dir=directory, prefix=".copy-") as scratch:
        copy = Path(scratch) / source.name
        shutil.copyfile(source, copy)
        digest = sha256_of(copy)
        if digest != artifact.sha256:
            raise _another(artifact, digest, what="file", hint=f"sha256sum {source}")
        return keep_file(copy, directory=directory, sha256=digest)


def _downloaded(artifact: Artifact, *, directory: Path, progress: Callable[[str], None]) -> Path:
    part = directory / f".part-{artifact.sha256}"
    name = Path(unquote(urlsplit(artifact.source).path)).name or "artifact"
    went_on = download(artifact.source, part, progress=progress)
    digest = sha256_of(part)
    if digest != artifact.sha256 and went_on:  # the beginning may have been of another file
        part.unlink()
        download(artifact.source, part, progress=progress)
        digest = sha256_of(part)
    if digest != artifact.sha256:
        part.unlink()
        raise _another(artifact, digest, what="download", hint=f"curl -sL {artifact.source} | sha256sum")
    with tempfile.TemporaryDirectory(dir=directory, prefix=".copy-") as scratch:
        return keep_file(part.rename(Path(scratch) / name), directory=directory, sha256=digest)


def _another(artifact: Artifact, digest: str, *, what: str, hint: str) -> ArtifactInvalid:
    return ArtifactInvalid(
        f"Artifact '{artifact.source}' is not what its definition says: "
        f"expected sha256 {artifact.sha256}, the {what} has {digest}",
        hint=hint,
        details={"source": artifact.source, "expected": artifact.sha256, "actual": digest},
    )
