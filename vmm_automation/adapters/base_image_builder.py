"""The cache of base images: made once, read by every VM, never changed.

Layout: ``DIRECTORY/<name>-<first 12 digits of the
digest>/{disk.qcow2,kernel,initrd,probe-initrd,manifest.json}``, files 0444 in a directory that everybody
can search, because a system-wide libvirt runs QEMU as its own user.

Atomicity: an image is made in ``DIRECTORY/.<name>.building.*`` and renamed into place when it is complete
and on the disk; what carries the final name is whole. Readers need no lock. Builders of one name take
turns on ``DIRECTORY/.<name>.lock``; each first removes what a killed builder left. An image is never
removed here: overlays may stand on it.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vmm_automation.adapters.debian_image import build_debian_image
from vmm_automation.adapters.lockfile import exclusive
from vmm_automation.adapters.qcow2_image import take_qcow2_image
from vmm_automation.errors import ArtifactInvalid, DiskFull, PreflightFailed
from vmm_automation.model.base_image import BUILDER_REVISION, BaseImage, BaseImageDefinition
from vmm_automation.places import make_directory

_MANIFEST = "manifest.json"
_REMOVAL_ATTEMPTS = 20
_REMOVAL_PAUSE_S = 0.5


def ensure_base_image(
    definition: BaseImageDefinition, *, directory: Path, progress: Callable[[str], None]
) -> tuple[BaseImage, bool]:
    """The image of ``definition``, and whether it had to be made. A cached one is found in a millisecond.

    ``progress`` gets one short sentence at the start of each slow step.

    Raises:
        ArtifactInvalid: the source is not what the definition says, or the cached image was altered.
        DiskFull: no space is left; nothing is left behind.
        ToolMissing: a program is not installed.
        PreflightFailed: the directory cannot be used, or the controller has no source of packages.
        TaskFailed, Timeout: a program that builds failed.
    """
    cached = cached_base_image(definition, directory=directory)
    if cached is not None:
        return cached, False
    with _system_errors(definition, directory):
        make_directory(directory, mode=0o755)
        progress(f"base image '{definition.name}' is not there yet: making it")
        with exclusive(directory / f".{definition.name}.lock", what=f"base image '{definition.name}'"):
            cached = cached_base_image(definition, directory=directory)
            if cached is not None:
                return cached, False
            _remove_leftovers(directory, definition.name)
            _make(definition, directory=directory, progress=progress)
    made = cached_base_image(definition, directory=directory)
    if made is None:
        raise ArtifactInvalid(
            f"Base image '{definition.name}' vanished while it was made", hint=f"ls {directory}"
        )
    return made, True


def cached_base_image(definition: BaseImageDefinition, *, directory: Path) -> BaseImage | None:
    """The finished image of ``definition``, or None where it was not made yet.

    Compares the size of each file with the manifest; contents are not read again.

    Raises:
        ArtifactInvalid: a file of it is absent or has another size.
    """
    home = image_directory(definition, directory=directory)
    if not home.is_dir():
        return None
    try:
        manifest = json.loads((home / _MANIFEST).read_text())
        altered = [
            name for name, facts in manifest["files"].items() if (home / name).stat().st_size != facts["size"]
        ]
        names = set(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as broken:
        raise _altered(definition, home, str(broken)) from broken
    if altered:
        raise _altered(definition, home, f"file '{altered[0]}' has another size")
    return BaseImage(
        name=definition.name,
        digest=definition.digest,
        disk=home / "disk.qcow2",
        kernel=home / "kernel" if "kernel" in names else None,
        initrd=home / "initrd" if "initrd" in names else None,
        kernel_arguments=definition.kernel_arguments,
        probe_initrd=home / "probe-initrd" if "probe-initrd" in names else None,
    )


def image_directory(definition: BaseImageDefinition, *, directory: Path) -> Path:
    """Where the finished image of ``definition`` is, or will be."""
    return directory / f"{definition.name}-{definition.digest[:12]}"


def _make(definition: BaseImageDefinition, *, directory: Path, progress: Callable[[str], None]) -> None:
    building = Path(tempfile.mkdtemp(prefix=f".{definition.name}.building.", dir=directory))
    try:
        building.chmod(0o755)
        image, scratch = building / "image", building / "scratch"
        image.mkdir(mode=0o755)
        scratch.mkdir(mode=0o755)
        packages: dict[str, str] = {}
        if definition.kind == "debian":
            packages = build_debian_image(definition, image=image, scratch=scratch, progress=progress)
        else:
            take_qcow2_image(definition, image=image, progress=progress)
        _write_manifest(definition, image, packages)
        _seal(image)
        image.rename(image_directory(definition, directory=directory))
        _sync(directory)
    finally:
        # Where this fails, the next builder removes the rest; the error that led here matters more.
        shutil.rmtree(building, ignore_errors=True)


def _write_manifest(definition: BaseImageDefinition, image: Path, packages: dict[str, str]) -> None:
    files = {}
    for path in sorted(image.iterdir()):
        with path.open("rb") as file:
            files[path.name] = {
                "size": path.stat().st_size,
                "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
            }
    manifest = {
        "format": 1,
        "builder_revision": BUILDER_REVISION,
        "digest": definition.digest,
        "definition": dataclasses.asdict(definition),
        "files": files,
        "packages": packages,
    }
    (image / _MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")


def _seal(image: Path) -> None:
    """Make every file read-only and put it on the disk."""
    for path in image.iterdir():
        path.chmod(0o444)
        _sync(path)
    image.chmod(0o755)
    _sync(image)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_leftovers(directory: Path, name: str) -> None:
    """Remove what killed builders left; the caller holds the lock, so none of it is in use by a living
    builder.
    """
    for leftover in directory.glob(f".{name}.building.*"):
        for _ in range(_REMOVAL_ATTEMPTS):
            # What the killed builder had started may go on writing for a moment.
            shutil.rmtree(leftover, ignore_errors=True)
            if not leftover.exists():
                break
            time.sleep(_REMOVAL_PAUSE_S)
        else:
            as_mapped = "" if os.geteuid() == 0 else "unshare --map-root-user --map-auto "
            raise PreflightFailed(
                f"Cannot remove '{leftover}', which an interrupted build left",
                hint=f"{as_mapped}rm -r --one-file-system {leftover}",
            )


@contextmanager
def _system_errors(definition: BaseImageDefinition, directory: Path) -> Iterator[None]:
    """Translate what the operating system refuses."""
    try:
        yield
    except OSError as refused:
        what = f"Cannot make base image '{definition.name}' in '{directory}'"
        if refused.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"{what}: no space left on device", hint=f"df -h {directory}") from refused
        raise PreflightFailed(f"{what}: {refused.strerror}", hint=f"ls -ld {directory}") from refused


def _altered(definition: BaseImageDefinition, home: Path, why: str) -> ArtifactInvalid:
    return ArtifactInvalid(
        f"Base image '{definition.name}' in '{home}' is damaged: {why}",
        hint=f"rm -r {home}",
        details={"directory": str(home)},
    )
