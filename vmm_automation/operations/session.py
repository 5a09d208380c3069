"""Opening and closing a session: activate, touch; begin to close, release.

Before it, a VM is selected and claimed: :mod:`vmm_automation.operations.session_claim`.

What happens in the guest in between (user image, UA): :mod:`vmm_automation.operations.session_guest`.
The order is chosen so that a run cut off anywhere is undone (opening) or finished (closing) by the next:
a session's data is captured before anything is removed, and a VM is dirty from the claim on until it is
proven clean.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Any

from vmm_automation.adapters import endpoint as endpoints
from vmm_automation.adapters.disks import port_is_free
from vmm_automation.errors import Conflict, NotFound, PortTaken
from vmm_automation.model.session import LIVE, Session, SessionState
from vmm_automation.model.watcher import Privilege
from vmm_automation.operations import forwards, second_session
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import session_change
from vmm_automation.operations.follow import IN_USE
from vmm_automation.operations.identity import require_operator, require_privilege
from vmm_automation.operations.ownership import is_given_up, run_token
from vmm_automation.operations.reconcile import is_to_be_closed, observe, require_guest
from vmm_automation.operations.session_abandon import abandon, find
from vmm_automation.operations.session_move_undo import settle
from vmm_automation.state import moves, sessions
from vmm_automation.state.store import Tx
from vmm_automation.trace import point

_IN_HAND = {SessionState.STARTING: "opened", SessionState.CLOSING: "closed"}

__all__ = ["abandon", "activate", "begin_close", "find", "release", "require_port", "touch"]


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
        chosen = forwards.add(context, session.vm, wanted=port, guest_port=first.port)
        point("session.activate.forwarded")
        deadline_s = definition.start_deadline_s
        endpoints.wait_until_healthy(first, port=chosen, clock=context.clock, deadline_s=deadline_s)
        point("session.activate.answered")
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
    point("session.activate.recorded")
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


def touch(context: Context, session_id: str, *, check: bool = False) -> dict[str, Any]:
    """Say that a session is being used: its idle time begins anew.

    Raises:
        InvalidName, NotFound: there is no such session.
        Conflict: it is not active.
    """
    find(context, session_id)
    with context.store.transaction(keep=not check) as tx:
        now = context.clock.now()
        with session_change(tx, context, session_id, action="session.touch", now=now) as result:
            session = sessions.set_seen(tx, session_id=session_id, now=now)
            result |= {"seen_at": session.seen_at}
        if session.state is not SessionState.ACTIVE:
            raise Conflict(
                f"Cannot touch session '{session_id}': it is {session.state}",
                hint=f"vmm session show {session_id}",
                details={"session": session_id, "state": str(session.state)},
            )
    return {"changed": True, "session": session.to_document()}


def begin_close(
    context: Context, session_id: str, *, discard: bool = False, check: bool = False
) -> dict[str, Any]:
    """Take a session out of use: no forward, guest running; says what is still to do.

    ``steps`` of the document: ``capture`` (nothing was captured by this session yet), ``release``.
    ``unsaved`` says that nothing of the session is stored, where it is read-only.

    Raises:
        Conflict: another run opens, moves or closes it, or (not ``discard``) its VM is off; nothing was
            changed.
        NotPermitted: neither an operator nor a Watcher with *end*; to ``discard``, no operator.
    """
    if discard:
        require_operator(context.identity, doing=f"discard the data of session '{session_id}'")
    settle(context, session_id, check=check)
    session = find(context, session_id)
    if not discard:  # what state and VM disagree on is of no matter here: both are brought to one end
        require_guest(session, observe(context, session.vm), doing="close")
    with context.store.transaction(keep=not check) as tx:
        before = sessions.get(tx, session_id=session_id)
        if not before.live:
            return {"changed": False, "session": before.to_document(), "steps": []}
        now = context.clock.now()
        moves.require_none(tx, before)  # begun since: closed now, nothing of it would be captured
        _require_may_close(tx, context, before, now=now)
        _require_no_other_run(context, before, now=now)
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
    unsaved = second_session.unsaved(before)
    told = {"changed": True, "steps": _steps(before, unsaved=unsaved), "unsaved": unsaved}
    if check:
        return {**told, "session": before.to_document()}
    second_session.say(context, unsaved)
    point("session.close.recorded")
    forwards.drop_all(context, session.vm, known=session.port)
    point("session.close.unreachable")
    with suppress(NotFound):  # a VM that is gone is for the caller to give up
        context.hypervisor.resume(session.vm)
    point("session.close.out_of_use")
    return {**told, "session": session.to_document()}


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
    point("session.release.recorded")
    return {"changed": True, "session": session.to_document()}


def _steps(session: Session, *, unsaved: str) -> list[str]:
    """What is still to do where a session was taken out of use."""
    used = session.state in IN_USE or bool(session.seen_at)
    return ["capture", "release"] if used and not unsaved and not session.captured else ["release"]


def _require_may_close(tx: Tx, context: Context, session: Session, *, now: datetime) -> None:
    """A person needs the privilege; what a limit of the site ends, or a run began, is decided already."""
    if not is_to_be_closed(tx, context, session):
        require_privilege(
            tx, context.identity, session=session.id, privilege=Privilege.END, action="close", now=now
        )


def _require_no_other_run(context: Context, session: Session, *, now: datetime) -> None:
    doing = _IN_HAND.get(session.state)
    deadline_s = context.site.policies.claim_deadline_s
    if doing is None or is_given_up(session.owner, since=session.changed_at, now=now, deadline_s=deadline_s):
        return
    raise Conflict(
        f"Session '{session.id}' is being {doing} by another run",
        hint=f"vmm session show {session.id}",
        details={"session": session.id, "owner": session.owner},
    )
