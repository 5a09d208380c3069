"""A session's data on a disk of its own: attached and mounted, made the layer of a generation, let go.

Which sessions have one is told by their overlay in the store of volumes, so a site that changes its mind
leaves those that go on alone. A layer is made only after the same data were captured as a generation in the
portable store, with no process of the user left: it holds what that generation holds and nothing else. So
whatever goes wrong here, the generation is there and is deployed by files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from vmm_automation.errors import Conflict, NotFound, TaskFailed, VmmError
from vmm_automation.images.layers import ancestors
from vmm_automation.model.image import Generation, Manifest
from vmm_automation.model.policies import Tier
from vmm_automation.model.session import Session, SessionMode
from vmm_automation.model.ua import UaDefinition
from vmm_automation.operations import vm_lock
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import image_change
from vmm_automation.operations.follow import IN_USE
from vmm_automation.operations.user_image_answers import succeeded
from vmm_automation.operations.user_image_scripts import (
    SessionAccount,
    VolumePlace,
    mount_script,
    seal_script,
    unmount_script,
)
from vmm_automation.ports import Guest
from vmm_automation.state import generations, sessions
from vmm_automation.trace import point

_PLACE: Final = VolumePlace()
_ACCOUNT: Final = SessionAccount()
_STOPPED: Final = "stopped"
_LEAVES_WITHIN: Final = timedelta(seconds=20)
_LOOK_S: Final = 0.1


def is_wanted(context: Context, definition: UaDefinition) -> bool:
    """Whether new sessions of a UA get a volume: its definition decides, else the site."""
    return (definition.user_data.tier or context.site.policies.user_data_tier) is Tier.VOLUME


def is_open(context: Context, session_id: str, *, vm: str) -> bool:
    """Whether a session has a volume on a VM."""
    return context.volumes.session_file(session=session_id, vm=vm).exists()


def account(*, on_volume: bool) -> SessionAccount:
    """The session account with the home that files are to be put into: where it is on a volume, there."""
    return SessionAccount(home=_PLACE.home) if on_volume else _ACCOUNT


@contextmanager
def undisturbed(context: Context, guest: Guest, session_id: str) -> Iterator[None]:
    """Keep a session's volume mounted while its data are read; no change for a session that has none.

    Holds the VM: another run could put another volume in its place, and the home would be empty meanwhile.

    Raises:
        TaskFailed, GuestUnreachable: it is not mounted.
    """
    if not is_open(context, session_id, vm=guest.name):
        yield
        return
    with vm_lock.held(context, guest.name):
        mount(context, guest, session_id)
        yield


def bring_up(
    context: Context, guest: Guest, *, session: Session, archive: str, definition: UaDefinition
) -> bool:
    """Give a session a volume and mount it; whether it has the content of ``archive`` ('' for none).

    Raises:
        TaskFailed, DiskFull, GuestUnreachable: the session has no volume that it could use.
    """
    of = {"session": session.id, "vm": guest.name}
    size_mib = definition.user_data.volume_mib
    let_go(context, guest)  # of what was cut off here: the VM would go on writing to a file without a name
    layered = context.volumes.open(**of, archive=archive, size_mib=size_mib)
    point("image.volume.opened")
    if not layered and archive and context.volumes.layer(archive):
        context.progress(f"The volume of '{archive}' is damaged: the data are deployed by files")
    try:
        mount(context, guest, session.id)
    except TaskFailed as failure:
        if not layered:
            raise
        context.progress(f"The data are deployed by files, not by their volume: {failure.message}")
        let_go(context, guest)
        context.volumes.open(**of, archive="", size_mib=size_mib)
        mount(context, guest, session.id)
        return False
    return layered


def mount(context: Context, guest: Guest, session_id: str) -> None:
    """Attach and mount the volume of a session that has one; no change if that is so, as after a start.

    Raises:
        TaskFailed, GuestUnreachable: it is not mounted.
    """
    if not is_open(context, session_id, vm=guest.name):
        return
    file = context.volumes.session_file(session=session_id, vm=guest.name)
    if context.hypervisor.user_disk(guest.name) != file:
        context.hypervisor.attach_user_disk(guest.name, chain=context.volumes.chain(file))
    point("image.volume.attached")
    doing = f"mount the volume of session '{session_id}'"
    succeeded(guest, guest.run(mount_script(_ACCOUNT, _PLACE)), doing=doing)
    point("image.volume.mounted")


def keep(context: Context, guest: Guest, *, session: Session, number: int) -> None:
    """Make a session's volume the layer of the generation just captured from it; it is detached then.

    Where that cannot be, it is said: the generation is deployed by files. Never that of a session that is
    read-only or a branch.
    """
    if session.mode is not SessionMode.WRITER or not is_open(context, session.id, vm=guest.name):
        return
    with context.store.reading() as tx:
        generation = generations.get(tx, user=session.user, ua=session.ua, number=number)
        manifest = generations.get_manifest(tx, user=session.user, ua=session.ua, number=number)
    why = "" if manifest.consistency == _STOPPED else f"it was captured {manifest.consistency}"
    why = why or _seal(context, guest, session=session, generation=generation, manifest=manifest)
    if why:
        context.progress(f"Generation {number} of user '{session.user}' has no volume: {why}")


def _seal(
    context: Context, guest: Guest, *, session: Session, generation: Generation, manifest: Manifest
) -> str:
    """Why the volume did not become a layer; empty if it did."""
    doing = f"unmount the volume of session '{session.id}'"
    try:
        succeeded(guest, guest.run(seal_script(_ACCOUNT, _PLACE), stdin=sealed_paths(manifest)), doing=doing)
        point("image.volume.sealed")
        _detach(context, guest.name)
        point("image.volume.detached")
        layer = context.volumes.commit(session=session.id, vm=guest.name, archive=generation.archive)
    except VmmError as failure:
        return failure.message
    context.progress(
        f"Generation {generation.number} of user '{session.user}' has a volume: "
        f"{layer.size} bytes in layer {layer.depth}"
    )
    return ""


def sealed_paths(manifest: Manifest) -> bytes:
    """The paths that stay on a volume when it becomes a layer: the generation's, and what is above."""
    paths = {entry.path for entry in manifest.files}
    paths |= {above for path in paths for above in ancestors(path)}
    return b"".join(path + b"\0" for path in sorted(map(os.fsencode, paths)))


def let_go(context: Context, guest: Guest) -> None:
    """End the user's processes, unmount and detach whatever volume a VM has; no change if it has none.

    Raises:
        TaskFailed, GuestUnreachable: the VM has it still.
    """
    if context.hypervisor.user_disk(guest.name) is None:
        return
    succeeded(guest, guest.run(unmount_script(_ACCOUNT, _PLACE)), doing="unmount the user's disk")
    _detach(context, guest.name)


def settle(context: Context, vm: str) -> None:
    """Remove the overlays of a VM that no session uses, or keep aside what only they have.

    That is what an active session wrote since its last capture, if it ended without one. Of one that is
    read-only nothing is kept.
    """
    for session_id, on in context.volumes.sessions_on(vm):
        with context.store.reading() as tx:
            try:
                session = sessions.get(tx, session_id=session_id)
            except NotFound:  # the state is older than the volumes
                context.volumes.set_aside(session=session_id, vm=on)
                continue
        if session.vm == on and session.state in IN_USE:
            continue
        only_here = session.seen_at and not session.captured and session.mode is not SessionMode.READ_ONLY
        if session.vm == on and only_here:
            _set_aside(context, session)
        else:
            context.volumes.drop_session(session=session_id, vm=on)


def swap(
    context: Context,
    guest: Guest,
    *,
    session: Session,
    name: str,
    once_read: Callable[[], None] = lambda: None,
) -> None:
    """Put what was kept aside in place of a session's volume, whose data go.

    ``once_read`` is called when its form is proven, before anything is let go, and stops the UA. Whatever
    fails or is killed after that: the session has one volume or the other, and it may be unmounted.

    Raises:
        Conflict: the session has no volume.
        NotFound: nothing of that name is kept.
        TaskFailed, ArtifactInvalid: its form is damaged; nothing was let go.
    """
    if not is_open(context, session.id, vm=guest.name):
        raise Conflict(
            f"Session '{session.id}' has no volume, which '{name}' could take the place of",
            hint="set user_data_tier: volume in site.yml, and open the session anew",
            details={"session": session.id, "volume": name},
        )
    context.volumes.require_sound(name)
    once_read()
    let_go(context, guest)
    context.volumes.take_back(name, session=session.id, vm=guest.name)
    mount(context, guest, session.id)
    with context.store.transaction() as tx:
        of, now = {"user": session.user, "ua": session.ua}, context.clock.now()
        with image_change(tx, context, **of, action="image.deploy", now=now) as result:
            result |= {"volume": name, "session": session.id, "vm": guest.name}
    context.progress(f"What was kept aside as volume '{name}' is on VM '{guest.name}'")


def _set_aside(context: Context, session: Session) -> None:
    kept = context.volumes.set_aside(session=session.id, vm=session.vm)
    with context.store.transaction() as tx:
        of, now = {"user": session.user, "ua": session.ua}, context.clock.now()
        with image_change(tx, context, **of, action="image.orphan", now=now) as result:
            result |= {"volume": kept.stem, "session": session.id, "reason": "its session was given up"}
    context.progress(f"What session '{session.id}' wrote is kept aside as volume '{kept.stem}'")


def _detach(context: Context, vm: str) -> None:
    """Take the user's disk away and wait until the guest has let it go."""
    context.hypervisor.detach_user_disk(vm)
    until = context.clock.now() + _LEAVES_WITHIN
    while context.hypervisor.user_disk(vm) is not None:
        if context.clock.now() > until:
            raise TaskFailed(
                f"VM '{vm}' does not let the user's disk go",
                hint=f"vmm vm show {vm}",
                details={"host": vm, "task": "detach the user's disk"},
            )
        context.clock.sleep(_LOOK_S)
