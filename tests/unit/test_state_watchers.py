"""The watcher operations: what every door calls, with bad input, dry runs and events."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest

from vmm_automation.errors import Conflict, InvalidName, LockHeld, NotFound, NotPermitted, UsageError
from vmm_automation.model.session import SessionState
from vmm_automation.operations import watcher
from vmm_automation.state import audit, sessions
from vmm_automation.state.store import Engine, Snapshot, Tx

from ..fake_clock import FakeClock

HOUR = timedelta(hours=1)
BAD_NAMES = {
    "slash": "a/b",
    "dots": "..",
    "dots inside": "a..b",
    "space": "a b",
    "leading dash": "-rf",
    "newline": "a\nb",
    "escape": "\x1b[2J",
    "nul": "a\x00b",
    "long": "a" * 300,
    "not ascii": "zoë",
    "empty": "",
    "quote": "a'; DROP TABLE grants; --",
}


def assign(live: Engine, clock: FakeClock, name: str = "bo", **more: Any) -> dict[str, Any]:
    asked = {"privileges": ["view", "suspend"], "duration": HOUR, "actor": "root", **more}
    return watcher.assign(live, clock, session="s-1", watcher=name, **asked)


class SlowStore:
    """Implements ``Store``: another writer is busy for two hours before each transaction."""

    def __init__(self, store: Engine, clock: FakeClock) -> None:
        self.store, self.clock = store, clock

    def transaction(self, *, keep: bool = True) -> AbstractContextManager[Tx]:
        """See the port."""
        self.clock.advance(hours=2)
        return self.store.transaction(keep=keep)

    def reading(self) -> AbstractContextManager[Snapshot]:
        """See the port."""
        return self.store.reading()

    def close(self) -> None:
        """See the port."""
        self.store.close()


def dump(store: Engine) -> list[Any]:
    """All that a mutation could write."""
    with store.reading() as tx:
        return [
            tx.all(f"SELECT * FROM {table}")
            for table in ("grants", "grant_history", "suspend_rights", "audit_events", "audit_head")
        ]


CALLS: dict[str, Callable[[Engine, FakeClock, str, str], Any]] = {
    "assign": lambda s, c, session, name: watcher.assign(
        s, c, session=session, watcher=name, privileges=["view"], duration=HOUR, actor="root"
    ),
    "update": lambda s, c, session, name: watcher.update(s, c, session=session, watcher=name, actor="root"),
    "revoke": lambda s, c, session, name: watcher.revoke(s, c, session=session, watcher=name, actor="root"),
    "acquire": lambda s, c, session, name: watcher.lock_acquire(
        s, c, session=session, watcher=name, actor="root"
    ),
    "release": lambda s, c, session, name: watcher.lock_release(
        s, c, session=session, watcher=name, actor="root"
    ),
    "list": lambda s, c, session, _: watcher.list_watchers(s, c, session=session),
    "show": lambda s, c, session, _: watcher.lock_show(s, c, session=session),
}


@pytest.mark.parametrize("bad", BAD_NAMES.values(), ids=BAD_NAMES.keys())
@pytest.mark.parametrize("verb", CALLS)
def test_bad_name_is_refused_and_shown_safely(live: Engine, clock: FakeClock, verb: str, bad: str) -> None:
    """A session or watcher name that breaks the rule reaches no table and no terminal raw."""
    before = dump(live)
    for session, name in [(bad, "bo")] + [("s-1", bad)] * (verb not in ("list", "show")):
        with pytest.raises(InvalidName) as caught:
            CALLS[verb](live, clock, session, name)
        assert caught.value.message.replace("…", "").isascii()
        assert caught.value.message.isprintable()
    assert dump(live) == before


@pytest.mark.parametrize("verb", CALLS)
def test_unknown_session_is_not_found(live: Engine, clock: FakeClock, verb: str) -> None:
    """Every verb says so, with the list as the hint."""
    with pytest.raises(NotFound) as caught:
        CALLS[verb](live, clock, "s-404", "bo")
    assert caught.value.hint == "vmm session list"


@pytest.mark.parametrize("text", ["", "a\nb", "\x1b[2J", "x" * 201])
def test_actor_that_cannot_be_logged_is_refused(live: Engine, clock: FakeClock, text: str) -> None:
    """The log and the terminal get printable text only."""
    with pytest.raises(UsageError, match="actor"):
        assign(live, clock, actor=text)
    if text:
        with pytest.raises(UsageError, match="reason"):
            assign(live, clock, reason=text)


@pytest.mark.parametrize(
    "more",
    [
        {"privileges": ["fly"]},
        {"privileges": []},
        {"duration": timedelta(0)},
        {"duration": -HOUR},
        {"duration": timedelta.max},
    ],
)
def test_unusable_grant_is_refused(live: Engine, clock: FakeClock, more: dict[str, Any]) -> None:
    """Unknown or no privileges, and ends that are past or out of range, are usage errors."""
    with pytest.raises(UsageError):
        assign(live, clock, **more)


def test_assign_on_an_ended_session_is_a_conflict(live: Engine, clock: FakeClock) -> None:
    """Nobody is assigned to what is over."""
    with live.transaction() as tx:
        sessions.move_to(
            tx, session_id="s-1", state=SessionState.FAILED, expected=frozenset(SessionState), now=clock.now()
        )
    with pytest.raises(Conflict, match="it is failed"):
        assign(live, clock)


def test_assigning_twice_is_refused_at_the_terminal_and_no_change_in_a_playbook(
    live: Engine, clock: FakeClock
) -> None:
    """The same grant again, later: Conflict, or unchanged with idempotent."""
    first = assign(live, clock)
    clock.advance(minutes=10)
    with pytest.raises(Conflict):
        assign(live, clock)
    assert assign(live, clock, idempotent=True) == {"changed": False, "grant": first["grant"]}


@pytest.mark.parametrize(
    "more", [{"privileges": ["view"]}, {"reason": "new"}, {"duration": 2 * HOUR}, {"duration": HOUR / 2}]
)
def test_idempotent_assign_of_a_different_grant_updates_it_once(
    live: Engine, clock: FakeClock, more: dict[str, Any]
) -> None:
    """A playbook with other values changes the grant; the same playbook again does not."""
    first = assign(live, clock)
    clock.advance(minutes=10)
    second = assign(live, clock, idempotent=True, **more)
    assert second["changed"]
    assert second["grant"] != first["grant"]
    assert ("duration" in more) == (second["grant"]["expires_at"] != first["grant"]["expires_at"])
    clock.advance(minutes=10)
    assert assign(live, clock, idempotent=True, **more) == {"changed": False, "grant": second["grant"]}


def test_update_adds_removes_and_extends(live: Engine, clock: FakeClock) -> None:
    """Only what was asked changes; asking for what is there is no change and no event."""
    assign(live, clock, reason="audit")
    done = watcher.update(
        live, clock, session="s-1", watcher="bo", actor="root", add=["end"], remove=["view"], extend=HOUR
    )
    assert done["grant"]["privileges"] == ["end", "suspend"]
    assert done["grant"]["expires_at"] == "2026-01-31T14:00:00.000000Z"
    assert done["grant"]["reason"] == "audit"
    before = dump(live)
    again = watcher.update(
        live, clock, session="s-1", watcher="bo", actor="root", add=["end"], remove=["view"]
    )
    assert again == {"changed": False, "grant": done["grant"]}
    assert dump(live) == before
    with pytest.raises(UsageError, match="without any privilege"):
        watcher.update(live, clock, session="s-1", watcher="bo", actor="root", remove=["end", "suspend"])
    with pytest.raises(UsageError, match="both add and remove"):
        watcher.update(live, clock, session="s-1", watcher="bo", actor="root", add=["end"], remove=["end"])


def test_only_one_of_several_watchers_holds_the_right(live: Engine, clock: FakeClock) -> None:
    """Acquire, refuse the second, hand on after release; show and list agree with it."""
    assign(live, clock)
    assign(live, clock, "cy")
    assert watcher.lock_acquire(live, clock, session="s-1", watcher="bo", actor="bo")["right"]["fence"] == 1
    with pytest.raises(LockHeld):
        watcher.lock_acquire(live, clock, session="s-1", watcher="cy", actor="cy")
    shown = watcher.lock_show(live, clock, session="s-1")
    assert shown["right"]["holder"] == "bo"
    listed = watcher.list_watchers(live, clock, session="s-1")
    assert [grant["watcher"] for grant in listed["grants"]] == ["bo", "cy"]
    assert listed["right"] == shown["right"]
    assert len(watcher.list_watchers(live, clock)["grants"]) == 2
    watcher.lock_release(live, clock, session="s-1", watcher="bo", actor="bo")
    taken = watcher.lock_acquire(live, clock, session="s-1", watcher="cy", actor="cy")
    assert (taken["right"]["holder"], taken["right"]["fence"]) == ("cy", 2)
    again = watcher.lock_release(live, clock, session="s-1", watcher="bo", actor="bo", idempotent=True)
    assert again == {"changed": False, "right": taken["right"]}
    watcher.lock_release(live, clock, session="s-1", watcher="cy", actor="cy")
    with pytest.raises(NotPermitted):
        watcher.lock_release(live, clock, session="s-1", watcher="cy", actor="cy")


def test_revoke_of_the_holder_says_that_the_right_is_free(live: Engine, clock: FakeClock) -> None:
    """The document tells it; revoking again is NotFound, or no change in a playbook."""
    assign(live, clock)
    watcher.lock_acquire(live, clock, session="s-1", watcher="bo", actor="bo")
    assert watcher.revoke(live, clock, session="s-1", watcher="bo", actor="root")["released_right"]
    assert watcher.lock_show(live, clock, session="s-1")["right"]["holder"] is None
    with pytest.raises(NotFound):
        watcher.revoke(live, clock, session="s-1", watcher="bo", actor="root")
    assert not watcher.revoke(live, clock, session="s-1", watcher="bo", actor="root", idempotent=True)[
        "changed"
    ]


def test_grant_that_expires_while_waiting_for_the_state_is_not_used(live: Engine, clock: FakeClock) -> None:
    """The end is judged when the transaction has begun, not when the command was given."""
    assign(live, clock)
    with pytest.raises(NotPermitted):
        watcher.lock_acquire(SlowStore(live, clock), clock, session="s-1", watcher="bo", actor="bo")


def test_every_change_leaves_one_event(live: Engine, clock: FakeClock) -> None:
    """Who did what to what, in order."""
    assign(live, clock)
    watcher.update(live, clock, session="s-1", watcher="bo", actor="root", add=["end"])
    for _ in range(2):
        watcher.lock_acquire(live, clock, session="s-1", watcher="bo", actor="bo")
        clock.advance(minutes=1)
    watcher.lock_release(live, clock, session="s-1", watcher="bo", actor="bo")
    watcher.revoke(live, clock, session="s-1", watcher="bo", actor="root")
    with live.reading() as snapshot:
        found = audit.log(snapshot)
    names = ["assign", "update", "lock.acquire", "lock.renew", "lock.release", "revoke"]
    assert [event["action"] for event in found] == [f"watcher.{name}" for name in names]
    assert {event["object"] for event in found} == {"s-1/bo"}
    assert [event["actor"] for event in found] == ["root", "root", "bo", "bo", "bo", "root"]


def test_check_mode_answers_as_the_real_run_and_writes_nothing(live: Engine, clock: FakeClock) -> None:
    """Every mutation: the dry run's document equals the real one's, and the state stays byte for byte."""
    common: dict[str, Any] = {"session": "s-1", "watcher": "bo", "actor": "root"}
    steps: list[Callable[[bool], dict[str, Any]]] = [
        lambda check: assign(live, clock, check=check),
        lambda check: assign(live, clock, check=check, idempotent=True),
        lambda check: watcher.update(live, clock, **common, add=["end"], check=check),
        lambda check: watcher.lock_acquire(live, clock, **common, check=check),
        lambda check: watcher.lock_release(live, clock, **common, check=check),
        lambda check: watcher.revoke(live, clock, **common, check=check),
        lambda check: watcher.revoke(live, clock, **common, idempotent=True, check=check),
    ]
    for step in steps:
        before = dump(live)
        dry = step(True)
        assert dump(live) == before
        assert step(False) == dry
        assert (dump(live) != before) == dry["changed"]
