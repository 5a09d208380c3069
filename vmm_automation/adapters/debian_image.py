"""Builds the files of a base image from Debian packages: root disk, kernel, initrd and the probe's initrd.

mmdebstrap makes the root file system, as root or, in its mode "unshare", as an ordinary user;
``guest_files/customize.sh`` finishes it and writes the ext4 disk from within, where file ownership is
right in both modes. Nothing is mounted.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

from vmm_automation.adapters import apt_sources, initrd
from vmm_automation.adapters.disks import require_space
from vmm_automation.adapters.process import run, tool_missing
from vmm_automation.errors import ArtifactInvalid
from vmm_automation.model.base_image import BaseImageDefinition

_GUEST_FILES = Path(__file__).parent / "guest_files"
_MODULES = ("virtio_pci", "virtio_blk", "ext4", "virtio_net")
_PROGRAMS = ("mmdebstrap", "mke2fs", "qemu-img")
_SYSTEM_PROGRAMS = "/usr/sbin:/sbin"  # not on the PATH of every ordinary user
_NEEDED_MIB = (
    1536  # package archives, root file system, raw disk and qcow2 exist at the same time for a moment
)
_BUILD_TIMEOUT_S = 1800
_DROPPED_PATHS = ("doc", "man", "locale", "info", "lintian")


def build_debian_image(
    definition: BaseImageDefinition, *, image: Path, scratch: Path, progress: Callable[[str], None]
) -> dict[str, str]:
    """Write ``disk.qcow2``, ``kernel``, ``initrd`` and ``probe-initrd`` into directory ``image``.

    ``scratch`` is an empty directory on the same file system, which the caller removes. Returns the
    versions of the installed packages by name.

    Raises:
        ToolMissing: a program is not installed.
        DiskFull: no space is left, or too little to begin.
        PreflightFailed: the controller has no apt source of the release.
        ArtifactInvalid: the packages bring no kernel or no busybox.
        TaskFailed, Timeout: a program failed; its last words are in ``details``.
    """
    require_space(scratch, needed_mib=_NEEDED_MIB)
    _require_programs()
    progress(f"installing Debian {definition.suite} with {len(definition.packages)} wanted packages")
    _bootstrap(definition, scratch)
    progress("writing the root disk")
    run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", scratch / "disk.raw", image / "disk.qcow2"])
    progress("writing the initrd")
    _write_boot_files(scratch / "boot.tar", image)
    return dict(line.split(None, 1) for line in (scratch / "packages").read_text().splitlines())


def _require_programs() -> None:
    path = f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_PROGRAMS}"
    for program in (*_PROGRAMS, *(() if os.geteuid() == 0 else ("newuidmap",))):
        if shutil.which(program, path=path) is None:
            raise tool_missing(program)


def _bootstrap(definition: BaseImageDefinition, scratch: Path) -> None:
    """Run mmdebstrap; leaves ``disk.raw``, ``boot.tar`` and ``packages`` in ``scratch``."""
    as_root = os.geteuid() == 0
    files = {
        "boot.tar": "",
        "packages": "",
        "disk.raw": "",
        "apt.conf": apt_sources.transport_configuration(),
        # A copy, because the package may be installed where only its owner can read.
        "customize.sh": (_GUEST_FILES / "customize.sh").read_text(),
    }
    (scratch / "tmp").mkdir()
    for name, text in files.items():
        (scratch / name).touch(mode=0o600)
        (scratch / name).write_text(text)
    os.truncate(scratch / "disk.raw", definition.disk_gib * 2**30)
    if not as_root:
        # In mode "unshare" the root of the build is another user of the controller.
        modes = {"tmp": 0o777, "apt.conf": 0o644, "customize.sh": 0o644}
        for name in ("tmp", *files):
            (scratch / name).chmod(modes.get(name, 0o666))
    run(
        _mmdebstrap_words(definition, options=scratch / "apt.conf", as_root=as_root),
        stdin=_sources(definition).encode(),
        env={
            "PATH": f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_PROGRAMS}",
            "TMPDIR": str(scratch / "tmp"),
            "LC_ALL": "C.UTF-8",
            "INITRD": "No",  # tells the kernel package not to make an initramfs: ours replaces it
            "VMM_OUT": str(scratch),
            "VMM_MASKED_UNITS": " ".join(definition.masked_units),
        },
        timeout=_BUILD_TIMEOUT_S,
    )


def _mmdebstrap_words(definition: BaseImageDefinition, *, options: Path, as_root: bool) -> list[str]:
    return [
        "mmdebstrap",
        f"--mode={'root' if as_root else 'unshare'}",
        "--variant=minbase",
        "--format=null",
        f"--aptopt={options}",
        f"--include={','.join(definition.packages)}",
        *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _DROPPED_PATHS),
        '--customize-hook=sh "$VMM_OUT/customize.sh" "$1"',
        definition.suite,
        "/dev/null",
        "-",
    ]


def _sources(definition: BaseImageDefinition) -> str:
    if definition.mirror:
        sources: tuple[apt_sources.AptSource, ...] = (
            apt_sources.AptSource(definition.mirror, definition.suite),
        )
    else:
        sources = apt_sources.controller_sources(definition.suite)
    return "".join(f"{source.line}\n" for source in sources)


def _write_boot_files(archive: Path, image: Path) -> None:
    with tarfile.open(archive) as boot:
        names = boot.getnames()

        def content(*, prefix: str = "", suffix: str = "") -> bytes:
            matching = sorted(name for name in names if name.startswith(prefix) and name.endswith(suffix))
            for name in reversed(matching):
                member = boot.extractfile(name)
                if member is not None:
                    return member.read()
            raise ArtifactInvalid(
                f"The packages of the base image bring no file '{prefix}…{suffix}'",
                hint="add linux-image-cloud-amd64 and busybox-static to 'packages'",
            )

        busybox = content(suffix="bin/busybox")
        (image / "kernel").write_bytes(content(prefix="boot/vmlinuz-"))
        order = initrd.module_order(content(suffix="/modules.dep").decode(), _MODULES)
        modules = {Path(path).name: content(suffix=f"/{path}") for path in order}
        root = (_GUEST_FILES / "init.sh").read_bytes()
        probe = (_GUEST_FILES / "probe_init.sh").read_bytes()
        (image / "initrd").write_bytes(initrd.root_initrd(busybox=busybox, script=root, modules=modules))
        (image / "probe-initrd").write_bytes(initrd.probe_initrd(busybox=busybox, script=probe))
