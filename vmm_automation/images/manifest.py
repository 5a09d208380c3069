"""Proves that a tar holds exactly what its manifest lists, and sums a manifest up for the state store."""

from __future__ import annotations

from pathlib import Path

from vmm_automation.errors import ArtifactInvalid
from vmm_automation.images.archive import ArchivePolicy, read_archive
from vmm_automation.images.printable import shown
from vmm_automation.model.image import FileEntry, Generation, Manifest

_UNLISTED = "unlisted"


def verify(archive: Path, manifest: Manifest, *, policy: ArchivePolicy | None = None) -> None:
    """Compare a tar with its manifest: the same paths, each with the same kind, mode, target and content.

    Raises:
        ArtifactInvalid: the tar breaks the policy, or differs; the message names the first path.
    """
    listed = {entry.path: entry for entry in manifest.files}
    entries = read_archive(
        archive,
        policy=policy or ArchivePolicy(),
        layer=lambda path: listed[path].layer if path in listed else _UNLISTED,
    )
    difference = first_difference(manifest.files, entries)
    if difference:
        raise ArtifactInvalid(
            f"User image {manifest.user}/{manifest.ua} generation {manifest.generation} "
            f"does not match its manifest: {difference}",
            hint=f"vmm image list --user {manifest.user} --ua {manifest.ua}",
            details={"user": manifest.user, "ua": manifest.ua, "generation": manifest.generation},
        )


def first_difference(expected: tuple[FileEntry, ...], found: tuple[FileEntry, ...]) -> str:
    """What differs at the first path, in path order, where two lists of entries differ; empty if none."""
    wanted = {entry.path: entry for entry in expected}
    present = {entry.path: entry for entry in found}
    for path in sorted(wanted.keys() | present.keys()):
        name = f"path '{shown(path)}'"
        if path not in present:
            return f"{name} is missing"
        if path not in wanted:
            return f"{name} is not in the manifest"
        if wanted[path] != present[path]:
            fields = FileEntry.__dataclass_fields__
            unlike = [f for f in fields if getattr(wanted[path], f) != getattr(present[path], f)]
            return f"{name} has another {', '.join(unlike)}"
    return ""


def to_generation(manifest: Manifest, archive: str) -> Generation:
    """The row of the generations table for a manifest whose content is stored under ``archive``."""
    return Generation(
        user=manifest.user,
        ua=manifest.ua,
        number=manifest.generation,
        archive=archive,
        root_digest=manifest.root_digest,
        size=manifest.size,
        file_count=sum(entry.kind == "file" for entry in manifest.files),
        ua_version=manifest.ua_version,
        data_version=manifest.data_version,
        session=manifest.session,
        fence=manifest.fence,
        captured_at=manifest.captured_at,
    )
