"""What a session does inside its guest: bring the user's data and the UA up, save the data, clean up.

The order is what keeps data safe: the UA is stopped before its data is captured, the generation is recorded
before anything is removed, and a VM counts as clean only after the guest was read back.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from vmm_automation.adapters.private_directory import private_directory
from vmm_automation.errors import Conflict
from vmm_automation.model.image import Generation
from vmm_automation.model.session import Session, SessionState
from vmm_automation.model.ua import UaDefinition
from vmm_automation.operations import ua, user_image, write_back
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import image_change, session_change, vm_change
from vmm_automation.operations.session import begin_close, find, release
from vmm_automation.ports import Guest
from vmm_automation.state import generations, sessions, vms
from vmm_automation.trace import point

_IN_USE = frozenset({SessionState.STARTING, SessionState.ACTIVE, SessionState.SUSPENDED})


def bring_up(context: Context, guest: Guest, session_id: str) -> dict[str, Any]:
    """Deploy the newest generation of the session's user, if there is one, and start the UA.

    Raises:
        Conflict: the generation's data version is not the UA version's, or the session is not starting.
        ArtifactInvalid: the stored generation is damaged; nothing was sent.
        TaskFailed, Timeout, DiskFull, GuestUnreachable: the guest could not be brought up.
    """
    session = _on(context, guest, session_id)
    if session.state is not SessionState.STARTING:
        raise _wrong_state(session, wanted="starting")
    definition = context.site.ua(session.ua)
    with context.store.reading() as tx:
        newest = generations.newest(tx, user=session.user, ua=session.ua)
    if newest:
        _deploy(context, guest, session=session, generation=newest, definition=definition)
    if definition.command:
        ua.start(guest, definition=definition, version=session.version)
    return {"changed": True, "deployed": newest.number if newest else 0}


def save(context: Context, guest: Guest, session_id: str, *, check: bool = False) -> dict[str, Any]:
    """Stop the UA of a session that is closing and capture the next generation of its user's data.

    Raises:
        Conflict: a newer generation was written meanwhile; nothing is overwritten, the save is kept aside.
    """
    session = _on(context, guest, session_id)
    if session.state is not SessionState.CLOSING:
        raise _wrong_state(session, wanted="closing")
    definition = context.site.ua(session.ua)
    if check:
        return {"changed": True, "actions": list(user_image.plan_capture(guest, ua=definition).actions)}
    if definition.command:
        ua.stop(guest, ua=definition.id)
    captured = _capture(context, guest, session=session, definition=definition, closing=True)
    return {"changed": True, **captured}


def end(context: Context, guest: Guest, session_id: str, *, check: bool = False) -> dict[str, Any]:
    """All of closing in one step, for sessions that nobody waits for: overdue, or left half closed.

    Raises:
        Conflict: another run closes it, or its VM does not run.
        TaskFailed, DiskFull, GuestUnreachable: see :func:`save` and :func:`clean`; it can be repeated.
    """
    closing = begin_close(context, session_id, check=check)
    if not check and "capture" in closing["steps"]:
        save(context, guest, session_id)
    if not check and "release" in closing["steps"]:
        clean(context, guest)
        release(context, session_id)
    session = find(context, session_id)
    return {"changed": closing["changed"], "closed": {session_id: {"generation": session.generation}}}


def restart(context: Context, guest: Guest, session_id: str, *, check: bool = False) -> dict[str, Any]:
    """Start the UA of an active session again, on a VM that was started anew; the session can then be used.

    Raises:
        TaskFailed, Timeout, GuestUnreachable: the UA does not run; the session keeps saying so.
    """
    session = _on(context, guest, session_id)
    if session.state is not SessionState.ACTIVE or not session.reason or check:
        return {"changed": bool(check and session.reason)}
    definition = context.site.ua(session.ua)
    if definition.command:
        ua.start(guest, definition=definition, version=session.version)
    with context.store.transaction() as tx:
        now = context.clock.now()
        with session_change(tx, context, session_id, action="session.restart", now=now) as result:
            sessions.set_reason(tx, session_id=session_id, reason="")
            result |= {"status": "ok"}
    return {"changed": True}


def capture(context: Context, guest: Guest, session_id: str, *, check: bool = False) -> dict[str, Any]:
    """Capture the next generation while the session goes on; its consistency may then be ``live``."""
    session = _on(context, guest, session_id)
    if session.state is not SessionState.ACTIVE:
        raise _wrong_state(session, wanted="active")
    definition = context.site.ua(session.ua)
    if check:
        return {"changed": True, "actions": list(user_image.plan_capture(guest, ua=definition).actions)}
    captured = _capture(context, guest, session=session, definition=definition, closing=False)
    return {"changed": True, **captured}


def restore(
    context: Context, guest: Guest, session_id: str, *, number: int = 0, check: bool = False
) -> dict[str, Any]:
    """Put a generation (0: the newest) in place of the data of an active session; the UA is restarted.

    Raises:
        NotFound: there is no such generation.
    """
    session = _on(context, guest, session_id)
    if session.state is not SessionState.ACTIVE:
        raise _wrong_state(session, wanted="active")
    definition = context.site.ua(session.ua)
    with context.store.reading() as tx:
        wanted = generations.get(tx, user=session.user, ua=session.ua, number=number or None)
    if check:
        return {"changed": True, "deployed": wanted.number}
    if definition.command:
        ua.stop(guest, ua=definition.id)
    _deploy(context, guest, session=session, generation=wanted, definition=definition)
    if definition.command:
        ua.start(guest, definition=definition, version=session.version)
    return {"changed": True, "deployed": wanted.number}


def clean(context: Context, guest: Guest, *, check: bool = False) -> dict[str, Any]:
    """Remove all of a user's data from a guest, prove that it is gone, and call the VM clean.

    Raises:
        Conflict: a session is using the VM.
        TaskFailed: something of the user's could not be removed; the VM stays dirty.
    """
    with context.store.reading() as tx:
        live = sessions.live_on_vm(tx, vm=guest.name)
    if live and live.state in _IN_USE:
        raise Conflict(
            f"Cannot clean VM '{guest.name}': session '{live.id}' is {live.state} on it",
            hint=f"vmm session close {live.id}",
            details={"vm": guest.name, "session": live.id},
        )
    if check:
        plan = user_image.plan_clean(guest)
        return {"changed": plan.changed, "actions": list(plan.actions)}
    for name, there in ua.read_status(guest).uas.items():
        if there.running:
            ua.stop(guest, ua=name)
    user_image.clean(guest)
    point("image.clean.cleaned")
    with context.store.transaction() as tx:
        now = context.clock.now()
        with vm_change(tx, context, guest.name, action="vm.clean", now=now) as result:
            vms.mark_clean(tx, vm=guest.name, reason="cleaned and read back", now=now)
            result |= {"status": "ok"}
    point("image.clean.recorded")
    return {"changed": True, "cleaned": guest.name}


def _deploy(
    context: Context, guest: Guest, *, session: Session, generation: Generation, definition: UaDefinition
) -> None:
    version = definition.version(session.version)
    if generation.data_version != version.data_version:
        raise Conflict(
            f"Cannot deploy generation {generation.number} of user '{session.user}' to UA '{definition.id}' "
            f"{version.version}: its data version is {generation.data_version}, not {version.data_version}",
            hint=f"vmm session open … --version {generation.ua_version}",
            details={"generation": generation.number, "version": version.version},
        )
    with _spool(context) as spool:
        tar, manifest = context.images.read(generation.archive, into=spool)
        point("image.deploy.read")
        user_image.deploy(guest, tar=tar, manifest=manifest, ua=definition, session=session.id)
    point("image.deploy.unpacked")
    of, now = {"user": session.user, "ua": session.ua}, context.clock.now()
    with (
        context.store.transaction() as tx,
        image_change(tx, context, **of, action="image.deploy", now=now) as result,
    ):
        result |= {"number": generation.number, "session": session.id, "vm": guest.name}
    point("image.deploy.recorded")
    context.progress(f"Generation {generation.number} of user '{session.user}' is on VM '{guest.name}'")


def _capture(
    context: Context, guest: Guest, *, session: Session, definition: UaDefinition, closing: bool
) -> dict[str, Any]:
    with context.store.reading() as tx:
        newest = generations.newest(tx, user=session.user, ua=session.ua)
    parent = newest.number if newest else 0
    with _spool(context) as spool:
        manifest, archive = user_image.capture(
            guest,
            user=session.user,
            ua=definition,
            version=session.version,
            session=session.id,
            fence=session.fence,
            parent=parent,
            number=parent + 1,
            spool=spool,
            images=context.images,
            clock=context.clock,
        )
    point("image.capture.stored")
    generation = write_back.record(context, manifest=manifest, archive=archive, closing=closing)
    if generation.state == "orphaned":
        context.progress(
            f"The save of session '{session.id}' is kept aside as '{generation.archive}', "
            f"generation {parent} stays the newest: {generation.reason}"
        )
        return {"generation": None, "orphaned": generation.to_document()}
    context.progress(
        f"Generation {generation.number} of user '{session.user}' is stored: "
        f"{generation.file_count} paths, {generation.size} bytes, {manifest.consistency}"
    )
    return {"generation": generation.to_document()}


def _spool(context: Context) -> AbstractContextManager[Path]:
    return private_directory(context.places.runs, prefix="image-")


def _on(context: Context, guest: Guest, session_id: str) -> Session:
    session = find(context, session_id)
    if session.vm != guest.name:
        raise Conflict(
            f"Session '{session_id}' is on VM '{session.vm}', not on '{guest.name}'",
            hint=f"vmm session show {session_id}",
            details={"session": session_id, "vm": session.vm},
        )
    return session


def _wrong_state(session: Session, *, wanted: str) -> Conflict:
    return Conflict(
        f"Session '{session.id}' is {session.state}, not {wanted}",
        hint=f"vmm session show {session.id}",
        details={"session": session.id, "state": str(session.state)},
    )
