"""Sessions on their way to another VM: the hold on the second VM, until the session is there or back.

The session itself stays on its first VM, in state *starting*, until one write has it on the second; so at any
moment it is on exactly one. The hold is a conditional write like that of a claim: the VM clean, nobody on it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from vmm_automation.errors import Conflict
from vmm_automation.model.session import Session
from vmm_automation.model.times import to_text
from vmm_automation.state import holds, vms
from vmm_automation.state.session_rows import LIVE_SQL
from vmm_automation.state.store import Row, Snapshot, Tx

_HOLD = f"""
    INSERT INTO session_moves (session, vm, fence, terminal, explanation, began_at)
    SELECT :session, vm, :fence, :terminal, :explanation, :at FROM vm_conditions
    WHERE vm = :vm AND condition = 'clean' AND {holds.NONE_SQL}
      AND NOT EXISTS (SELECT 1 FROM sessions WHERE vm = :vm AND {LIVE_SQL})
    ON CONFLICT DO NOTHING
"""  # noqa: S608 - put together from constants


@dataclass(frozen=True)
class Move:
    """One session's way to ``vm``; ``fence``, ``terminal`` and ``explanation`` will be its own there."""

    session: str
    vm: str
    fence: int
    terminal: str
    began_at: str
    explanation: dict[str, Any] = field(default_factory=dict)


def hold(
    tx: Tx, *, session_id: str, vm: str, terminal: str, explanation: dict[str, Any], now: datetime
) -> Move | None:
    """Hold a clean VM for a session; None where the VM is taken, is dirty, or the session moves already."""
    held = tx.execute(
        _HOLD,
        session=session_id,
        vm=vm,
        fence=vms.next_fence(tx),
        terminal=terminal,
        explanation=json.dumps(explanation, sort_keys=True),
        at=to_text(now),
    )
    if not held:
        return None
    vms.mark_dirty(tx, vm=vm, reason=f"session {session_id} moves", now=now)
    return get(tx, session_id=session_id)


def get(tx: Snapshot, *, session_id: str) -> Move | None:
    """The move of a session that is under way, or was cut off."""
    row = tx.one("SELECT * FROM session_moves WHERE session = :session", session=session_id)
    return _move(row) if row else None


def require_none(tx: Snapshot, session: Session) -> None:
    """Refuse what cannot be done with a session on its way to another VM.

    Raises:
        Conflict: it is on its way.
    """
    if move := get(tx, session_id=session.id):
        raise Conflict(
            f"Session '{session.id}' is being moved to VM '{move.vm}' by another run",
            hint=f"vmm session show {session.id}",
            details={"session": session.id, "vm": move.vm, "owner": session.owner},
        )


def held_vms(tx: Snapshot) -> dict[str, str]:
    """VM to the session that is on its way to it."""
    return {row["vm"]: row["session"] for row in tx.all("SELECT vm, session FROM session_moves")}


def arrive(tx: Tx, move: Move, *, endpoint: str, port: int) -> bool:
    """Put the session on its new VM, all at once; false where the move was undone meanwhile."""
    gone = tx.execute(
        "DELETE FROM session_moves WHERE session = :session AND fence = :fence",
        session=move.session,
        fence=move.fence,
    )
    if not gone:
        return False
    tx.execute(
        "UPDATE sessions SET vm = :vm, fence = :fence, terminal = :terminal, explanation = :explanation,"
        " endpoint = :endpoint, port = :port WHERE id = :session",
        vm=move.vm,
        fence=move.fence,
        terminal=move.terminal,
        explanation=json.dumps(move.explanation, sort_keys=True),
        endpoint=endpoint,
        port=port,
        session=move.session,
    )
    tx.execute("UPDATE vm_conditions SET fence = :fence WHERE vm = :vm", fence=move.fence, vm=move.vm)
    return True


def stay(tx: Tx, *, session_id: str, terminal: str, explanation: dict[str, Any]) -> bool:
    """Note another terminal of an active session that keeps its VM; false where it is not active."""
    return bool(
        tx.execute(
            "UPDATE sessions SET terminal = :terminal, explanation = :explanation"
            " WHERE id = :session AND state = 'active'",
            terminal=terminal,
            explanation=json.dumps(explanation, sort_keys=True),
            session=session_id,
        )
    )


def forget(tx: Tx, *, session_id: str) -> None:
    """Let the second VM go; it stays dirty until it is cleaned."""
    tx.execute("DELETE FROM session_moves WHERE session = :session", session=session_id)


def _move(row: Row) -> Move:
    return Move(**{**row, "explanation": json.loads(row["explanation"])})
