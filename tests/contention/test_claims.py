"""Many processes claim four VMs of one seat each on a real state of each engine."""

from __future__ import annotations

import time
from itertools import pairwise

from vmm_automation.errors import Conflict
from vmm_automation.model.session import SessionState
from vmm_automation.state import sessions, vms
from vmm_automation.state.store import Store

from ..real_state import RealState
from .racers import PROCESSES, kill_inside, make_clean, now, race, say_inside_and_wait

VMS = ("vm-0", "vm-1", "vm-2", "vm-3")
ROUNDS = 10
CLAIMERS = 48


def claim_any(store: Store, name: str, user: str) -> tuple[str, int] | None:
    """Try the VMs in turn in one transaction, as an operation does."""
    with store.transaction() as tx:
        for vm in VMS:
            try:
                session = sessions.claim(
                    tx,
                    session_id=name,
                    user=user,
                    ua="cal",
                    version="1",
                    vm=vm,
                    terminal="t",
                    explanation={},
                    owner="",
                    now=now(),
                )
            except sessions.SeatTaken:
                continue
            return session.vm, session.fence
    return None


def claim_once(state: RealState, number: int) -> tuple[str, int] | None:
    with state.open() as store:
        return claim_any(store, f"s-{number}", f"u{number}")


def claim_and_end(state: RealState, number: int) -> list[tuple[str, int, int, int]]:
    """Claim and end again and again: which VM, fence, and between which nanoseconds it was ours for sure."""
    won = []
    with state.open() as store:
        for turn in range(ROUNDS):
            name = f"s-{number}-{turn}"
            claimed = claim_any(store, name, f"u{number}")
            began = time.monotonic_ns()
            with store.reading() as snapshot:
                live = [session.vm for session in sessions.list_sessions(snapshot, live_only=True)]
                assert len(live) == len(set(live)) <= len(VMS)
                assert claimed is None or claimed[0] in live
            if claimed:
                time.sleep(0.005)  # hold the seat, so that others meet it taken
                won.append((*claimed, began, time.monotonic_ns()))
                with store.transaction() as tx:
                    sessions.move_to(
                        tx,
                        session_id=name,
                        state=SessionState.FAILED,
                        expected=frozenset({SessionState.STARTING}),
                        now=now(),
                    )
    return won


def claim_as_one_user(state: RealState, number: int) -> bool:
    """Each has a VM and a UA of its own, so that only the limit of the one user stands in the way."""
    with state.open() as store, store.transaction() as tx:
        try:
            sessions.claim(
                tx,
                session_id=f"s-{number}",
                user="ann",
                ua=f"ua-{number}",
                version="1",
                vm=f"vm-{number}",
                terminal="t",
                explanation={},
                owner="",
                now=now(),
                user_limit=3,
            )
        except Conflict:
            return False
    return True


def open_new_state(state: RealState, _number: int) -> int:
    with state.open() as store, store.transaction() as tx:
        return vms.next_fence(tx)


def claim_and_hang(state: RealState, _number: int) -> None:
    with state.open() as store, store.transaction() as tx:
        vms.mark_dirty(tx, vm="vm-1", reason="half done", now=now())
        sessions.claim(
            tx,
            session_id="s-dead",
            user="ann",
            ua="cal",
            version="1",
            vm="vm-0",
            terminal="t",
            explanation={},
            owner="",
            now=now(),
        )
        say_inside_and_wait(state)


def test_claims_of_four_vms_at_once_give_four_sessions(real_state: RealState) -> None:
    """Of 48 exactly four win, each another VM; the others are told, none fails otherwise."""
    make_clean(real_state, *VMS)
    won = [result for result in race(claim_once, real_state, processes=CLAIMERS) if result]
    assert sorted(vm for vm, _ in won) == sorted(VMS)
    assert len({fence for _, fence in won}) == len(VMS)
    with real_state.open() as store, store.reading() as snapshot:
        assert sorted(s.vm for s in sessions.list_sessions(snapshot, live_only=True)) == sorted(VMS)


def test_claims_and_ends_never_share_a_vm_and_fences_grow(real_state: RealState) -> None:
    """Over many turns no VM has two holders at any moment, no fence is given twice, and each is larger."""
    make_clean(real_state, *VMS)
    turns: list[list[tuple[str, int, int, int]]] = race(claim_and_end, real_state, processes=CLAIMERS)
    held = sorted((each for won in turns for each in won), key=lambda each: each[1])
    fences = [fence for _, fence, _, _ in held]
    assert len(fences) == len(set(fences)) > ROUNDS
    for won in turns:
        assert [fence for _, fence, _, _ in won] == sorted(fence for _, fence, _, _ in won)
    for vm in VMS:
        mine = [each for each in held if each[0] == vm]
        assert all(before[3] < after[2] for before, after in pairwise(mine))
    with real_state.open() as store, store.reading() as snapshot:
        last = dict.fromkeys(VMS, 0)  # a VM that nobody needed was never claimed
        last.update({session.vm: session.fence for session in sessions.list_sessions(snapshot)})
        assert last == {vm: vms.newest_fence(snapshot, vm=vm) for vm in VMS}


def test_new_state_opened_by_all_at_once_is_made_once(new_state: RealState) -> None:
    """No process sees a half-made state, and every one of them counts on the same counter."""
    assert sorted(race(open_new_state, new_state)) == list(range(1, PROCESSES + 1))


def test_process_killed_inside_a_transaction_leaves_no_trace(real_state: RealState) -> None:
    """After SIGKILL between two writes the state opens at once, nothing of it is there, and it goes on."""
    make_clean(real_state, *VMS)
    for _ in range(2):
        kill_inside(claim_and_hang, real_state)
        with real_state.open() as store, store.reading() as snapshot:
            assert sessions.list_sessions(snapshot) == []
            assert {str(condition) for condition in vms.conditions(snapshot).values()} == {"clean"}
    assert len([result for result in race(claim_once, real_state, processes=4) if result]) == 4


def test_one_user_never_gets_more_sessions_than_allowed(real_state: RealState) -> None:
    """Sixteen at once, three allowed: exactly three have one."""
    make_clean(real_state, *(f"vm-{number}" for number in range(PROCESSES)))
    assert sum(race(claim_as_one_user, real_state)) == 3
    with real_state.open() as store, store.reading() as snapshot:
        assert len(sessions.list_sessions(snapshot, live_only=True)) == 3
