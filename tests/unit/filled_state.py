"""A state with rows in every table, some of them of a past that counts on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from vmm_automation.model.pool import Levels
from vmm_automation.model.times import to_text
from vmm_automation.model.ua import DeploymentState
from vmm_automation.model.waiting import WaitingRequest
from vmm_automation.operations import watcher
from vmm_automation.state import (
    audit,
    generation_marks,
    holds,
    ledger,
    moves,
    orphans,
    pools,
    publications,
    rollouts,
    seats,
    sessions,
    vms,
    waiting,
)
from vmm_automation.state.audit import Author
from vmm_automation.state.publications import Revision, Withdrawal
from vmm_automation.state.rollouts import Outcome
from vmm_automation.state.store import Engine, Tx

from ..fake_clock import FakeClock
from .test_state_generations import add, made, run


def fill(store: Engine, clock: FakeClock) -> None:
    with store.transaction() as tx:
        for number in range(3):
            session = run(tx, clock, f"s-{number}", f"vm-{number}")
            add(tx, clock, number + 1, f"s-{number}", session.fence)
        generation_marks.set_pinned(tx, user="ann", ua="cal", number=1, pinned=True)
        generation, manifest = made(clock, 4, "s-1", session.fence - 1)
        orphans.add(tx, generation=generation, manifest=manifest, reason="it's late")
        run(tx, clock, "s-live", "vm-live", end=False)
        moving(tx, clock)
        vms.next_fence(tx)  # drawn by somebody who then failed: it must never come again
        vms.mark_dirty(tx, vm="vm-1", reason='it\'s "dirty"\n100% é 𝄞', now=clock.now())
        vms.forget(tx, vm="vm-2")
        ledger.record(tx, vm="vm-1", ua="cal", version="1", state=DeploymentState.ACTIVE, now=clock.now())
        rollouts.begin(tx, ua="cal", holder="ann", owner="host:boot:1:1", now=clock.now())
        publish(tx, clock)
        rollouts.note(tx, Outcome("vm-1", "failed", 12, "it's gone", {"message": "é"}), ua="cal")
        seats.learn(tx, vm="vm-1", offered={"vcpus": 1}, active={"cal": "1"}, free=False)
        pooled(tx, clock)
        waiting.add(tx, a_waiting_request(clock))
        for number in range(200):  # more than are read at a time
            old_event(tx, f"{number}")
    for name in ("bo", "cy"):
        watcher.assign(
            store,
            clock,
            session="s-live",
            watcher=name,
            privileges=["suspend"],
            duration=timedelta(hours=1),
            actor="root",
        )
    later: dict[str, Any] = {"privileges": ["view"], "starts": timedelta(hours=1), "token": True}
    watcher.assign(store, clock, session="s-live", watcher="di", actor="root", **later)
    watcher.lock_acquire(store, clock, session="s-live", watcher="bo", actor="root")
    watcher.revoke(store, clock, session="s-live", watcher="cy", actor="root")
    with pytest.raises(ZeroDivisionError), store.transaction() as tx:  # PostgreSQL leaves out a number
        old_event(tx, "undone")
        raise ZeroDivisionError
    events_after(store, clock)


def pooled(tx: Tx, clock: FakeClock) -> None:
    pools.set_levels(tx, pool="calendars", levels=Levels(2, 1))
    pools.note_failure(tx, pool="calendars", reason="it's late")
    pools.add(tx, vm="calendars-0a1b2c3d", pool="calendars", now=clock.now())


def a_waiting_request(clock: FakeClock) -> WaitingRequest:
    at = to_text(clock.now())
    owner, terminal = "host:boot:1:1", {"base": "phone", "locale": "é"}
    return WaitingRequest("r-1", 7, 2, "it's", "cal", terminal, owner, at, at, at, avoid=("vm-1", "vm-2"))


def moving(tx: Tx, clock: FakeClock) -> None:
    """The live session is on its way to another VM, looked at in vain; one that has ended was a branch."""
    sessions.set_looked(tx, session_id="s-live", now=clock.now())
    sessions.set_deployed(tx, session_id="s-live", generation=3)
    tx.execute("UPDATE sessions SET mode = 'branch' WHERE id = 's-1'")
    vms.mark_clean(tx, vm="vm-next", now=clock.now())
    explained = {"ranked": ["é"]}
    assert moves.hold(
        tx, session_id="s-live", vm="vm-next", terminal="tv", explanation=explained, now=clock.now()
    )


def publish(tx: Tx, clock: FakeClock) -> None:
    at = to_text(clock.now())
    for reason in ("it's due", "é"):
        holds.hold(tx, vm="vm-1", reason=reason, until=clock.now())
    publications.withdraw(tx, Withdrawal("cal", "0", at, "ann", "it's old", ""))
    publications.add(tx, Revision("cal", 1, at, "ann", "é", "d", {"1": {"kind": "pip"}}))


def events_after(store: Engine, clock: FakeClock) -> int:
    with store.transaction() as tx:
        old_event(tx, "last")
        audit.append(tx, author=Author("a"), action="last", object_name="o", result={}, now=clock.now())
        return last_event(tx)


def old_event(tx: Tx, action: str) -> None:
    """A row as schema version 1 logged it."""
    tx.execute(
        "INSERT INTO events (at, actor, action, object, result)"
        " VALUES ('2026-01-31T12:00:00.000000Z', 'a', :action, 'o', '{\"é\": 1}')",
        action=action,
    )


def last_event(tx: Tx) -> int:
    row = tx.one("SELECT MAX(seq) AS last FROM events")
    return int(row["last"]) if row else 0
