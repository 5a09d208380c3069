"""What a session does inside its guest: bring the user's data and the UA up, save the data, restore it.

The order is what keeps data safe: the UA is stopped before its data is captured, the generation is recorded
before anything is removed; cleaning the VM is :mod:`vmm_automation.operations.cleaning`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from vmm_automation.errors import Conflict, VmmError
from vmm_automation.model.session import Session, SessionState
from vmm_automation.model.ua import UaDefinition
from vmm_automation.operations import second_session, ua, user_image, user_volume, vm_lock, volume_upkeep
from vmm_automation.operations.cleaning import clean
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import session_change
from vmm_automation.operations.identity import require_operator
from vmm_automation.operations.image_due import looked
from vmm_automation.operations.image_transfer import bring_in, capture_from, deploy_into
from vmm_automation.operations.session import begin_close, find, release
from vmm_automation.operations.session_move import require_move
from vmm_automation.operations.user_image_hooks import run_hooks
from vmm_automation.ports import Guest
from vmm_automation.state import generations, sessions
from vmm_automation.trace import point

_REPLACING = "its data are being replaced, its UA is stopped"


def bring_up(context: Context, guest: Guest, session_id: str) -> dict[str, Any]:
    """Deploy the newest generation of the session's user, if there is one, and start the UA.

    Raises:
        Conflict: the generation's data version is not the UA version's and nothing converts it, or the
            session is not starting.
        ArtifactInvalid: the stored generation is damaged; nothing was sent.
        TaskFailed, Timeout, DiskFull, GuestUnreachable: the guest could not be brought up.
    """
    with vm_lock.held(context, guest.name):  # who gives the session up meanwhile cleans the VM after this
        session = _on(context, guest, session_id)
        if session.state is not SessionState.STARTING:
            raise _wrong_state(session, wanted="starting")
        definition = context.site.ua(session.ua)
        with context.store.reading() as tx:
            newest = generations.newest(tx, user=session.user, ua=session.ua)
        bring_in(context, guest, session=session, generation=newest, definition=definition)
        if definition.has_service:
            ua.start(guest, definition=definition, version=session.version)
    return {"changed": True, "deployed": newest.number if newest else 0}


def save(context: Context, guest: Guest, session_id: str, *, check: bool = False) -> dict[str, Any]:
    """Stop the UA of a session that is closing and capture the next generation of its user's data.

    Raises:
        Conflict: a newer generation was written meanwhile; nothing is overwritten, the save is kept aside. Or
            the session is read-only.
    """
    session = _on(context, guest, session_id)
    if session.state is not SessionState.CLOSING:
        raise _wrong_state(session, wanted="closing")
    second_session.require_stored(session, doing="save")
    definition = context.site.ua(session.ua)
    if check:
        return {"changed": True, "actions": list(user_image.plan_capture(guest, ua=definition).actions)}
    with user_volume.undisturbed(context, guest, session.id):
        _stop_for_capture(context, guest, definition)
        captured = capture_from(context, guest, session=session, definition=definition, closing=True)
        _keep_volume(context, guest, session, captured)
    return {"changed": True, **captured}


def hand_over(context: Context, guest: Guest, session_id: str) -> dict[str, Any]:
    """Stop the UA of a session that is moving on its old VM, and capture its user's data for the new one.

    Raises:
        Conflict: the move was undone by another run, or the data is no generation: it is kept aside.
        TaskFailed, DiskFull, GuestUnreachable: nothing was captured; the data is where it was.
    """
    session = _on(context, guest, session_id)
    require_move(context, session_id)
    definition = context.site.ua(session.ua)
    with user_volume.undisturbed(context, guest, session.id):
        _stop_for_capture(context, guest, definition)
        captured = capture_from(context, guest, session=session, definition=definition)
        _keep_volume(context, guest, session, captured)
    if captured["generation"] is None:
        raise Conflict(
            f"Cannot move session '{session_id}': its data is kept aside, {captured['orphaned']['reason']}",
            hint=f"vmm image list --orphaned --user {session.user}",
            details={"session": session_id, "archive": captured["orphaned"]["archive"]},
        )
    point("session.move.captured")
    return {"changed": True, **captured}


def take_over(context: Context, guest: Guest, session_id: str) -> dict[str, Any]:
    """Deploy a moving session's data to its new VM and start the UA there; the session is not there yet.

    Raises:
        Conflict: the move was undone by another run.
        ArtifactInvalid, TaskFailed, Timeout, DiskFull, GuestUnreachable: the new VM could not be brought up.
    """
    with vm_lock.held(context, guest.name):  # who undoes the move meanwhile cleans the VM after this
        session, move = find(context, session_id), require_move(context, session_id)
        if move.vm != guest.name:
            raise Conflict(
                f"Session '{session_id}' moves to VM '{move.vm}', not to '{guest.name}'",
                hint=f"vmm session show {session_id}",
                details={"session": session_id, "vm": move.vm},
            )
        definition = context.site.ua(session.ua)
        with context.store.reading() as tx:
            newest = generations.get(tx, user=session.user, ua=session.ua)
        bring_in(context, guest, session=session, generation=newest, definition=definition)
        if definition.has_service:
            ua.start(guest, definition=definition, version=session.version)
    return {"changed": True, "deployed": newest.number}


def end(context: Context, guest: Guest, session_id: str, *, check: bool = False) -> dict[str, Any]:
    """All of closing in one step, for sessions that nobody waits for: overdue, or left half closed.

    Raises:
        Conflict: another run closes it, or its VM does not run.
        TaskFailed, DiskFull, GuestUnreachable: see :func:`save` and ``cleaning``; it can be repeated.
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
    with vm_lock.held(context, guest.name):
        session = _on(context, guest, session_id)
        if session.state is not SessionState.ACTIVE or not session.reason or check:
            return {"changed": bool(check and session.reason)}
        _start_again(context, guest, session)
        _say_of(context, session_id, reason="", action="session.restart")
    return {"changed": True}


def capture(
    context: Context, guest: Guest, session_id: str, *, changed_only: bool = False, check: bool = False
) -> dict[str, Any]:
    """Capture the next generation while the session goes on: ``frozen``, or ``live`` if that cannot be.

    With ``changed_only``, data that are those of the newest generation are not recorded again.

    Raises:
        TaskFailed: the UA's hook failed, or the guest could not be read; nothing is recorded.
        Conflict: the session is not active, or is read-only.
    """
    session = _on(context, guest, session_id)
    if session.state is not SessionState.ACTIVE:
        raise _wrong_state(session, wanted="active")
    second_session.require_stored(session, doing="capture")
    definition = context.site.ua(session.ua)
    if check:  # not whether anything has changed: that would take making the user's processes stand still
        plan = {"actions": list(user_image.plan_capture(guest, ua=definition).actions)}
        return {"changed": True, **({"captured": {session_id: plan}} if changed_only else plan)}
    with user_volume.undisturbed(context, guest, session.id):
        run_hooks(guest, ua=definition, names=("dump",))
        captured = capture_from(
            context, guest, session=session, definition=definition, changed_only=changed_only
        )
    if changed_only:
        if not captured.get("generation"):  # nothing has changed, or it was kept aside
            looked(context, session_id)
        return {"changed": bool(captured), "captured": {session_id: captured} if captured else {}}
    return {"changed": True, **captured}


def restore(
    context: Context, guest: Guest, session_id: str, *, number: int = 0, orphan: str = "", check: bool = False
) -> dict[str, Any]:
    """Put a generation (0: the newest) in place of the data of an active session; the UA is restarted.

    ``orphan`` is a volume that was kept aside, instead.

    Raises:
        NotFound: there is no such generation.
        Conflict: ``orphan`` was written by another data version, or the session has no volume, or is
            read-only, so that its end would lose it.
        NotPermitted: the site lists its operators, and this is none of them.
    """
    require_operator(context.identity, doing=f"deploy a user image for session '{session_id}'")
    with vm_lock.held(context, guest.name):
        session = _on(context, guest, session_id)
        if session.state is not SessionState.ACTIVE:
            raise _wrong_state(session, wanted="active")
        replace, deployed = _replacement(context, guest, session, number=number, orphan=orphan)
        if check:
            return {"changed": True, **deployed}
        user_volume.mount(context, guest, session.id)
        try:
            replace(once_read=partial(_stop_for_restore, context, guest, session))
        except VmmError:
            with suppress(VmmError):  # on the data of before; where that fails, the session's reason says so
                _go_on(context, guest, session)
            raise
        _go_on(context, guest, session)
    return {"changed": True, **deployed}


def _replacement(
    context: Context, guest: Guest, session: Session, *, number: int, orphan: str
) -> tuple[Callable[..., None], dict[str, Any]]:
    """What puts the wanted data in place of the present ones, and what the result says of them."""
    definition = context.site.ua(session.ua)
    if orphan:
        second_session.require_stored(session, doing=f"put volume '{orphan}' into")
        volume_upkeep.require_aside(context, orphan, session=session, definition=definition)
        swap = partial(user_volume.swap, context, guest, session=session, name=orphan)
        return swap, {"deployed": 0, "orphan": orphan}
    with context.store.reading() as tx:
        wanted = generations.get(tx, user=session.user, ua=session.ua, number=number or None)
    deploy = partial(deploy_into, context, guest, session=session, generation=wanted, definition=definition)
    return deploy, {"deployed": wanted.number}


def _stop_for_restore(context: Context, guest: Guest, session: Session) -> None:
    """Noted first: should this run be killed, reconciling mounts the volume and starts the UA again."""
    serves = bool(context.site.ua(session.ua).command)
    if serves or user_volume.is_open(context, session.id, vm=guest.name):
        _say_of(context, session.id, reason=_REPLACING, action="session.replace")
    if serves:
        ua.stop(guest, ua=session.ua)


def _go_on(context: Context, guest: Guest, session: Session) -> None:
    if find(context, session.id).reason == _REPLACING:
        _start_again(context, guest, session)
        _say_of(context, session.id, reason="", action="session.go_on")


def _start_again(context: Context, guest: Guest, session: Session) -> None:
    user_volume.mount(context, guest, session.id)  # first: the UA would write beside it
    definition = context.site.ua(session.ua)
    if definition.has_service:
        ua.start(guest, definition=definition, version=session.version)


def _say_of(context: Context, session_id: str, *, reason: str, action: str) -> None:
    """Set the reason for which an active session cannot be used, or take it away."""
    with context.store.transaction() as tx:
        now = context.clock.now()
        with session_change(tx, context, session_id, action=action, now=now) as result:
            sessions.set_reason(tx, session_id=session_id, reason=reason)
            result |= {"status": "ok"}


def _stop_for_capture(context: Context, guest: Guest, definition: UaDefinition) -> None:
    if not run_hooks(guest, ua=definition, names=("dump", "stop")):
        context.progress(f"UA '{definition.id}' does not run any more: its hooks are passed over")
    if definition.has_service:
        ua.stop(guest, ua=definition.id)


def _keep_volume(context: Context, guest: Guest, session: Session, captured: dict[str, Any]) -> None:
    if generation := captured["generation"]:  # and not kept aside
        user_volume.keep(context, guest, session=session, number=generation["number"])


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
