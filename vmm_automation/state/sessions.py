"""Sessions: the claim of a VM's seat, and the steps of a session's life.

Two rules are unique indexes of the schema, so that no order of events can break them: at most one live
session per VM, and at most one per user and UA that writes the user's data. Which one that is, or whether
there may be another session at all, is decided by the write that claims the seat.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from vmm_automation.errors import Conflict
from vmm_automation.model.policies import SecondSession
from vmm_automation.model.session import TRANSITIONS, Session, SessionState
from vmm_automation.model.times import to_text
from vmm_automation.model.vm import VmCondition
from vmm_automation.state import grants, holds, moves, vms
from vmm_automation.state.session_rows import (
    LIVE_SQL,
    get,
    holders,
    last_vm,
    list_sessions,
    live_of_user,
    live_on_vm,
    require_live,
)
from vmm_automation.state.store import Snapshot, Tx

__all__ = [
    "SeatTaken",
    "claim",
    "get",
    "holders",
    "last_vm",
    "list_sessions",
    "live_of_user",
    "live_on_vm",
    "move_to",
    "obstacle",
    "require_live",
    "set_deployed",
    "set_endpoint",
    "set_generation",
    "set_reason",
    "set_seen",
]

_OWN = f"user_name = :user AND ua = :ua AND {LIVE_SQL}"
_CLAIM = f"""
    INSERT INTO sessions (id, user_name, ua, version, vm, terminal, state, fence, created_at, changed_at,
                          owner, explanation, mode)
    SELECT :id, :user, :ua, :version, vm, :terminal, 'starting', :fence, :at, :at, :owner, :explanation,
           CASE WHEN EXISTS (SELECT 1 FROM sessions WHERE {_OWN} AND mode = 'writer') THEN :second
           ELSE 'writer' END
    FROM vm_conditions
    WHERE vm = :vm AND condition = 'clean' AND {holds.NONE_SQL}
      AND NOT EXISTS (SELECT 1 FROM sessions WHERE vm = :vm AND {LIVE_SQL})
      AND (:second <> 'exclusive' OR NOT EXISTS (SELECT 1 FROM sessions WHERE {_OWN}))
      AND (:user_limit = 0
           OR (SELECT COUNT(*) FROM sessions WHERE user_name = :user AND {LIVE_SQL}) < :user_limit)
    ON CONFLICT DO NOTHING
"""  # noqa: S608 - put together from constants


class SeatTaken(Conflict):
    """This VM cannot be claimed now, another one may: its seat is held, or it is not clean."""


def claim(
    tx: Tx,
    *,
    session_id: str,
    user: str,
    ua: str,
    version: str,
    vm: str,
    terminal: str,
    explanation: dict[str, Any],
    owner: str,
    now: datetime,
    user_limit: int = 0,
    second: SecondSession = SecondSession.EXCLUSIVE,
) -> Session:
    """Take the seat of a VM for a new session, in one conditional write; its fence is newer than any before.

    ``user_limit`` is how many live sessions the user may have, this one included; 0 for any number;
    ``second`` what it is if the user has one of this UA that writes.

    Raises:
        SeatTaken: another session holds the VM, the VM is not clean or is worked on; the next VM may be
            tried in the same transaction.
        Conflict: the user has a live session of this UA (*exclusive*), or as many sessions as allowed, or the
            id is in use.
    """
    fence = vms.next_fence(tx)
    claimed = tx.execute(
        _CLAIM,
        id=session_id,
        user=user,
        ua=ua,
        version=version,
        vm=vm,
        terminal=terminal,
        fence=fence,
        at=to_text(now),
        owner=owner,
        explanation=json.dumps(explanation, sort_keys=True),
        user_limit=user_limit,
        second=str(second),
    )
    if not claimed:
        against = obstacle(tx, user=user, ua=ua, user_limit=user_limit, second=second)
        raise against or _no_seat(tx, vm=vm, now=now) or _id_in_use(session_id)
    tx.execute("UPDATE vm_conditions SET fence = :fence WHERE vm = :vm", fence=fence, vm=vm)
    return get(tx, session_id=session_id)


def obstacle(
    tx: Snapshot,
    *,
    user: str,
    ua: str,
    user_limit: int = 0,
    second: SecondSession = SecondSession.EXCLUSIVE,
) -> Conflict | None:
    """What forbids a user another session of a UA, whichever VM it were on."""
    own = live_of_user(tx, user=user, ua=ua)
    if own and second is SecondSession.EXCLUSIVE:
        return Conflict(
            f"Cannot open a session of UA '{ua}' for user '{user}': session '{own.id}' is {own.state}",
            hint=f"vmm session close {own.id}",
            details={"session": own.id, "vm": own.vm, "state": str(own.state)},
        )
    held = [session for session in list_sessions(tx, live_only=True) if session.user == user]
    if user_limit and len(held) >= user_limit:
        return Conflict(
            f"Cannot open another session for user '{user}': {len(held)} are open, {user_limit} allowed",
            hint=f"vmm session close {held[0].id}",
            details={"user": user, "limit": user_limit, "sessions": [session.id for session in held]},
        )
    return None


def _id_in_use(session_id: str) -> Conflict:
    return Conflict(
        f"Cannot open session '{session_id}': the id is in use",
        hint=f"vmm session show {session_id}",
        details={"session": session_id},
    )


def _no_seat(tx: Tx, *, vm: str, now: datetime) -> SeatTaken | None:
    holding = live_on_vm(tx, vm=vm)
    if holding:
        return SeatTaken(
            f"Cannot claim VM '{vm}': session '{holding.id}' holds it",
            hint=f"vmm session show {holding.id}",
            details={"vm": vm, "session": holding.id, "state": str(holding.state)},
        )
    if vms.condition(tx, vm=vm) is not VmCondition.CLEAN:
        return SeatTaken(
            f"Cannot claim VM '{vm}': it is not proven clean of users' data",
            hint=f"vmm vm rebuild {vm}",
            details={"vm": vm, "condition": str(VmCondition.DIRTY)},
        )
    if reason := holds.reason(tx, vm=vm, now=now):
        return SeatTaken(
            f"Cannot claim VM '{vm}': {reason}",
            hint="vmm ua rollout show",
            details={"vm": vm, "reason": reason},
        )
    return None


def move_to(
    tx: Tx,
    *,
    session_id: str,
    state: SessionState,
    expected: frozenset[SessionState],
    now: datetime,
    owner: str = "",
    reason: str = "",
    suspended_by: str = "",
) -> Session:
    """Bring a session into ``state`` if it is in one of ``expected``.

    Owner, reason and the Watcher who suspended it are replaced; getting *active* counts as being used.
    Ending it (*closed*, *failed*) ends all grants and the suspend right with it.

    Raises:
        NotFound: there is none of that id.
        Conflict: it is in another state, or ``state`` may not follow the one it is in.
    """
    session = get(tx, session_id=session_id)
    allowed = session.state in expected and state in TRANSITIONS[session.state]
    moved = allowed and tx.execute(
        "UPDATE sessions SET state = :state, changed_at = :at, owner = :owner, reason = :reason,"
        " suspended_by = :suspended_by, seen_at = CASE WHEN :active = 1 THEN :at ELSE seen_at END"
        " WHERE id = :id AND state = :seen",
        state=str(state),
        at=to_text(now),
        owner=owner,
        reason=reason,
        suspended_by=suspended_by,
        active=int(state is SessionState.ACTIVE),
        id=session_id,
        seen=str(session.state),
    )
    if not moved:
        raise _not_moved(get(tx, session_id=session_id), wanted=state)
    after = get(tx, session_id=session_id)
    if not after.live:
        grants.end_all(tx, session=session_id, now=now, reason=f"session {state}")
        moves.forget(tx, session_id=session_id)
    return after


def _not_moved(session: Session, *, wanted: SessionState) -> Conflict:
    return Conflict(
        f"Cannot make session '{session.id}' {wanted}: it is {session.state}",
        hint=f"vmm session show {session.id}",
        details={"session": session.id, "state": str(session.state), "wanted": str(wanted)},
    )


def set_endpoint(tx: Tx, *, session_id: str, endpoint: str, port: int) -> Session:
    """Note where the session answers: a URL, and the port of the controller that leads to it.

    Raises:
        NotFound: there is none of that id.
        Conflict: it has ended.
    """
    return _noted(tx, session_id, doing="set the endpoint of", endpoint=endpoint, port=port)


def set_generation(tx: Tx, *, session_id: str, generation: int) -> Session:
    """Note which generation of the user image the session left, its data captured; 0 for a branch from none.

    Raises:
        NotFound: there is none of that id.
        Conflict: it has ended.
    """
    return _noted(tx, session_id, doing="set the generation of", generation=generation, captured=1)


def set_deployed(tx: Tx, *, session_id: str, generation: int) -> Session:
    """Note which generation of the user image was put into the session's guest.

    Raises:
        NotFound: there is none of that id.
        Conflict: it has ended.
    """
    return _noted(tx, session_id, doing="note what was deployed for", deployed=generation)


def set_reason(tx: Tx, *, session_id: str, reason: str) -> Session:
    """Note what stands in the way of using the session; an empty text if nothing does.

    Raises:
        NotFound: there is none of that id.
        Conflict: it has ended.
    """
    return _noted(tx, session_id, doing="note what is wrong with", reason=reason)


def set_seen(tx: Tx, *, session_id: str, now: datetime) -> Session:
    """Note that the session is being used now.

    Raises:
        NotFound: there is none of that id.
        Conflict: it has ended.
    """
    return _noted(tx, session_id, doing="touch", seen_at=to_text(now))


def set_looked(tx: Tx, *, session_id: str, now: datetime) -> None:
    """Note that a capture that was due made no generation; no change where the session is not there."""
    tx.execute("UPDATE sessions SET looked_at = :at WHERE id = :id", at=to_text(now), id=session_id)


def _noted(tx: Tx, session_id: str, *, doing: str, **columns: str | int) -> Session:
    """Write columns of a live session; their names are ours, never of a user."""
    require_live(tx, session_id=session_id, doing=doing)
    assigned = ", ".join(f"{column} = :{column}" for column in columns)
    tx.execute(f"UPDATE sessions SET {assigned} WHERE id = :id", id=session_id, **columns)  # noqa: S608 - constants
    return get(tx, session_id=session_id)
