"""Sixteen watchers race for one session's suspend right on a real state of each engine."""

from __future__ import annotations

import time
from datetime import timedelta

from vmm_automation.errors import LockHeld
from vmm_automation.state import suspend_right

from ..real_state import RealState
from .racers import PROCESSES, kill_inside, make_session_with_watchers, now, race, say_inside_and_wait

LONG = timedelta(minutes=10)
SHORT = timedelta(milliseconds=30)
TURNS = 10


def acquire_once(state: RealState, number: int) -> int:
    """The fence won, or 0."""
    with state.open() as store:
        try:
            with store.transaction() as tx:
                right = suspend_right.acquire(tx, session="s-1", watcher=f"w{number}", lease=LONG, now=now())
        except LockHeld as held:
            assert held.details["holder"] != f"w{number}"
            return 0
    return right.fence


def acquire_act_release(state: RealState, number: int) -> list[int]:
    """Take turns; what a holder does is fenced off by a directory that cannot be made twice."""
    watcher = f"w{number}"
    fences: list[int] = []
    acting = state.home / "acting"
    deadline = time.monotonic() + 60
    with state.open() as store:
        while len(fences) < TURNS and time.monotonic() < deadline:
            try:
                with store.transaction() as tx:
                    right = suspend_right.acquire(tx, session="s-1", watcher=watcher, lease=LONG, now=now())
            except LockHeld:
                time.sleep(0.002)
                continue
            acting.mkdir()
            fences.append(right.fence)
            acting.rmdir()
            with store.transaction() as tx:
                suspend_right.check_holder(tx, session="s-1", watcher=watcher, fence=right.fence, now=now())
                suspend_right.release(tx, session="s-1", watcher=watcher, now=now())
    return fences


def acquire_and_let_lapse(state: RealState, number: int) -> list[tuple[int, int]]:
    """Short leases, never released: (fence, number of watchers who pass the check at that moment)."""
    seen = []
    with state.open() as store:
        for _ in range(TURNS):
            try:
                with store.transaction() as tx:
                    moment = now()
                    right = suspend_right.acquire(
                        tx, session="s-1", watcher=f"w{number}", lease=SHORT, now=moment
                    )
                    passing = 0
                    for other in range(PROCESSES):
                        try:
                            suspend_right.check_holder(
                                tx, session="s-1", watcher=f"w{other}", fence=None, now=moment
                            )
                            passing += 1
                        except LockHeld:
                            pass
                seen.append((right.fence, passing))
            except LockHeld:
                time.sleep(0.01)
    return seen


def acquire_and_hang(state: RealState, number: int) -> None:
    with state.open() as store, store.transaction() as tx:
        suspend_right.acquire(tx, session="s-1", watcher=f"w{number}", lease=LONG, now=now())
        say_inside_and_wait(state)


def test_sixteen_watchers_give_one_holder(real_state: RealState) -> None:
    """Exactly one wins; the others are refused with its name."""
    make_session_with_watchers(real_state, watchers=PROCESSES)
    fences = race(acquire_once, real_state)
    assert sorted(fences) == [0] * (PROCESSES - 1) + [1]
    with real_state.open() as store, store.reading() as snapshot:
        assert suspend_right.show(snapshot, session="s-1", now=now()).holder == f"w{fences.index(1)}"


def test_turns_never_overlap_and_each_has_its_own_fence(real_state: RealState) -> None:
    """Acquire, act, release, by all at once: no two act at a time, and fences count every turn once."""
    make_session_with_watchers(real_state, watchers=PROCESSES)
    turns: list[list[int]] = race(acquire_act_release, real_state)
    fences = [fence for won in turns for fence in won]
    assert sorted(fences) == list(range(1, len(fences) + 1))
    assert all(won == sorted(won) for won in turns)
    assert len(fences) == PROCESSES * TURNS


def test_lapsed_leases_change_hands_one_at_a_time(real_state: RealState) -> None:
    """Leases that run out: one watcher passes the check at a moment, no fence has two holders."""
    make_session_with_watchers(real_state, watchers=PROCESSES)
    seen: list[list[tuple[int, int]]] = race(acquire_and_let_lapse, real_state)
    assert {passing for turns in seen for _, passing in turns} == {1}
    owners = [{fence for fence, _ in turns} for turns in seen]
    assert sum(len(fences) for fences in owners) == len(set().union(*owners)) > 1


def test_process_killed_while_acquiring_does_not_hold_the_right(real_state: RealState) -> None:
    """SIGKILL before the commit leaves the right vacant, for the next to take at once."""
    make_session_with_watchers(real_state, watchers=2)
    kill_inside(acquire_and_hang, real_state)
    assert acquire_once(real_state, 1) == 1
