"""Takes a ready qcow2 image over as a base image: checked against its digest while it is copied, then
looked into.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from vmm_automation.adapters.process import run
from vmm_automation.errors import ArtifactInvalid, TaskFailed
from vmm_automation.model.base_image import BaseImageDefinition

_CHUNK_BYTES = 1 << 20


def take_qcow2_image(
    definition: BaseImageDefinition, *, image: Path, progress: Callable[[str], None]
) -> None:
    """Write ``disk.qcow2``, and ``kernel`` and ``initrd`` where the definition names them, into ``image``.

    The copy is what is checked, so that a source changed meanwhile cannot slip through.

    Raises:
        ArtifactInvalid: a file is absent, has another digest, or is not a self-contained qcow2 image.
        DiskFull: no space is left (as OSError too, from the copy itself).
    """
    source = Path(definition.path).expanduser()
    progress(f"copying and checking '{source}'")
    disk = image / "disk.qcow2"
    found = _copy_hashed(_readable(source, definition), disk)
    if found != definition.sha256:
        raise ArtifactInvalid(
            f"Base image '{definition.name}': file '{source}' has sha256 {found}, "
            f"and its definition says {definition.sha256}",
            hint=f"sha256sum {source}",
            details={"found": found, "expected": definition.sha256},
        )
    _check_self_contained(disk, source=source, name=definition.name)
    for name, path in (("kernel", definition.kernel), ("initrd", definition.initrd)):
        if path:
            shutil.copyfile(_readable(Path(path).expanduser(), definition), image / name)


def _readable(path: Path, definition: BaseImageDefinition) -> Path:
    try:
        with path.open("rb"):
            return path
    except OSError as refused:
        raise ArtifactInvalid(
            f"Base image '{definition.name}': cannot read '{path}': {refused.strerror}",
            hint=f"ls -l {path}",
        ) from refused


def _copy_hashed(source: Path, target: Path) -> str:
    """Copy, leaving holes where there are only zero bytes; the SHA-256 of what was copied."""
    digest = hashlib.sha256()
    hole = bytes(_CHUNK_BYTES)
    with source.open("rb") as reader, target.open("wb") as writer:
        while chunk := reader.read(_CHUNK_BYTES):
            digest.update(chunk)
            if chunk == hole:
                writer.seek(len(chunk), 1)
            else:
                writer.write(chunk)
        writer.truncate()
    return digest.hexdigest()


def _check_self_contained(disk: Path, *, source: Path, name: str) -> None:
    refusal = f"Base image '{name}': file '{source}' is not a qcow2 image"
    hint = f"qemu-img info {source}"
    try:
        facts = json.loads(run(["qemu-img", "info", "--output=json", disk], timeout=60).text)
    except TaskFailed as failed:
        raise ArtifactInvalid(f"{refusal}: {failed.message}", hint=hint) from failed
    if facts.get("format") != "qcow2":
        raise ArtifactInvalid(f"{refusal}: its format is {facts.get('format')}", hint=hint)
    if facts.get("backing-filename"):
        raise ArtifactInvalid(
            f"{refusal} of its own: it has the backing file '{facts['backing-filename']}'",
            hint=f"qemu-img convert -O qcow2 {source} flat.qcow2",
        )
    if facts.get("format-specific", {}).get("data", {}).get("data-file"):
        raise ArtifactInvalid(f"{refusal} of its own: it keeps its content in another file", hint=hint)
