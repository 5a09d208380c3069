"""Many processes open sessions of one user and UA at once: one of them writes, on each engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from vmm_automation.errors import Conflict
from vmm_automation.model.policies import SecondSession
from vmm_automation.model.session import SessionMode, SessionState
from vmm_automation.state import sessions
from vmm_automation.state.store import Store

from ..claims import claim as ann_claims
from ..real_state import RealState
from .racers import PROCESSES, make_clean, now, race

ROUNDS = 10


def claim(store: Store, name: str, *, vm: str, second: SecondSession) -> SessionMode | None:
    """Each has a VM of its own, so that only the user's other sessions can stand in the way."""
    with store.transaction() as tx:
        try:
            return ann_claims(tx, name, vm=vm, now=now(), second=second).mode
        except Conflict:
            return None


def claim_exclusive(state: RealState, number: int) -> SessionMode | None:
    with state.open() as store:
        return claim(store, f"s-{number}", vm=f"vm-{number}", second=SecondSession.EXCLUSIVE)


def claim_read_only(state: RealState, number: int) -> SessionMode | None:
    with state.open() as store:
        return claim(store, f"s-{number}", vm=f"vm-{number}", second=SecondSession.READ_ONLY)


def claim_branch(state: RealState, number: int) -> SessionMode | None:
    with state.open() as store:
        return claim(store, f"s-{number}", vm=f"vm-{number}", second=SecondSession.BRANCH)


def claim_and_end(state: RealState, number: int) -> list[SessionMode]:
    """Claim and end again and again, while others do: never are there two that write."""
    had = []
    with state.open() as store:
        for turn in range(ROUNDS):
            name = f"s-{number}-{turn}"
            mode = claim(store, name, vm=f"vm-{number}", second=SecondSession.BRANCH)
            assert mode is not None
            had.append(mode)
            with store.reading() as snapshot:
                live = sessions.list_sessions(snapshot, live_only=True)
                assert [each.mode for each in live].count(SessionMode.WRITER) <= 1
                assert sessions.get(snapshot, session_id=name).mode is mode
            with store.transaction() as tx:
                sessions.move_to(
                    tx,
                    session_id=name,
                    state=SessionState.FAILED,
                    expected=frozenset({SessionState.STARTING}),
                    now=now(),
                )
    return had


@pytest.mark.parametrize(
    ("task", "others"),
    [
        (claim_exclusive, None),
        (claim_read_only, SessionMode.READ_ONLY),
        (claim_branch, SessionMode.BRANCH),
    ],
)
def test_of_sixteen_at_once_exactly_one_writes(
    real_state: RealState, task: Callable[[RealState, int], SessionMode | None], others: SessionMode | None
) -> None:
    """The others are refused, or are what the policy says, each told the mode that it is stored with."""
    make_clean(real_state, *(f"vm-{number}" for number in range(PROCESSES)))
    told = race(task, real_state)
    assert Counter(told) == {SessionMode.WRITER: 1, others: PROCESSES - 1}
    with real_state.open() as store, store.reading() as snapshot:
        stored = {each.id: each.mode for each in sessions.list_sessions(snapshot, live_only=True)}
    assert stored == {f"s-{number}": mode for number, mode in enumerate(told) if mode}


def test_claims_and_ends_never_leave_two_writers(real_state: RealState) -> None:
    """Whoever comes while nobody writes does; a session keeps its mode whoever else ends."""
    names = [f"vm-{number}" for number in range(PROCESSES)]
    make_clean(real_state, *names)
    had = Counter(mode for turns in race(claim_and_end, real_state) for mode in turns)
    assert had.total() == PROCESSES * ROUNDS
    assert had[SessionMode.WRITER] >= 1
    assert had.keys() <= {SessionMode.WRITER, SessionMode.BRANCH}
