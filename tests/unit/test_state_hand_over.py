"""The suspend right handed over by its holder, and broken by the operator."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from vmm_automation.errors import Conflict, LockHeld, NotFound, NotPermitted, UsageError
from vmm_automation.model.session import SessionState
from vmm_automation.operations import watcher
from vmm_automation.state import audit, sessions, suspend_right
from vmm_automation.state.store import Engine

from ..fake_clock import FakeClock

HOUR = timedelta(hours=1)


@pytest.fixture
def held(live: Engine, clock: FakeClock) -> Engine:
    """Session s-1 with bo (who holds the right, fence 1), cy and di; di may only view."""
    for name, privilege in (("bo", "suspend"), ("cy", "suspend"), ("di", "view")):
        watcher.assign(
            live, clock, session="s-1", watcher=name, privileges=[privilege], duration=HOUR, actor="root"
        )
    watcher.lock_acquire(live, clock, session="s-1", watcher="bo", actor="bo")
    return live


def hand_over(store: Engine, clock: FakeClock, source: str = "bo", to: str = "cy", **more: Any) -> Any:
    return watcher.lock_hand_over(store, clock, session="s-1", watcher=source, to=to, actor="root", **more)


def broken(store: Engine, clock: FakeClock, actor: str = "root", **more: Any) -> Any:
    return watcher.lock_break(
        store, clock, **{"session": "s-1", "actor": actor, "reason": "bo is away", **more}
    )


def holder(store: Engine, clock: FakeClock) -> tuple[str | None, int]:
    right = watcher.lock_show(store, clock, session="s-1")["right"]
    return right["holder"], right["fence"]


def test_handed_over_right_has_a_larger_fence_and_one_holder(held: Engine, clock: FakeClock) -> None:
    """The new holder may act, the old one is refused with its name, and its old fence is worth nothing."""
    right = hand_over(held, clock, lease=timedelta(minutes=2))["right"]
    assert (right["holder"], right["fence"]) == ("cy", 2)
    assert right["expires_at"] == "2026-01-31T12:02:00.000000Z"
    with held.reading() as tx:
        suspend_right.check_holder(tx, session="s-1", watcher="cy", fence=2, now=clock.now())
        with pytest.raises(LockHeld, match="'cy' holds"):
            suspend_right.check_holder(tx, session="s-1", watcher="bo", fence=1, now=clock.now())
    assert hand_over(held, clock, idempotent=True)["changed"] is False
    assert hand_over(held, clock, "cy", "bo")["right"]["fence"] == 3


@pytest.mark.parametrize(
    ("source", "to", "error", "why"),
    [
        ("bo", "di", NotPermitted, "lacks the privilege 'suspend'"),
        ("bo", "eve", NotPermitted, "no valid grant"),
        ("cy", "bo", LockHeld, "'bo' holds"),
        ("bo", "bo", UsageError, "is the one who hands it over"),
    ],
)
def test_right_is_handed_only_by_its_holder_to_who_may_suspend(
    held: Engine, clock: FakeClock, source: str, to: str, error: type[Exception], why: str
) -> None:
    """Whoever does not hold it, or may not have it, is told; the right stays where it is."""
    with pytest.raises(error, match=why):
        hand_over(held, clock, source, to)
    assert holder(held, clock) == ("bo", 1)


def test_right_of_an_ended_lease_or_an_old_turn_cannot_be_handed_over(held: Engine, clock: FakeClock) -> None:
    """Nothing is left to hand over after the lease's end; a number of an earlier turn is refused."""
    with pytest.raises(NotPermitted, match="acts on fence 7"):
        hand_over(held, clock, fence=7)
    clock.advance(minutes=5)
    with pytest.raises(NotPermitted, match="nobody holds"):
        hand_over(held, clock)


def test_handed_over_right_ends_with_the_new_holders_grant(held: Engine, clock: FakeClock) -> None:
    """A long lease does not outlive the grant that it rests on now."""
    watcher.update(held, clock, session="s-1", watcher="cy", actor="root", extend=timedelta(minutes=-50))
    assert hand_over(held, clock, lease=HOUR)["right"]["expires_at"] == "2026-01-31T12:10:00.000000Z"


def test_broken_right_is_vacant_and_the_next_turn_has_a_larger_fence(held: Engine, clock: FakeClock) -> None:
    """The old holder can do nothing any more; the entry in the audit chain says who, whom and why."""
    done = broken(held, clock)
    assert (done["broken"]["holder"], done["right"]["holder"]) == ("bo", None)
    with held.reading() as tx:
        with pytest.raises(NotPermitted, match="nobody holds"):
            suspend_right.check_holder(tx, session="s-1", watcher="bo", fence=1, now=clock.now())
        event = audit.log(tx, limit=1)[0]
    assert (event["actor"], event["action"], event["object"]) == ("root", "watcher.lock.break", "s-1/bo")
    assert event["result"]["reason"] == "bo is away"
    taken = watcher.lock_acquire(held, clock, session="s-1", watcher="cy", actor="cy")
    assert taken["right"]["fence"] == 2


def test_only_the_operator_breaks_the_right_and_says_why(held: Engine, clock: FakeClock) -> None:
    """A Watcher of the session may not, whatever its privileges; nor anybody without a reason."""
    for name in ("bo", "cy", "di"):
        with pytest.raises(NotPermitted, match="only the operator may"):
            broken(held, clock, name)
    for reason in ("", "  "):
        with pytest.raises(UsageError, match="without saying why"):
            broken(held, clock, reason=reason)
    assert holder(held, clock) == ("bo", 1)


def test_vacant_right_cannot_be_broken(held: Engine, clock: FakeClock) -> None:
    """There is nothing to break: a conflict, or no change in a playbook; also after the lease's end."""
    clock.advance(minutes=5)
    with pytest.raises(Conflict, match="nobody holds it"):
        broken(held, clock)
    assert broken(held, clock, idempotent=True)["changed"] is False
    with pytest.raises(NotFound):
        broken(held, clock, session="s-404")


def test_renew_keeps_the_turn_and_never_takes_a_new_one(held: Engine, clock: FakeClock) -> None:
    """The holder's lease ends later, with the same fence; whoever does not hold the right is refused."""
    clock.advance(minutes=1)
    renewed = watcher.lock_renew(held, clock, session="s-1", watcher="bo", actor="bo")["right"]
    assert (renewed["fence"], renewed["expires_at"]) == (1, "2026-01-31T12:06:00.000000Z")
    with pytest.raises(LockHeld, match="Cannot renew the suspend right of session 's-1': watcher 'bo' holds"):
        watcher.lock_renew(held, clock, session="s-1", watcher="cy", actor="cy")
    clock.advance(minutes=5)
    with pytest.raises(NotPermitted, match="nobody holds"):
        watcher.lock_renew(held, clock, session="s-1", watcher="bo", actor="bo")


def test_right_of_an_ended_session_cannot_be_handed_over(held: Engine, clock: FakeClock) -> None:
    """What is over has no right any more."""
    with held.transaction() as tx:
        states = frozenset(SessionState)
        sessions.move_to(tx, session_id="s-1", state=SessionState.FAILED, expected=states, now=clock.now())
    with pytest.raises(Conflict, match="it is failed"):
        hand_over(held, clock)


def test_check_mode_of_hand_over_and_break_writes_nothing(held: Engine, clock: FakeClock) -> None:
    """The dry run's document equals the real one's; nothing of it is kept."""
    for step in (hand_over, broken):
        before = holder(held, clock)
        dry = step(held, clock, check=True)
        assert holder(held, clock) == before
        assert step(held, clock) == dry
        assert holder(held, clock) != before
