"""Moving a session: to another terminal, and to another VM where the present one does not fit any more.

The session stays on its VM until data and UA are up on the other one and answer; one write then has it
there, with a newer fence. Until that write any failure or crash is undone (``session_move_undo``), after it
the session has moved and only the old VM is still to be cleaned. Data is captured before, with its UA stopped
and its forward gone, so nothing is lost between the two; Watchers and the suspend right are the session's.
"""

from __future__ import annotations

from typing import Any

from vmm_automation.adapters import endpoint as endpoints
from vmm_automation.errors import Conflict, NoVmFits, VmmError
from vmm_automation.model.names import check_name
from vmm_automation.model.pool import Warmth
from vmm_automation.model.session import Session, SessionState
from vmm_automation.model.terminal import TerminalProfile
from vmm_automation.model.times import to_text
from vmm_automation.operations import clean_snapshot, forwards, seat_lookup, second_session
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import session_change
from vmm_automation.operations.identity import require_operator
from vmm_automation.operations.ownership import run_token
from vmm_automation.operations.reconcile import reconcile_session, require_guest
from vmm_automation.operations.session_abandon import find
from vmm_automation.operations.session_move_selection import Wish, select_for_move
from vmm_automation.operations.session_move_undo import settle
from vmm_automation.operations.session_move_undo import undo as take_back
from vmm_automation.selection.outcome import Selection
from vmm_automation.state import moves, sessions, vms
from vmm_automation.state.moves import Move
from vmm_automation.state.store import Tx
from vmm_automation.trace import point

__all__ = ["Wish", "begin", "require_move", "switch", "undo"]

_STEPS = ("capture", "deploy", "switch")


def begin(context: Context, session_id: str, wish: Wish, *, check: bool = False) -> dict[str, Any]:
    """Select for the new terminal: keep the VM if it fits, else hold another and take the session out of use.

    ``steps`` of the document is empty where nothing is left to do; ``to`` is where the session is going.

    Raises:
        NotFound, TerminalInvalid: the wish names what does not exist or is wrong.
        NotPermitted: the site lists its operators, and this is none of them.
        Conflict: the session is not active, cannot be used now, is being moved by another run, or would
            have to leave its VM and is no writer.
        NoVmFits: neither its VM nor a free one fits; nothing was changed.
    """
    require_operator(context.identity, doing=f"move session '{check_name('session', session_id)}'")
    session = _usable(context, session_id, check=check)
    terminal = context.site.terminal(wish.terminal)
    selection = select_for_move(context, session, terminal, wish)
    fitting = [choice.vm for choice in selection.ranked]
    stays = session.vm in fitting
    told = {"from": session.vm, "selection": selection.to_document(), "steps": []}
    if stays and _is_as_wished(session, terminal):
        return {"changed": False, "session": session.to_document(), "to": session.vm, **told}
    if not stays:
        second_session.require_movable(session, to=fitting[0])
    if check:
        goes_to = session.vm if stays else fitting[0]
        return {"changed": True, "session": session.to_document(), "to": goes_to, **told}
    if stays:
        return {**told, **_stay(context, session, terminal, selection)}
    return {**told, **_leave(context, session, terminal, selection)}


def switch(context: Context, session_id: str) -> dict[str, Any]:
    """Forward to the new VM, wait until the UA answers there, and have the session there from now on.

    Raises:
        Conflict: the move was undone by another run.
        PortTaken, Timeout: it cannot be reached there; nothing was switched.
    """
    move, session = require_move(context, session_id), find(context, session_id)
    definition = context.site.ua(session.ua)
    address, port = "", 0
    if definition.endpoints:
        first = definition.endpoints[0]
        port = forwards.add_again(context, move.vm, port=session.port, guest_port=first.port)
        point("session.move.forwarded")
        deadline_s = definition.start_deadline_s
        endpoints.wait_until_healthy(first, port=port, clock=context.clock, deadline_s=deadline_s)
        point("session.move.answered")
        address = endpoints.url(first, port=port)
    with context.store.transaction() as tx:
        now = context.clock.now()
        with session_change(tx, context, session_id, action="session.move", now=now) as result:
            if not moves.arrive(tx, move, endpoint=address, port=port):
                raise _undone_meanwhile(session_id)
            vms.mark_dirty(tx, vm=session.vm, reason=f"session {session_id} moved away", now=now)
            moved = sessions.move_to(
                tx,
                session_id=session_id,
                state=SessionState.ACTIVE,
                expected=frozenset({SessionState.STARTING}),
                now=now,
            )
            result |= {"vm": moved.vm, "from": session.vm, "terminal": moved.terminal, "fence": moved.fence}
    point("session.move.switched")
    context.progress(f"Session {session_id} is on VM '{moved.vm}' now, for terminal '{moved.terminal}'")
    return {"changed": True, "session": moved.to_document()}


def undo(context: Context, session_id: str, *, reason: str) -> dict[str, Any]:
    """Have the session on its old VM again, reachable; its UA is still to be started there by the caller."""
    done = take_back(context, session_id, reason=reason)
    if done["changed"]:
        reconcile_session(context, session_id)
    return {**done, "session": find(context, session_id).to_document()}


def require_move(context: Context, session_id: str) -> Move:
    """The move that is under way.

    Raises:
        Conflict: there is none: another run undid it.
    """
    with context.store.reading() as tx:
        move = moves.get(tx, session_id=session_id)
    if move is None:
        raise _undone_meanwhile(session_id)
    return move


def _usable(context: Context, session_id: str, *, check: bool) -> Session:
    settle(context, session_id, check=check)
    seen = reconcile_session(context, session_id, check=check)
    session = find(context, session_id)
    require_guest(session, seen, doing="move")
    if session.state is SessionState.ACTIVE and not session.reason:
        return session
    hints = {
        SessionState.SUSPENDED: f"vmm session resume {session_id}",
        SessionState.CLOSED: "vmm session list",
        SessionState.FAILED: "vmm session list",
        SessionState.ACTIVE: "vmm reconcile",
    }
    raise Conflict(
        f"Cannot move session '{session_id}': "
        + (session.reason if session.state is SessionState.ACTIVE else f"it is {session.state}"),
        hint=hints.get(session.state, f"vmm session show {session_id}"),
        details={"session": session_id, "state": str(session.state)},
    )


def _is_as_wished(session: Session, terminal: TerminalProfile) -> bool:
    asked = session.explanation.get("asked", {}).get("terminal")
    return session.terminal == terminal.name and asked == terminal.to_document()


def _explained(context: Context, session: Session, selection: Selection, *, to: str) -> dict[str, Any]:
    """The selection as stored with the session from now on, with where it came from."""
    moved = {
        "from": session.vm,
        "to": to,
        "terminal": session.terminal,
        "at": to_text(context.clock.now()),
    }
    return {**seat_lookup.explanation(context, selection, chosen=to), "moved": moved}


def _stay(
    context: Context, session: Session, terminal: TerminalProfile, selection: Selection
) -> dict[str, Any]:
    explanation = _explained(context, session, selection, to=session.vm)
    with context.store.transaction() as tx:
        now = context.clock.now()
        with session_change(tx, context, session.id, action="session.move", now=now) as result:
            _require_where_it_was(tx, session)
            if not moves.stay(tx, session_id=session.id, terminal=terminal.name, explanation=explanation):
                raise _changed_meanwhile(session)
            result |= {"vm": session.vm, "from": session.vm, "terminal": terminal.name}
        session = sessions.get(tx, session_id=session.id)
    context.progress(f"Session {session.id} stays on VM '{session.vm}', for terminal '{terminal.name}'")
    return {"changed": True, "session": session.to_document(), "to": session.vm}


def _leave(
    context: Context, session: Session, terminal: TerminalProfile, selection: Selection
) -> dict[str, Any]:
    for choice in selection.ranked:
        explanation = _explained(context, session, selection, to=choice.vm)
        move = _hold(context, session, vm=choice.vm, terminal=terminal.name, explanation=explanation)
        if move is None:
            continue
        point("session.move.recorded")
        context.progress(f"Session {session.id} moves from VM '{session.vm}' to {choice.sentence()}")
        try:
            forwards.drop_all(context, session.vm, known=session.port)
            point("session.move.unreachable")
            ready = choice.warmth is Warmth.READY
            snapshot = clean_snapshot.ensure(context, move.vm) if ready else None
        except VmmError as failure:
            take_back(context, session.id, reason=failure.message)
            raise
        steps = list(_STEPS)
        told = {"to": move.vm, "steps": steps, "snapshot": snapshot, "warmth": str(choice.warmth)}
        return {"changed": True, **told, "moving": session.id}
    raise NoVmFits(
        f"Every VM that session '{session.id}' could move to was taken meanwhile",
        hint="vmm session list",
        details=selection.to_document(),
    )


def _hold(
    context: Context, session: Session, *, vm: str, terminal: str, explanation: dict[str, Any]
) -> Move | None:
    with context.store.transaction() as tx:
        now = context.clock.now()
        with session_change(tx, context, session.id, action="session.move_begin", now=now) as result:
            _require_where_it_was(tx, session)
            move = moves.hold(
                tx, session_id=session.id, vm=vm, terminal=terminal, explanation=explanation, now=now
            )
            result |= {"vm": vm, "from": session.vm, "status": "held" if move else "taken"}
            if move:
                sessions.move_to(
                    tx,
                    session_id=session.id,
                    state=SessionState.STARTING,
                    expected=frozenset({SessionState.ACTIVE}),
                    now=now,
                    owner=run_token(),
                )
    return move


def _undone_meanwhile(session_id: str) -> Conflict:
    return Conflict(
        f"Session '{session_id}' is not moving any more: another run undid it",
        hint=f"vmm session show {session_id}",
        details={"session": session_id},
    )


def _require_where_it_was(tx: Tx, session: Session) -> None:
    """Each move gives a session a newer fence."""
    if sessions.get(tx, session_id=session.id).fence != session.fence:
        raise _changed_meanwhile(session)


def _changed_meanwhile(session: Session) -> Conflict:
    return Conflict(
        f"Cannot move session '{session.id}': another run changed it meanwhile",
        hint=f"vmm session show {session.id}",
        details={"session": session.id},
    )
