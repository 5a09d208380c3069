"""Claims, the life of a session, and what is known of VMs."""

from __future__ import annotations

from datetime import timedelta

import pytest

from vmm_automation.errors import Conflict, NotFound, RuleBroken
from vmm_automation.model.session import LIVE, TRANSITIONS, Session, SessionState
from vmm_automation.model.times import to_text
from vmm_automation.model.vm import VmCondition
from vmm_automation.model.watcher import Grant, Privilege
from vmm_automation.state import grants, schema, session_rows, sessions, suspend_right, vms
from vmm_automation.state.sessions import SeatTaken
from vmm_automation.state.store import Engine, Tx

from ..fake_clock import FakeClock

ALL = frozenset(SessionState)


def claim(
    tx: Tx, clock: FakeClock, *, name: str = "s-1", user: str = "ann", ua: str = "cal", vm: str = "vm-1"
) -> Session:
    return sessions.claim(
        tx,
        session_id=name,
        user=user,
        ua=ua,
        version="1.0",
        vm=vm,
        terminal="phone",
        explanation={"chosen": vm, "rejected": {"vm-9": "dirty"}},
        owner="host:boot:1:2",
        now=clock.now(),
    )


@pytest.fixture
def clean(store: Engine, clock: FakeClock) -> Engine:
    with store.transaction() as tx:
        for vm in ("vm-1", "vm-2"):
            vms.mark_clean(tx, vm=vm, now=clock.now())
    return store


def end(tx: Tx, clock: FakeClock, name: str) -> Session:
    return sessions.move_to(
        tx, session_id=name, state=SessionState.FAILED, expected=ALL, now=clock.now(), reason="power cut"
    )


def test_claim_of_a_clean_vm_holds_it(clean: Engine, clock: FakeClock) -> None:
    """The claim returns the whole session, starting, with a fence, and it is what is read back later."""
    with clean.transaction() as tx:
        session = claim(tx, clock)
    assert (session.state, session.live, session.vm) == (SessionState.STARTING, True, "vm-1")
    assert session.explanation["rejected"] == {"vm-9": "dirty"}
    assert session.created_at == to_text(clock.now())
    with clean.reading() as snapshot:
        assert sessions.get(snapshot, session_id="s-1") == session
        assert sessions.live_on_vm(snapshot, vm="vm-1") == session
        assert sessions.live_on_vm(snapshot, vm="vm-2") is None
        assert vms.newest_fence(snapshot, vm="vm-1") == session.fence


def test_claim_of_a_held_vm_names_the_holder_and_the_next_may_be_tried(
    clean: Engine, clock: FakeClock
) -> None:
    """Losing a VM says to whom, and the same transaction may go on with another VM."""
    with clean.transaction() as tx:
        claim(tx, clock)
    with clean.transaction() as tx:
        with pytest.raises(SeatTaken) as caught:
            claim(tx, clock, name="s-2", user="bo")
        assert claim(tx, clock, name="s-2", user="bo", vm="vm-2").vm == "vm-2"
    assert caught.value.details["session"] == "s-1"
    assert "'s-1'" in caught.value.message
    assert caught.value.exit_code == 5


def test_second_session_of_a_user_and_ua_is_refused(clean: Engine, clock: FakeClock) -> None:
    """One user runs one UA once; the hint closes the session that is open. Another UA is no conflict."""
    with clean.transaction() as tx:
        claim(tx, clock)
    with clean.transaction() as tx, pytest.raises(Conflict) as caught:
        claim(tx, clock, name="s-2", vm="vm-2")
    assert not isinstance(caught.value, SeatTaken)
    assert caught.value.hint == "vmm session close s-1"
    with clean.transaction() as tx:
        assert claim(tx, clock, name="s-2", ua="mail", vm="vm-2").live


@pytest.mark.parametrize("known", [True, False])
def test_claim_of_a_vm_not_proven_clean_is_refused(clean: Engine, clock: FakeClock, known: bool) -> None:
    """A dirty VM, and one that a lost state file no longer knows, goes to nobody."""
    with clean.transaction() as tx:
        if known:
            vms.mark_dirty(tx, vm="vm-3", reason="image deployed", now=clock.now())
        with pytest.raises(SeatTaken) as caught:
            claim(tx, clock, vm="vm-3")
    assert caught.value.hint == "vmm vm rebuild vm-3"


def test_id_in_use_is_refused(clean: Engine, clock: FakeClock) -> None:
    """An id is never given twice, not even after its session ended."""
    with clean.transaction() as tx:
        claim(tx, clock)
        end(tx, clock, "s-1")
    with clean.transaction() as tx, pytest.raises(Conflict, match="the id is in use"):
        claim(tx, clock)


def test_fences_grow_whatever_happens(clean: Engine, clock: FakeClock) -> None:
    """A later claim has a higher fence: over VMs, a clock going back, and a VM deleted and made anew."""
    fences = []
    for number, vm in enumerate(["vm-1", "vm-2", "vm-1", "vm-1"]):
        clock.advance(days=-1)
        with clean.transaction() as tx:
            fences.append(claim(tx, clock, name=f"s-{number}", vm=vm).fence)
            end(tx, clock, f"s-{number}")
            vms.forget(tx, vm=vm)
            assert vm not in vms.conditions(tx)
            assert vms.newest_fence(tx, vm=vm) == fences[-1]
            assert vms.condition(tx, vm=vm) is VmCondition.DIRTY
            vms.mark_clean(tx, vm=vm, now=clock.now())
    assert fences == sorted(set(fences))


def test_vm_with_a_session_cannot_be_forgotten(clean: Engine, clock: FakeClock) -> None:
    """Deleting a VM under a session is refused with the session's name."""
    with clean.transaction() as tx:
        claim(tx, clock)
        with pytest.raises(Conflict, match="'s-1' holds it"):
            vms.forget(tx, vm="vm-1")


def test_unknown_session_is_not_found(store: Engine) -> None:
    """The hint leads to the list."""
    with store.reading() as snapshot, pytest.raises(NotFound) as caught:
        sessions.get(snapshot, session_id="s-9")
    assert caught.value.hint == "vmm session list"


@pytest.mark.parametrize("before", SessionState)
@pytest.mark.parametrize("after", SessionState)
def test_only_transitions_of_the_model_happen(
    clean: Engine, clock: FakeClock, before: SessionState, after: SessionState
) -> None:
    """Every pair of states: what the model allows happens, the rest is Conflict telling the present state."""
    with clean.transaction() as tx:
        claim(tx, clock)
        tx.execute("UPDATE sessions SET state = :state", state=str(before))
        if after in TRANSITIONS[before]:
            moved = sessions.move_to(tx, session_id="s-1", state=after, expected=ALL, now=clock.now())
            assert moved.state is after
            return
        with pytest.raises(Conflict) as caught:
            sessions.move_to(tx, session_id="s-1", state=after, expected=ALL, now=clock.now())
    assert caught.value.details["state"] == before
    assert f"it is {before}" in caught.value.message


def test_unexpected_state_is_a_conflict(clean: Engine, clock: FakeClock) -> None:
    """A caller that thinks the session is suspended does not close one that is starting."""
    with clean.transaction() as tx:
        claim(tx, clock)
        with pytest.raises(Conflict, match="it is starting"):
            sessions.move_to(
                tx,
                session_id="s-1",
                state=SessionState.CLOSING,
                expected=frozenset({SessionState.SUSPENDED}),
                now=clock.now(),
            )


def test_ended_session_frees_its_seat_and_takes_no_more(clean: Engine, clock: FakeClock) -> None:
    """After the end the VM and the user may be in a session again; the old row is history."""
    with clean.transaction() as tx:
        claim(tx, clock)
        assert sessions.set_endpoint(tx, session_id="s-1", endpoint="http://127.0.0.1:9/", port=9).port == 9
        assert sessions.set_generation(tx, session_id="s-1", generation=4).generation == 4
        assert end(tx, clock, "s-1").reason == "power cut"
        with pytest.raises(Conflict, match="it is failed"):
            sessions.set_endpoint(tx, session_id="s-1", endpoint="", port=0)
        with pytest.raises(Conflict, match="it is failed"):
            sessions.set_generation(tx, session_id="s-1", generation=5)
        claim(tx, clock, name="s-2")
        assert [found.id for found in sessions.list_sessions(tx)] == ["s-1", "s-2"]
        assert [found.id for found in sessions.list_sessions(tx, live_only=True)] == ["s-2"]


def test_end_of_a_session_ends_grants_and_the_right(clean: Engine, clock: FakeClock) -> None:
    """Nobody watches, or may suspend, a session that is over; the history says why."""
    hour = to_text(clock.now() + timedelta(hours=1))
    with clean.transaction() as tx:
        claim(tx, clock)
        for watcher in ("bo", "cy"):
            grant = Grant("s-1", watcher, frozenset({Privilege.SUSPEND}), "", to_text(clock.now()), hour)
            grants.assign(tx, grant=grant, actor="root", now=clock.now())
        suspend_right.acquire(tx, session="s-1", watcher="bo", lease=timedelta(minutes=5), now=clock.now())
        end(tx, clock, "s-1")
        assert grants.list_grants(tx, now=clock.now()) == []
        assert suspend_right.show(tx, session="s-1", now=clock.now()).holder == ""
        last = grants.history(tx, session="s-1")[-1]
        with pytest.raises(Conflict, match="it is failed"):
            suspend_right.acquire(
                tx, session="s-1", watcher="bo", lease=timedelta(minutes=5), now=clock.now()
            )
    assert (last["change"], last["reason"]) == ("revoked", "session failed")


def test_unique_indexes_hold_without_the_claim(clean: Engine, clock: FakeClock) -> None:
    """Two live sessions on a VM, or of a user and UA, cannot be written even by a wrong program."""
    with clean.transaction() as tx:
        claim(tx, clock)
        claim(tx, clock, name="s-2", user="bo", vm="vm-2")
    for wrong in ("UPDATE sessions SET vm = 'vm-1'", "UPDATE sessions SET user_name = 'ann'"):
        with pytest.raises(RuleBroken), clean.transaction() as tx:
            tx.execute(wrong)


def test_live_states_of_the_schema_are_those_of_the_model() -> None:
    """The SQL and the model agree on what live means."""
    names = ", ".join(f"'{state}'" for state in SessionState if state in LIVE)
    assert f"state IN ({names})" == session_rows.LIVE_SQL
    statements = [statement for migration in schema.MIGRATIONS for statement in migration]
    indexes = [each for each in statements if "UNIQUE INDEX one_live" in each]
    assert [f"state IN ({names})" in statement for statement in indexes] == [True, True, True]
