"""Kind *archive*: a tar or zip archive, unpacked below ``app/``; an AppImage lies there as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from vmm_automation.adapters.artifact_files import fetch_file
from vmm_automation.adapters.bundle_members import Member, archive_members
from vmm_automation.adapters.kinds import Fetching, Kind, plain_name
from vmm_automation.model.ua import UaVersion

#: a program that carries its own file system: one file to run
_PROGRAM = ".AppImage"


def fetch_files(version: UaVersion, fetching: Fetching) -> tuple[Path, ...]:
    """Each artifact, by path, file URL or http(s)."""
    return tuple(
        fetch_file(
            artifact,
            definition_dir=fetching.definition_dir,
            directory=fetching.directory,
            progress=fetching.progress,
        )
        for artifact in version.artifacts
    )


def _members(version: UaVersion, files: Sequence[Path]) -> Iterator[Member]:
    del version
    for path in files:
        if path.suffix == _PROGRAM:
            yield Member(f"app/{plain_name(path)}", path.read_bytes(), mode=0o755)
        else:
            yield from archive_members(path, below="app")


KIND = Kind(fetch=fetch_files, members=_members, local=True)
