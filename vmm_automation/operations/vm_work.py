"""The steps that one VM goes through: disk, seed, domain, boot, shutdown, removal.

Each is finished or undone by the next run if it is cut off.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from vmm_automation.adapters.base_image_builder import ensure_base_image
from vmm_automation.adapters.disks import VmFiles, create_overlay, free_port, require_space
from vmm_automation.adapters.domain_xml import DomainSpec, VmRecord, domain_name
from vmm_automation.adapters.seed import GuestIdentity, new_host_key, write_seed
from vmm_automation.adapters.ssh import (
    SshPlaces,
    distrust,
    ensure_key,
    forget_connection,
    wait_until_ready,
)
from vmm_automation.errors import NotFound, PortTaken, Timeout, VmmError
from vmm_automation.model.base_image import BaseImage
from vmm_automation.model.times import to_text
from vmm_automation.model.vm import Vm, VmProfile, VmState
from vmm_automation.operations.base_image import acceleration
from vmm_automation.operations.clean_snapshot import forget_if_clean
from vmm_automation.operations.context import Context
from vmm_automation.operations.revival import Revival
from vmm_automation.operations.vm_notes import note_made
from vmm_automation.trace import point

_NEEDED_MIB = 512  # what one overlay may grow by before an operator notices
_START_ATTEMPTS = 3
_SHUTDOWN_S = 90.0
_ASK_AGAIN_S = 5.0  # a guest that is still booting answers over SSH before it hears its power button
_POLL_S = 0.25


@dataclass
class Work:
    """What is done for one VM: its phases in seconds, in the order they ran."""

    context: Context
    name: str
    phases: dict[str, float] = field(default_factory=dict)

    @property
    def files(self) -> VmFiles:
        """The VM's files."""
        return VmFiles(self.context.places.vms / self.context.site.name / self.name)

    @property
    def ssh(self) -> SshPlaces:
        """The controller's SSH files."""
        return SshPlaces.of(self.context.places)

    def phase(self, name: str, action: Callable[[], Any]) -> Any:
        """Run one phase and note its time."""
        started = self.context.clock.now()
        try:
            return action()
        finally:
            self.phases[name] = round((self.context.clock.now() - started).total_seconds(), 3)

    def existing(self) -> Vm | None:
        """The VM as libvirt knows it, or None."""
        with suppress(NotFound):
            return self.context.hypervisor.vm(self.name)
        return None


def prepare(context: Context, profile: VmProfile) -> None:
    """What all VMs of a profile share; done once, before any of them."""
    ensure_key(SshPlaces.of(context.places))
    image = _image(context, profile)
    acceleration(context, image)
    require_space(context.places.vms, needed_mib=_NEEDED_MIB)


def _image(context: Context, profile: VmProfile) -> BaseImage:
    definition = context.site.base_image(profile.base_image)
    return ensure_base_image(definition, directory=context.places.base_images, progress=context.progress)[0]


def create(work: Work, profile: VmProfile) -> None:
    """Clone, define and boot a new VM; on failure nothing of it is left."""
    context = work.context
    image = _image(context, profile)
    try:
        work.phase("disk", lambda: _make_disk(work, image))
        point("vm.create.disk")
        work.phase("define", lambda: _define(work, profile, image))
        point("vm.create.defined")
        _boot(work, fresh=True)
        point("vm.create.answers")
        note_made(context, work.name, told={"profile": profile.name, "base": image.digest})
        point("vm.create.recorded")
    except VmmError as failure:
        failure.details.setdefault("console", work.files.console_tail())
        remove(work)  # nothing half-made stays behind
        raise


def rebuild(work: Work, profile: VmProfile) -> None:
    """Give a VM a fresh disk and what its profile says now, and boot it; the caller says when it is clean.

    The domain is there all the time, so that a run cut off or failed is simply repeated.
    """
    image = _image(work.context, profile)
    vm = work.context.hypervisor.vm(work.name)
    forget_connection(work.ssh, vm)
    work.phase("reset", lambda: work.context.hypervisor.reset(work.name))
    point("vm.rebuild.reset")
    work.phase("disk", lambda: _make_disk(work, image))
    point("vm.rebuild.renewed")
    work.phase("define", lambda: _define(work, profile, image, domain_id=vm.uuid))
    point("vm.rebuild.defined")
    _boot(work, fresh=True)


def _make_disk(work: Work, image: BaseImage) -> None:
    work.files.create()
    create_overlay(work.files.disk, base=image.disk)


def _define(work: Work, profile: VmProfile, image: BaseImage, *, domain_id: str = "") -> None:
    context = work.context
    public = _seeded(work)
    point("vm.create.seed")
    record = VmRecord(
        site=context.site.name,
        name=work.name,
        profile=profile.name,
        base_digest=image.digest,
        ssh_port=_new_port(context),
        host_key=" ".join(public.split()[:2]),
        created_at=to_text(context.clock.now()),
        features=profile.features,
        protocols=profile.protocols,
        home=str(context.places.home),
    )
    verdict = acceleration(context, image)
    context.hypervisor.define(
        DomainSpec(
            record=record,
            uuid=domain_id or str(uuid.uuid4()),
            vcpus=profile.vcpus,
            memory_mib=profile.memory_mib,
            acceleration=verdict.kind,
            cpu=verdict.cpu,
            disk=work.files.disk,
            seed=work.files.seed,
            console=work.files.console,
            kernel=image.kernel,
            initrd=image.initrd,
            kernel_arguments=image.kernel_arguments,
        )
    )


def _seeded(work: Work) -> str:
    """Write what makes the guest this one and no other; its public host key."""
    private, public = new_host_key()
    identity = GuestIdentity(
        hostname=work.name,
        machine_id=uuid.uuid4().hex,
        host_key_private=private,
        host_key_public=public,
        authorized_keys=(ensure_key(work.ssh),),
    )
    write_seed(work.files.seed, identity=identity)
    return public


def _new_port(context: Context) -> int:
    return free_port(taken=frozenset(vm.ssh_port for vm in context.hypervisor.vms()))


def start(work: Work) -> None:
    """Boot or resume an existing VM and wait until it answers."""
    vm = work.context.hypervisor.vm(work.name)
    if vm.state is VmState.PAUSED:
        work.phase("resume", lambda: work.context.hypervisor.resume(work.name))
    fresh = vm.state in {VmState.STOPPED, VmState.CRASHED}
    if vm.state is VmState.CRASHED:
        work.phase("destroy", lambda: work.context.hypervisor.destroy(work.name))
    if fresh:
        forget_if_clean(work.context, work.name)
    _boot(work, fresh=fresh, late_clock=vm.state is VmState.PARKED)


def _boot(work: Work, *, fresh: bool, late_clock: bool = False) -> None:
    """Start and wait; with ``fresh`` the guest has nothing in memory yet, and may be started once more.

    With ``late_clock`` the guest's clock stands where its memory was saved, and is set.
    """
    hypervisor = work.context.hypervisor
    work.files.restrict()
    work.phase("start", lambda: _start_on_a_free_port(work))
    point("vm.boot.started")
    vm = hypervisor.vm(work.name)
    deadline_s = work.context.site.policies.ssh_deadline_s
    try:
        work.phase(
            "ssh",
            lambda: wait_until_ready(
                work.ssh,
                vm,
                clock=work.context.clock,
                deadline_s=deadline_s,
                on_silence=Revival(work.context, work.name, work.files).attempt if fresh else _leave,
                first=_set_clock(work) if late_clock else "true",
            ),
        )
    except VmmError as failure:
        failure.details["console"] = work.files.console_tail()
        raise
    hypervisor.mark_ready(work.name)
    work.context.progress(f"VM '{work.name}' answers over SSH after {work.phases['ssh']:.1f} s")


def _set_clock(work: Work) -> str:
    return f"date -u -s @{work.context.clock.now().timestamp():.0f} >/dev/null"


def _leave() -> None:
    """A guest that has been running is never cut off here."""


def _start_on_a_free_port(work: Work) -> None:
    """Start the domain; if its port was taken meanwhile, move it to another and try again."""
    for attempt in range(1, _START_ATTEMPTS + 1):
        try:
            work.context.hypervisor.start(work.name)
            return
        except PortTaken:
            if attempt == _START_ATTEMPTS:
                raise
            work.context.hypervisor.move_ssh_port(work.name, port=_new_port(work.context))


def park(work: Work) -> None:
    """Save the guest with its memory and switch it off."""
    forget_connection(work.ssh, work.context.hypervisor.vm(work.name))
    work.context.hypervisor.park(work.name)


def shut_down(work: Work, *, force: bool) -> None:
    """Ask the guest to power off and wait; with ``force``, cut the power after 90 s."""
    hypervisor = work.context.hypervisor
    vm = hypervisor.vm(work.name)
    forget_connection(work.ssh, vm)
    if vm.state is VmState.PAUSED:
        hypervisor.resume(work.name)
    waited = 0.0
    while hypervisor.vm(work.name).state is not VmState.STOPPED:
        if waited % _ASK_AGAIN_S == 0:
            hypervisor.shutdown(work.name)
        if waited >= _SHUTDOWN_S:
            if force:
                hypervisor.destroy(work.name)
                return
            raise Timeout(
                f"VM '{work.name}' did not shut down within {_SHUTDOWN_S:g} s",
                hint=f"vmm vm stop {work.name} --force",
                details={"vm": work.name},
            )
        work.context.clock.sleep(_POLL_S)
        waited += _POLL_S


def remove(work: Work) -> None:
    """Remove domain, files and trust of a VM; no change for what is absent."""
    vm = work.existing()
    if vm:
        forget_connection(work.ssh, vm)
        work.context.hypervisor.destroy(work.name)
        point("vm.remove.destroyed")
        work.context.hypervisor.undefine(work.name)
        point("vm.remove.undefined")
    distrust(work.ssh, domain_name(site=work.context.site.name, vm=work.name))
    work.files.remove()
    point("vm.remove.removed")
