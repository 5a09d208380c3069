"""The files that a UA version is delivered from: fetched once, then used from the cache and verified on every
use.

Layout on disk: ``<directory>/<sha256>-<file name>``, one file per artifact; what Debian packages a list of
names meant is in a lock beside them (``apt_packages.py``). A file appears under its final name only when it
is whole and has the digest of its name, by a rename; so several processes may fetch the same artifact at
once, and the last one wins with equal bytes.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from vmm_automation.adapters import process
from vmm_automation.adapters.apt_packages import resolve_packages
from vmm_automation.adapters.cached_files import cached_file, keep_file, no_space, sha256_of
from vmm_automation.errors import ArtifactInvalid, ToolMissing
from vmm_automation.model.ua import Artifact, UaVersion

#: the Python of the guests: Debian 12's
GUEST_PYTHON = "3.11"
_PIP_TIMEOUT_S = 900
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PIP_GOT = re.compile(r"Got\s+([0-9a-f]{64})")

Progress = Callable[[str], None]


def silent(_line: str) -> None:
    """A progress receiver that tells nobody."""


def fetch_artifacts(
    version: UaVersion,
    *,
    definition_dir: Path,
    directory: Path,
    progress: Progress = silent,
    package_status: Path | None = None,
) -> tuple[Path, ...]:
    """The files of ``version``, in the order of its definition (Debian packages: by name), each verified just
    now.

    ``definition_dir`` is where relative sources of kind *archive* start; ``package_status`` is a copy of the
    base image's ``/var/lib/dpkg/status``, which kind *deb* needs (``operations.ua_base_packages``
    brings it).

    Raises:
        ArtifactInvalid: an artifact is absent, was altered, or is not what its definition says.
        ToolMissing: pip or apt-get is not installed on the controller.
        DiskFull: no space is left below ``directory``.
    """
    with no_space(directory):
        directory.mkdir(parents=True, exist_ok=True)
        if version.kind == "deb":
            if package_status is None:
                raise ValueError("kind 'deb' needs package_status")
            return resolve_packages(
                version.packages, status=package_status, directory=directory, progress=progress
            )
        for artifact in version.artifacts:
            if not _DIGEST.fullmatch(artifact.sha256):
                raise ArtifactInvalid(
                    f"Artifact '{artifact.source}' has no valid digest: "
                    f"'{artifact.sha256}' is not 64 lower-case hexadecimal digits",
                    hint="sha256sum FILE",
                    details={"source": artifact.source},
                )
        missing = [a for a in version.artifacts if cached_file(directory, a.sha256) is None]
        if missing and version.kind == "pip":
            _fetch_wheels(missing, directory=directory, progress=progress)
        elif missing:
            for artifact in missing:
                _copy_archive(artifact, definition_dir=definition_dir, directory=directory, progress=progress)
        return tuple(_present(artifact, directory=directory) for artifact in version.artifacts)


def _present(artifact: Artifact, *, directory: Path) -> Path:
    path = cached_file(directory, artifact.sha256)
    if path is None:
        raise ArtifactInvalid(
            f"Artifact '{artifact.source}' is absent: nothing with its digest {artifact.sha256} was found",
            hint=f"ls {directory}",
            details={"source": artifact.source, "expected": artifact.sha256, "actual": None},
        )
    return path


def _fetch_wheels(missing: Sequence[Artifact], *, directory: Path, progress: Progress) -> None:
    """One pip run for all: exactly the pinned wheels, from where the controller's pip is set up to look."""
    progress(f"fetch {len(missing)} wheels with pip: {', '.join(a.source for a in missing)}")
    with tempfile.TemporaryDirectory(dir=directory, prefix=".pip-") as scratch:
        pinned = Path(scratch) / "requirements.txt"
        pinned.write_text("".join(f"{a.source} --hash=sha256:{a.sha256}\n" for a in missing))
        wheels = Path(scratch) / "wheels"
        options = ["--no-deps", "--require-hashes", "--only-binary", ":all:"]
        options += ["--python-version", GUEST_PYTHON, "--platform", "any"]
        options += ["--no-input", "--disable-pip-version-check", "--dest", str(wheels)]
        done = process.run(
            [sys.executable, "-m", "pip", "download", *options, "--requirement", pinned],
            timeout=_PIP_TIMEOUT_S,
            check=False,
        )
        if done.status != 0:
            raise _pip_failure(done, missing)
        wanted = {a.sha256 for a in missing}
        for wheel in sorted(wheels.iterdir()):
            digest = sha256_of(wheel)
            if digest in wanted:
                keep_file(wheel, directory=directory, sha256=digest)


def _pip_failure(done: process.Completed, missing: Sequence[Artifact]) -> ArtifactInvalid | ToolMissing:
    said = (done.stdout + done.stderr).decode(errors="replace")
    if "No module named pip" in said:
        return ToolMissing(
            f"Program 'pip' is not installed for '{sys.executable}' on the controller",
            hint=f"{sys.executable} -m ensurepip",
            details={"program": "pip"},
        )
    errors = [line for line in said.splitlines() if line.lower().startswith("error")]
    altered = _PIP_GOT.search(said)
    expected = [a for a in missing if f"{a.source} " in said or a.sha256 in said] or list(missing)
    reason = errors[-1] if errors else process.last_line(said)
    if altered:
        sources = ", ".join(f"'{a.source}'" for a in expected)
        return ArtifactInvalid(
            f"Artifact {sources} is not what its definition says: expected sha256 {expected[0].sha256}, "
            f"the index has {altered.group(1)}",
            hint=f"{Path(sys.executable).name} -m pip download --no-deps {expected[0].source}",
            details={
                "source": expected[0].source,
                "expected": expected[0].sha256,
                "actual": altered.group(1),
            },
        )
    return ArtifactInvalid(
        f"Artifact '{expected[0].source}' is absent: pip could not fetch it: {reason}",
        hint="pip config list",
        details={"source": expected[0].source, "expected": expected[0].sha256, "stderr": done.error_tail},
    )


def _copy_archive(artifact: Artifact, *, definition_dir: Path, directory: Path, progress: Progress) -> None:
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
            raise ArtifactInvalid(
                f"Artifact '{artifact.source}' is not what its definition says: "
                f"expected sha256 {artifact.sha256}, the file has {digest}",
                hint=f"sha256sum {source}",
                details={"source": artifact.source, "expected": artifact.sha256, "actual": digest},
            )
        keep_file(copy, directory=directory, sha256=digest)


def archive_path(source: str, *, definition_dir: Path) -> Path:
    """The file that a source of kind *archive* means. Raises ArtifactInvalid for one that is no file."""
    if source.startswith("file:"):
        return Path(unquote(urlsplit(source).path))
    if "://" in source:
        raise ArtifactInvalid(
            f"Artifact '{source}' cannot be fetched: an archive is a path or a file: URL",
            hint="copy it beside the UA definition and name that file",
            details={"source": source},
        )
    return definition_dir / Path(source).expanduser()
