"""Sixty-four processes use one session's suspend right; all that they were told fits one copy of it."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from vmm_automation.errors import Conflict, LockHeld
from vmm_automation.model.times import from_text
from vmm_automation.operations import audit_log, watcher
from vmm_automation.state.store import Engine

from ..real_state import RealState
from .linearizable import NOBODY, Operation, Right, first_misfit
from .racers import make_session_with_watchers, now, race

PROCESSES = 64
#: a server's answers take several times as long; together they are more than 20,000 operations
EACH, EACH_ON_A_SERVER = 320, 80
BUDGET_S = 60
#: some run out while others wait for the state, some are given back in time
LEASES_MS, LEASES_MS_ON_A_SERVER = (5, 50, 400), (20, 500, 4000)
VERBS = {"show": 25, "acquire": 40, "renew": 8, "release": 15, "hand over": 10, "break": 2}


class NotedClock:
    """Implements ``ports.Clock``: the real time, and which it was when it was asked last."""

    def __init__(self) -> None:
        self.noted = now()

    def now(self) -> datetime:
        """The real time, noted."""
        self.noted = now()
        return self.noted

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


def turns_of_each(state: RealState) -> int:
    """How many operations each process does."""
    return EACH_ON_A_SERVER if state.url else EACH


def use_the_right(state: RealState, number: int) -> list[Operation]:
    """As one Watcher: any verb in any order; what was asked and told."""
    chance = random.Random(f"{number}")
    clock = NotedClock()
    with state.open() as store:
        leases = LEASES_MS_ON_A_SERVER if state.url else LEASES_MS
        return [_operation(store, clock, number, chance, leases) for _ in range(turns_of_each(state))]


def _operation(
    store: Engine, clock: NotedClock, number: int, chance: random.Random, leases: Sequence[int]
) -> Operation:
    (verb,) = chance.choices(list(VERBS), weights=list(VERBS.values()))
    to = f"w{(number + chance.randrange(1, PROCESSES)) % PROCESSES}" if verb == "hand over" else ""
    lease = timedelta(milliseconds=chance.choice(leases))
    began = time.monotonic_ns()
    try:
        answer = _ask(store, clock, verb, watcher_name=f"w{number}", to=to, lease=lease)
    except (LockHeld, Conflict) as refused:
        answer = {"changed": False, "right": refused.details}
    ended = time.monotonic_ns()
    if verb == "break" and answer["changed"]:
        to = answer["broken"]["holder"]
    return Operation(
        process=number,
        verb=verb,
        watcher=f"w{number}",
        began=began,
        ended=ended,
        now=_microseconds(clock.noted),
        changed=bool(answer.get("changed")),
        told=_right(answer["right"]),
        to=to,
        lease=lease // timedelta(microseconds=1),
    )


def _ask(store: Engine, clock: NotedClock, verb: str, *, watcher_name: str, to: str, lease: timedelta) -> Any:
    mine: dict[str, Any] = {"session": "s-1", "watcher": watcher_name, "actor": watcher_name}
    if verb == "acquire":
        return watcher.lock_acquire(store, clock, **mine, lease=lease)
    if verb == "renew":
        return watcher.lock_renew(store, clock, **mine, lease=lease)
    if verb == "release":
        return watcher.lock_release(store, clock, **mine)
    if verb == "hand over":
        return watcher.lock_hand_over(store, clock, **mine, to=to, lease=lease)
    if verb == "break":
        return watcher.lock_break(store, clock, session="s-1", actor="root", reason="test")
    return watcher.lock_show(store, clock, session="s-1")


def _right(document: dict[str, Any]) -> Right:
    until = document.get("expires_at")
    return Right(
        document.get("holder") or NOBODY,
        document.get("fence") or 0,
        _microseconds(from_text(until)) if until else 0,
    )


def _microseconds(moment: datetime) -> int:
    return (moment - datetime.fromtimestamp(0, moment.tzinfo)) // timedelta(microseconds=1)


def _turns(history: list[Operation]) -> list[Operation]:
    """What gave the right to somebody anew, by fence."""
    new = [each for each in history if each.changed and each.verb in ("acquire", "hand over")]
    first: dict[int, Operation] = {}
    for each in sorted(new, key=lambda operation: operation.now):
        first.setdefault(each.told.fence, each)
    return [first[fence] for fence in sorted(first)]


def test_history_of_64_processes_fits_one_copy_of_the_right(real_state: RealState) -> None:
    """No two holders at a time, no grant lost, each turn with the next fence; the audit chain has it all."""
    make_session_with_watchers(real_state, watchers=PROCESSES)
    began = time.monotonic()
    history = [each for told in race(use_the_right, real_state, processes=PROCESSES) for each in told]
    took = time.monotonic() - began
    _say(f"{len(history)} operations by {PROCESSES} processes in {took:.1f} s: {_counted(history)}")
    assert len(history) == PROCESSES * turns_of_each(real_state)
    misfit = first_misfit(history)
    assert misfit is None
    turns = _turns(history)
    assert [turn.told.fence for turn in turns] == list(range(1, len(turns) + 1))
    assert all(before.now <= after.now for before, after in pairwise(turns))
    with real_state.open() as store:
        last = watcher.lock_show(store, NotedClock(), session="s-1")["right"]
        found = audit_log.verify(store)
    assert last["fence"] == len(turns) > 50
    assert found["events"] == sum(each.changed for each in history)
    _say(f"{len(turns)} turns; checked in {time.monotonic() - began - took:.1f} s")
    assert took < BUDGET_S


def _counted(history: list[Operation]) -> str:
    counts = Counter((each.verb, each.changed) for each in history)
    return ", ".join(f"{verb} {counts[verb, True]}+{counts[verb, False]}" for verb in VERBS)


def _say(line: str) -> None:
    """Shown by ``pytest -s``."""
    os.write(1, f"\n{line}\n".encode())
