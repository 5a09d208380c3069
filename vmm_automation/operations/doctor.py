"""Read-only checks of a controller and its site, each with what was found and the fix."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmm_automation.adapters import process
from vmm_automation.adapters.base_image_builder import cached_base_image
from vmm_automation.errors import VmmError
from vmm_automation.operations.base_image import acceleration
from vmm_automation.operations.context import Context
from vmm_automation.state.open import find_url

_KVM = Path("/dev/kvm")
_LOW_MIB = 2048
_TOOLS = (("image tools", ("qemu-img", "mmdebstrap", "mke2fs", "cpio")), ("ssh", ("ssh", "ssh-keygen")))


@dataclass(frozen=True)
class Check:
    """One finding; ``status`` is ``ok``, ``warning`` (works, but see ``found``) or ``failed``."""

    name: str
    status: str
    found: str
    fix: str = ""

    def to_document(self) -> dict[str, Any]:
        """As shown by ``vmm doctor``."""
        return {"name": self.name, "status": self.status, "found": self.found, "fix": self.fix}


def examine(context: Context) -> list[Check]:
    """Run all checks; a check that fails itself is a finding, so the rest is still looked at."""
    checks: list[tuple[str, Callable[[Context], Check]]] = [
        ("site", _site),
        ("libvirt", _libvirt),
        ("kvm device", _kvm_device),
        ("acceleration", _acceleration),
        *((name, _tools(name, programs)) for name, programs in _TOOLS),
        ("borg", lambda _context: _program_beside("borg", "borgbackup")),
        ("ansible", lambda _context: _program_beside("ansible-playbook", "ansible-core")),
        ("disk space", _disk_space),
        ("state", _state),
    ]
    return [_guarded(name, check, context) for name, check in checks]


def _guarded(name: str, check: Callable[[Context], Check], context: Context) -> Check:
    try:
        return check(context)
    except VmmError as failure:
        return Check(name, "failed", failure.message, failure.hint)


def _site(context: Context) -> Check:
    errors = context.site.validate()
    if errors:
        return Check("site", "failed", "; ".join(errors[:5]), f"$EDITOR {context.site.directory}")
    return Check("site", "ok", f"'{context.site.name}' in {context.site.directory}")


def _libvirt(context: Context) -> Check:
    version = context.hypervisor.version()
    count = len(context.hypervisor.vms())
    return Check("libvirt", "ok", f"{context.site.libvirt_uri}: {version}, {count} VMs")


def _kvm_device(context: Context) -> Check:
    if not _KVM.exists():
        return Check("kvm device", "warning", "no /dev/kvm: guests are emulated, 10 to 20 times slower")
    mode = _KVM.stat().st_mode
    if context.site.libvirt_uri.endswith("/system") and not mode & (stat.S_IRGRP | stat.S_IROTH):
        found = "only root may open /dev/kvm: libvirt then examines QEMU anew at each call, a minute long"
        return Check("kvm device", "failed", found, "chgrp kvm /dev/kvm && chmod 660 /dev/kvm")
    return Check("kvm device", "ok", "/dev/kvm has the access that udev gives it")


def _acceleration(context: Context) -> Check:
    for definition in context.site.base_images.values():
        image = cached_base_image(definition, directory=context.places.base_images)
        if image:
            verdict = acceleration(context, image)
            status = "ok" if verdict.kind == "kvm" else "warning"
            return Check("acceleration", status, f"{verdict.kind}: {verdict.reason}")
    return Check("acceleration", "warning", "not probed yet: no base image is built", "vmm vm create vm-1")


def _tools(name: str, programs: tuple[str, ...]) -> Callable[[Context], Check]:
    def check(_context: Context) -> Check:
        for program in programs:
            if shutil.which(program) is None:
                missing = process.tool_missing(program)
                return Check(name, "failed", missing.message, missing.hint)
        return Check(name, "ok", ", ".join(programs))

    return check


def _program_beside(program: str, package: str) -> Check:
    beside = Path(sys.executable).parent
    path = shutil.which(program, path=f"{beside}:{os.environ.get('PATH', os.defpath)}")
    name = "borg" if program == "borg" else "ansible"
    if path is None:
        return Check(
            name, "failed", f"'{program}' is not installed", f"{sys.executable} -m pip install {package}"
        )
    version = process.run([path, "--version"]).text.splitlines()[0]
    return Check(name, "ok", f"{version} ({path})")


def _disk_space(context: Context) -> Check:
    existing = next(path for path in (context.places.home, *context.places.home.parents) if path.exists())
    free = shutil.disk_usage(existing).free // 2**20
    status = "ok" if free >= _LOW_MIB else "failed"
    fix = "" if status == "ok" else f"df -h {existing}"
    return Check("disk space", status, f"{free} MiB free for {context.places.home}", fix)


def _state(context: Context) -> Check:
    url = find_url(context.site.directory)
    path = context.places.state_file
    if url is None and not path.exists():
        return Check("state", "ok", f"{path} is not there yet; the first change makes it")
    problems = context.store.problems()
    if problems:
        return Check("state", "failed", f"{context.store.location}: {problems[0]}", "vmm state check")
    return Check("state", "ok", f"{context.store.location} ({context.store.name})")
