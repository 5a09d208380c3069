"""Kind *pip*: pinned wheels of pure Python, unpacked below ``app/`` of each version; no pip in the guest."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from vmm_automation.adapters import process
from vmm_automation.adapters.bundle_members import Member, wheel_members
from vmm_automation.adapters.cached_files import cached_file, keep_file, sha256_of
from vmm_automation.adapters.kinds import Fetching, Kind, Progress
from vmm_automation.errors import ArtifactInvalid, ToolMissing
from vmm_automation.model.ua import Artifact, UaVersion

#: the Python of the guests: Debian 12's
GUEST_PYTHON = "3.11"
_PIP_TIMEOUT_S = 900
_PIP_GOT = re.compile(r"Got\s+([0-9a-f]{64})")
# The service's account cannot write byte-code here: without this every start would compile everything.
_DELIVER = """\
say step compile
python3 -m compileall -q -j "$(nproc)" -s "$staging" -p "$target" "$staging/app" >&2 || :
"""


def _fetch(version: UaVersion, fetching: Fetching) -> tuple[Path, ...]:
    directory = fetching.directory
    missing = [each for each in version.artifacts if cached_file(directory, each.sha256) is None]
    if missing:
        _fetch_wheels(missing, directory=directory, progress=fetching.progress)
    return tuple(_present(artifact, directory=directory) for artifact in version.artifacts)


def _members(version: UaVersion, files: Sequence[Path]) -> Iterator[Member]:
    del version
    for path in files:
        yield from wheel_members(path, below="app")


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


KIND = Kind(fetch=_fetch, members=_members, hooks={"deliver": _DELIVER})
