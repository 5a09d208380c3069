"""Kills the whole controller at a trace point: those that need a guest, by the command that comes to them."""

from __future__ import annotations

from dataclasses import replace

from .controller import Controller, wait_until

#: opening a session whose user has data stored
OPENING = ("image.deploy.read", "image.deploy.sent", "image.deploy.unpacked", "image.deploy.recorded")
#: closing one
CLOSING = (
    "image.capture.fetched",
    "image.capture.stored",
    "image.capture.recorded",
    "vm.clean.reverted",
    "image.clean.cleaned",
    "image.clean.recorded",
)
#: closing one where the site wants VMs rebuilt
REBUILDING = ("vm.clean.destroyed", "vm.clean.renewed", "vm.clean.started")
#: rebuilding a VM
RENEWING = ("vm.rebuild.reset", "vm.rebuild.renewed", "vm.rebuild.defined", "vm.rebuild.recorded")
#: moving one to the other VM
MOVING = ("session.move.captured",)
#: opening a session on a volume whose user has none, or closing one
ON_VOLUME = (
    "image.volume.opened",
    "image.volume.attached",
    "image.volume.mounted",
    "image.volume.sealed",
    "image.volume.detached",
    "image.volume.kept",
    "image.volume.renewed",
)
CREATING = (
    "vm.create.disk",
    "vm.create.seed",
    "vm.create.defined",
    "vm.boot.started",
    "vm.create.answers",
    "vm.create.recorded",
)
DELETING = ("vm.remove.destroyed", "vm.remove.undefined", "vm.remove.removed", "vm.delete.recorded")
INSTALLING = ("ua.install.sent", "ua.install.activated", "ua.install.recorded")
IN_GUEST = {
    *(*OPENING, *CLOSING, *MOVING, *ON_VOLUME),
    *(*REBUILDING, *RENEWING, *CREATING, *DELETING, *INSTALLING),
}


def kill_at(vmm: Controller, point: str, *words: str) -> None:
    """Start ``vmm …``, wait until it is at the point, and kill it with all that it started."""
    flag = vmm.home.with_name("at-point")
    held = replace(vmm, environment={**vmm.environment, "VMM_TRACE_PAUSE": f"{point}:{flag}"})
    started = held.start(*words)
    try:
        wait_until(
            lambda: flag.exists() or started.process.poll() is not None, what=f"at {point}", seconds=300
        )
        assert flag.exists(), (point, words, started.wait())
    finally:
        if started.process.poll() is None:
            started.kill_tree()
        flag.unlink(missing_ok=True)
