"""Opening and closing a session: reconcile, activate; begin to close, release.

Before it, a VM is selected and claimed: :mod:`vmm_automation.operations.session_claim`.

What happens in the guest in between (user image, UA): :mod:`vmm_automation.operations.session_guest`.
The order is chosen so that a run cut off anywhere is undone (opening) or finished (closing) by the next:
a session's data is captured before anything is removed, and a VM is dirty from the claim on until it is
proven clean.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from vmm_automation.adapters import endpoint as endpoints
from vmm_automation.adapters.disks import free_port, port_is_free
from vmm_automation.errors import Conflict, NotFound, PortTaken
from vmm_automation.model.names import check_name
from vmm_automation.model.session import LIVE, Session, SessionState
from vmm_automation.model.vm import VmCondition, VmState
from vmm_automation.model.watcher import Privilege
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import session_change
from vmm_automation.operations.identity import require_privilege
from vmm_automation.operations.ownership import is_cut_off, run_token
from vmm_automation.operations.session_claim import facts
from vmm_automation.state import sessions

_FORWARD_ATTEMPTS = 5


def reconcile(context: Context, *, check: bool = False) -> dict[str, Any]:
    """Give up sessions whose opening was cut off, and name the running VMs that are to be cleaned."""
    abandoned: list[str] = []
    with context.store.reading() as tx:
        starting = [
            session
            for session in sessions.list_sessions(tx, live_only=True)
            if session.state is SessionState.STARTING and is_cut_off(session.owner)
        ]
    for session in starting:
        abandoned.append(session.id)
        if not check:
            abandon(context, session.id, reason="the run that opened it was cut off")
    dirty = [
        fact.vm.name
        for fact in facts(context)
        if fact.condition is VmCondition.DIRTY and not fact.session and fact.vm.state is VmState.RUNNING
    ]
    return {"changed": bool(abandoned), "abandoned": abandoned, "dirty": dirty}


def activate(context: Context, session_id: str, *, port: int = 0, check: bool = False) -> dict[str, Any]:
    """Forward the UA's endpoint, wait until it answers, and call the session active.

    Raises:
        PortTaken: ``port`` was asked for and is in use.
        Timeout: the endpoint did not answer in time.
    """
    session = find(context, session_id)
    if check or session.state is SessionState.ACTIVE:
        return {"changed": check, "session": session.to_document()}
    definition = context.site.ua(session.ua)
    address, chosen = "", 0
    if definition.endpoints:
        first = definition.endpoints[0]
        chosen = _forward(context, session.vm, wanted=port, guest_port=first.port)
        deadline_s = definition.start_deadline_s
        endpoints.wait_until_healthy(first, port=chosen, clock=context.clock, deadline_s=deadline_s)
        address = endpoints.url(first, port=chosen)
    with context.store.transaction() as tx:
        now = context.clock.now()
        with session_change(tx, context, session_id, action="session.activate", now=now) as result:
            sessions.set_endpoint(tx, session_id=session_id, endpoint=address, port=chosen)
            session = sessions.move_to(
                tx,
                session_id=session_id,
                state=SessionState.ACTIVE,
                expected=frozenset({SessionState.STARTING}),
                now=now,
            )
            result |= {"state": str(session.state), "port": chosen}
    return {"changed": True, "session": session.to_document()}


def require_port(port: int) -> None:
    """Refuse a wanted port that is taken, before anything is begun.

    Raises:
        PortTaken: something listens on 127.0.0.1:port.
    """
    if port and not port_is_free(port):
        raise PortTaken(
            f"Port {port} of 127.0.0.1 is already in use",
            hint="leave --port out, and a free one is chosen",
            details={"port": port},
        )


def abandon(context: Context, session_id: str, *, reason: str) -> dict[str, Any]:
    """Give up a session that could not be opened; its VM stays dirty until it is cleaned."""
    session = find(context, session_id)
    if not session.live:
        return {"changed": False, "session": session.to_document()}
    _drop_forward(context, session)
    with context.store.transaction() as tx:
        now = context.clock.now()
        with session_change(tx, context, session_id, action="session.abandon", now=now) as result:
            session = sessions.move_to(
                tx,
                session_id=session_id,
                state=SessionState.FAILED,
                expected=LIVE,
                now=now,
                reason=reason,
            )
            result |= {"state": str(session.state)}
    return {"changed": True, "session": session.to_document()}


def begin_close(
    context: Context, session_id: str, *, discard: bool = False, check: bool = False
) -> dict[str, Any]:
    """Take a session out of use: no forward, guest running; says what is still to do.

    ``steps`` of the document: ``capture`` (nothing was captured by this session yet), ``release``.

    Raises:
        Conflict: another run closes it, or (not ``discard``) its VM does not run; nothing was changed.
        NotPermitted: neither an operator nor a Watcher with *end*.
    """
    check_name("session", session_id)
    if not discard:
        _require_guest(context, find(context, session_id))
    with context.store.transaction(keep=not check) as tx:
        before = sessions.get(tx, session_id=session_id)
        if not before.live:
            return {"changed": False, "session": before.to_document(), "steps": []}
        now = context.clock.now()
        require_privilege(
            tx, context.identity, session=session_id, privilege=Privilege.END, action="close", now=now
        )
        if before.state is SessionState.CLOSING and before.owner and not is_cut_off(before.owner):
            raise Conflict(
                f"Session '{session_id}' is being closed by another run",
                hint=f"vmm session show {session_id}",
                details={"session": session_id, "owner": before.owner},
            )
        with session_change(tx, context, session_id, action="session.close", now=now) as result:
            session = sessions.move_to(
                tx,
                session_id=session_id,
                state=SessionState.CLOSING,
                expected=LIVE,
                now=now,
                owner=run_token(),
            )
            result |= {"state": str(session.state)}
    used = before.state is not SessionState.STARTING
    steps = ["capture", "release"] if used and not before.generation else ["release"]
    if check:
        return {"changed": True, "session": before.to_document(), "steps": steps}
    _drop_forward(context, session)
    with suppress(NotFound):  # a VM that is gone is for the caller to give up
        context.hypervisor.resume(session.vm)
    return {"changed": True, "session": session.to_document(), "steps": steps}


def release(context: Context, session_id: str, *, check: bool = False) -> dict[str, Any]:
    """End a session that is closing: its grants end, its seat is free."""
    session = find(context, session_id)
    if check or not session.live:
        return {"changed": check and session.live, "session": session.to_document()}
    with context.store.transaction() as tx:
        now = context.clock.now()
        with session_change(tx, context, session_id, action="session.release", now=now) as result:
            session = sessions.move_to(
                tx,
                session_id=session_id,
                state=SessionState.CLOSED,
                expected=frozenset({SessionState.CLOSING}),
                now=now,
            )
            result |= {"state": str(session.state), "generation": session.generation}
    return {"changed": True, "session": session.to_document()}


def find(context: Context, session_id: str) -> Session:
    """One session.

    Raises:
        InvalidName, NotFound: there is no such session.
    """
    check_name("session", session_id)
    with context.store.reading() as tx:
        return sessions.get(tx, session_id=session_id)


def _require_guest(context: Context, session: Session) -> None:
    """The data of a session is in its VM: without a running one there is nothing to capture from."""
    if not session.live:
        return
    try:
        state = context.hypervisor.vm(session.vm).state
    except NotFound as gone:
        raise Conflict(
            f"Cannot close session '{session.id}': its VM '{session.vm}' does not exist any more",
            hint=f"vmm session close {session.id} --discard",
            details={"session": session.id, "vm": session.vm},
        ) from gone
    if state not in {VmState.RUNNING, VmState.PAUSED}:
        raise Conflict(
            f"Cannot close session '{session.id}': its VM '{session.vm}' is {state}",
            hint=f"vmm vm start {session.vm}",
            details={"session": session.id, "vm": session.vm},
        )


def _forward(context: Context, vm: str, *, wanted: int, guest_port: int) -> int:
    for _attempt in range(_FORWARD_ATTEMPTS):
        port = wanted or free_port(taken=frozenset(each.ssh_port for each in context.hypervisor.vms()))
        try:
            context.hypervisor.add_forward(vm, port=port, guest_port=guest_port)
        except PortTaken:
            if wanted:
                raise
            continue
        return port
    raise PortTaken("No free port of 127.0.0.1 could be forwarded", hint="ss -ltn")


def _drop_forward(context: Context, session: Session) -> None:
    if not session.port:
        return
    try:
        if context.hypervisor.vm(session.vm).state in {VmState.RUNNING, VmState.PAUSED}:
            context.hypervisor.remove_forward(session.vm, port=session.port)
    except NotFound:
        return  # the VM is gone, and its forwards with it
