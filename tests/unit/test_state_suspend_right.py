"""Grants and the suspend right: who may suspend, until when, and never two."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

import pytest

from vmm_automation.errors import Conflict, LockHeld, NotFound, NotPermitted, UsageError, VmmError
from vmm_automation.model.times import from_text, to_text
from vmm_automation.model.watcher import Grant, Privilege, SuspendRight
from vmm_automation.state import grants, suspend_right
from vmm_automation.state.store import Engine, Tx

from ..fake_clock import FakeClock

P = Privilege
LEASE = timedelta(minutes=5)


def assign(tx: Tx, clock: FakeClock, watcher: str, *privileges: Privilege, minutes: float = 60) -> Grant:
    now = clock.now()
    end = to_text(now + timedelta(minutes=minutes))
    grant = Grant("s-1", watcher, frozenset(privileges or {P.SUSPEND}), "audit", to_text(now), end)
    return grants.assign(tx, grant=grant, actor="root", now=now)


def acquire(tx: Tx, clock: FakeClock, watcher: str, *, lease: timedelta = LEASE) -> SuspendRight:
    return suspend_right.acquire(tx, session="s-1", watcher=watcher, lease=lease, now=clock.now())


def check(tx: Tx, clock: FakeClock, watcher: str, fence: int | None = None) -> SuspendRight:
    return suspend_right.check_holder(tx, session="s-1", watcher=watcher, fence=fence, now=clock.now())


def holder(tx: Tx, clock: FakeClock) -> str:
    return suspend_right.show(tx, session="s-1", now=clock.now()).holder


def test_grant_counts_until_its_end_and_not_at_it(live: Engine, clock: FakeClock) -> None:
    """The end is judged at the moment of use, without anybody sweeping; a new assignment is possible then."""
    with live.transaction() as tx:
        grant = assign(tx, clock, "bo", P.VIEW, P.SUSPEND)
    with live.reading() as snapshot:
        clock.time = from_text(grant.expires_at) - timedelta(microseconds=1)
        assert grants.get_valid(snapshot, session="s-1", watcher="bo", now=clock.now()) == grant
        clock.advance(microseconds=1)
        assert grants.get_valid(snapshot, session="s-1", watcher="bo", now=clock.now()) is None
        assert grants.list_grants(snapshot, now=clock.now()) == []
    with live.transaction() as tx:
        with pytest.raises(NotFound, match="no valid grant"):
            grants.update(tx, grant=grant, actor="root", now=clock.now())
        with pytest.raises(NotFound, match="no valid grant"):
            grants.revoke(tx, session="s-1", watcher="bo", actor="root", now=clock.now())
        assign(tx, clock, "bo")
        assert [row["change"] for row in grants.history(tx, session="s-1")] == [
            "assigned",
            "expired",
            "assigned",
        ]


def test_second_assignment_is_a_conflict(live: Engine, clock: FakeClock) -> None:
    """The hint says how to change a grant; the first one stays as it was."""
    with live.transaction() as tx:
        first = assign(tx, clock, "bo", P.VIEW)
        with pytest.raises(Conflict) as caught:
            assign(tx, clock, "bo", P.END)
        assert grants.list_grants(tx, now=clock.now(), session="s-1") == [first]
    assert caught.value.hint == "vmm watcher update s-1 bo"


@pytest.mark.parametrize(("privileges", "minutes"), [((), 60), ((P.VIEW,), 0), ((P.VIEW,), -5)])
def test_grant_of_nothing_or_of_the_past_is_refused(
    live: Engine, clock: FakeClock, privileges: tuple[Privilege, ...], minutes: int
) -> None:
    """A grant has a privilege and an end to come."""
    end = to_text(clock.now() + timedelta(minutes=minutes))
    grant = Grant("s-1", "bo", frozenset(privileges), "", to_text(clock.now()), end)
    with live.transaction() as tx, pytest.raises(UsageError):
        grants.assign(tx, grant=grant, actor="root", now=clock.now())


def test_history_tells_who_when_and_what(live: Engine, clock: FakeClock) -> None:
    """Every change of a grant is a row that stays."""
    with live.transaction() as tx:
        grant = assign(tx, clock, "bo", P.VIEW)
        at = to_text(clock.advance(minutes=1))
        grants.revoke(tx, session="s-1", watcher="bo", actor="cy", now=clock.now(), reason="done")
        last = grants.history(tx, session="s-1")[-1]
    assert dict(last) == {
        "watcher": "bo",
        "change": "revoked",
        "privileges": "view",
        "starts_at": "",
        "expires_at": grant.expires_at,
        "reason": "done",
        "actor": "cy",
        "at": at,
    }


def test_acquire_needs_the_privilege(live: Engine, clock: FakeClock) -> None:
    """Without a grant, or with one lacking suspend, the refusal says what is missing and the remedy."""
    with live.transaction() as tx:
        assign(tx, clock, "bo", P.VIEW, P.CONTROL, P.END)
        for watcher, missing, hint in (
            ("bo", "suspend", "vmm watcher update s-1 bo --add suspend"),
            ("cy", "grant", "vmm watcher assign s-1 cy --privilege suspend"),
        ):
            for refused in (acquire, check):
                with pytest.raises(NotPermitted) as caught:
                    refused(tx, clock, watcher)
                assert (caught.value.details["missing"], caught.value.hint) == (missing, hint)


def test_held_right_is_refused_naming_holder_and_time(live: Engine, clock: FakeClock) -> None:
    """The second watcher learns who has it and until when."""
    with live.transaction() as tx:
        for watcher in ("bo", "cy"):
            assign(tx, clock, watcher)
        right = acquire(tx, clock, "bo")
        with pytest.raises(LockHeld) as caught:
            acquire(tx, clock, "cy")
        assert "'bo' holds the suspend right until 12:05:00Z" in caught.value.message
        assert caught.value.details["holder"] == "bo"
        assert caught.value.details["expires_at"] == right.expires_at
        assert caught.value.hint == "vmm watcher lock show s-1"
        with pytest.raises(LockHeld, match="Cannot suspend session 's-1': watcher 'bo' holds"):
            check(tx, clock, "cy")
        with pytest.raises(LockHeld, match="'bo' holds"):
            suspend_right.release(tx, session="s-1", watcher="cy", now=clock.now())
        assert holder(tx, clock) == "bo"


def test_holder_acquiring_again_renews(live: Engine, clock: FakeClock) -> None:
    """Same fence, later end; never a nearer one, not even with a shorter lease or a clock gone back."""
    with live.transaction() as tx:
        assign(tx, clock, "bo")
        first = acquire(tx, clock, "bo")
        clock.advance(minutes=1)
        second = acquire(tx, clock, "bo")
        assert (second.fence, second.acquired_at) == (first.fence, first.acquired_at)
        assert second.expires_at > first.expires_at
        assert acquire(tx, clock, "bo", lease=timedelta(seconds=1)) == second
        clock.advance(minutes=-30)
        assert acquire(tx, clock, "bo") == second


def test_right_ends_with_the_grant_at_the_latest(live: Engine, clock: FakeClock) -> None:
    """A long lease is cut at the grant's end, and again when the grant is shortened."""
    with live.transaction() as tx:
        grant = assign(tx, clock, "bo", minutes=2)
        assert acquire(tx, clock, "bo").expires_at == grant.expires_at
        sooner = to_text(clock.now() + timedelta(minutes=1))
        shorter = Grant("s-1", "bo", grant.privileges, "", grant.granted_at, sooner)
        grants.update(tx, grant=shorter, actor="root", now=clock.now())
        assert suspend_right.show(tx, session="s-1", now=clock.now()).expires_at == sooner
        clock.advance(minutes=1)
        assert holder(tx, clock) == ""
        with pytest.raises(NotPermitted):
            check(tx, clock, "bo")


def test_expired_right_goes_to_the_next_with_a_higher_fence(live: Engine, clock: FakeClock) -> None:
    """The old holder, back with its old fence or when the clock went back, can do nothing."""
    with live.transaction() as tx:
        for watcher in ("bo", "cy"):
            assign(tx, clock, watcher)
        old = acquire(tx, clock, "bo")
        clock.advance(minutes=5)
        with pytest.raises(NotPermitted, match="nobody holds"):
            check(tx, clock, "bo", old.fence)
        new = acquire(tx, clock, "cy")
        assert new.fence > old.fence
        clock.advance(minutes=-4)
        with pytest.raises(LockHeld, match="'cy' holds"):
            check(tx, clock, "bo", old.fence)
        assert check(tx, clock, "cy", new.fence) == new


def test_fence_grows_across_release_and_an_old_one_is_refused(live: Engine, clock: FakeClock) -> None:
    """Even the same watcher cannot act on the number of an earlier turn."""
    with live.transaction() as tx:
        assign(tx, clock, "bo")
        fences = []
        for _ in range(3):
            fences.append(acquire(tx, clock, "bo").fence)
            vacant = suspend_right.release(tx, session="s-1", watcher="bo", now=clock.now())
            assert (vacant.holder, vacant.fence) == ("", fences[-1])
        assert fences == [1, 2, 3]
        with pytest.raises(NotPermitted, match="nobody holds"):
            suspend_right.release(tx, session="s-1", watcher="bo", now=clock.now())
        right = acquire(tx, clock, "bo")
        assert check(tx, clock, "bo") == check(tx, clock, "bo", right.fence) == right
        with pytest.raises(NotPermitted, match="acts on fence 3, the suspend right is at fence 4"):
            check(tx, clock, "bo", 3)


@pytest.mark.parametrize("loss", ["revoke", "remove", "expire", "end"])
def test_losing_the_grant_releases_the_right(live: Engine, clock: FakeClock, loss: str) -> None:
    """Revoked, without suspend, expired, or all ended: the right is vacant at once, and stays so."""
    with live.transaction() as tx:
        grant = assign(tx, clock, "bo", P.VIEW, P.SUSPEND, minutes=3)
        assign(tx, clock, "cy", minutes=60)
        acquire(tx, clock, "bo")
        if loss == "revoke":
            grants.revoke(tx, session="s-1", watcher="bo", actor="root", now=clock.now())
        elif loss == "remove":
            less = Grant("s-1", "bo", frozenset({P.VIEW}), "", grant.granted_at, grant.expires_at)
            grants.update(tx, grant=less, actor="root", now=clock.now())
        elif loss == "expire":
            clock.advance(minutes=3)
        else:
            grants.end_all(tx, session="s-1", actor="root", now=clock.now())
            assign(tx, clock, "cy", minutes=60)
        assert holder(tx, clock) == ""
        assert acquire(tx, clock, "cy").fence == 2
        suspend_right.release(tx, session="s-1", watcher="cy", now=clock.now())
        clock.advance(minutes=-2)
        assert holder(tx, clock) == ""
        if loss != "remove":
            assert grants.get_valid(tx, session="s-1", watcher="bo", now=clock.now()) is None


def test_right_lost_with_the_privilege_does_not_come_back_with_it(live: Engine, clock: FakeClock) -> None:
    """A watcher who gets suspend again must acquire again."""
    with live.transaction() as tx:
        grant = assign(tx, clock, "bo", P.VIEW, P.SUSPEND)
        acquire(tx, clock, "bo")
        less = replace(grant, privileges=frozenset({P.VIEW}))
        for changed in (less, grant):
            grants.update(tx, grant=changed, actor="root", now=clock.now())
        assert holder(tx, clock) == ""


@pytest.mark.parametrize("lease", [timedelta(0), timedelta(seconds=-1), timedelta.max])
def test_lease_of_unusable_length_is_refused(live: Engine, clock: FakeClock, lease: timedelta) -> None:
    """Zero, negative and endless leases are usage errors."""
    with live.transaction() as tx:
        assign(tx, clock, "bo")
        with pytest.raises(UsageError):
            acquire(tx, clock, "bo", lease=lease)


@pytest.mark.parametrize("seed", range(8))
def test_any_order_of_events_and_clock_jumps_keeps_the_rules(
    live: Engine, clock: FakeClock, seed: int
) -> None:
    """Random turns with a clock that jumps both ways: one holder at most, a new fence at each change."""
    chance = random.Random(seed)
    watchers = ["bo", "cy", "di"]
    turns: dict[int, str] = {}
    highest = 0
    for _ in range(150):
        clock.advance(seconds=chance.randint(-400, 500))
        watcher = chance.choice(watchers)
        with live.transaction() as tx:
            try:
                match chance.choice(["assign", "revoke", "acquire", "acquire", "release"]):
                    case "assign":
                        assign(tx, clock, watcher, minutes=chance.randint(1, 30))
                    case "revoke":
                        grants.revoke(tx, session="s-1", watcher=watcher, actor="r", now=clock.now())
                    case "acquire":
                        acquire(tx, clock, watcher)
                    case "release":
                        suspend_right.release(tx, session="s-1", watcher=watcher, now=clock.now())
            except VmmError:
                pass
            right = suspend_right.show(tx, session="s-1", now=clock.now())
            passing = [name for name in watchers if _passes(tx, clock, name)]
        assert passing == ([right.holder] if right.holder else [])
        assert right.fence >= highest
        highest = right.fence
        if right.holder:
            assert turns.setdefault(right.fence, right.holder) == right.holder
    assert highest > 3


def _passes(tx: Tx, clock: FakeClock, watcher: str) -> bool:
    try:
        check(tx, clock, watcher)
    except LockHeld:
        return False
    return True
