"""When grants start and end: judged at the moment of use, with bad times refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from vmm_automation.errors import Conflict, NotFound, NotPermitted, UsageError
from vmm_automation.model.session import SessionState
from vmm_automation.model.times import from_text, read_duration, read_moment, read_time
from vmm_automation.operations import watcher
from vmm_automation.operations.session_listing import description
from vmm_automation.operations.state_check import check_state
from vmm_automation.state import sessions
from vmm_automation.state.store import Engine

from ..fake_clock import FakeClock

HOUR = timedelta(hours=1)
NOON = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def assign(live: Engine, clock: FakeClock, **more: Any) -> dict[str, Any]:
    asked = {"privileges": ["view", "suspend"], "actor": "root", **more}
    return watcher.assign(live, clock, session="s-1", watcher="bo", **asked)


def test_grant_that_has_not_started_gives_nothing_and_then_all(live: Engine, clock: FakeClock) -> None:
    """Before its start no right and nobody watching; from that moment on both; from the end on neither."""
    made = assign(live, clock, starts=HOUR, duration=HOUR)["grant"]
    times = (made["starts_at"], made["expires_at"])
    assert times == ("2026-01-31T13:00:00.000000Z", "2026-01-31T14:00:00.000000Z")
    for minutes, valid in ((59, False), (1, True), (59, True), (1, False)):
        clock.advance(minutes=minutes)
        watching = description(live, "s-1", clock=clock)["grants"]
        assert [grant["watcher"] for grant in watching] == ["bo"] * valid
        if valid:
            watcher.lock_acquire(live, clock, session="s-1", watcher="bo", actor="bo")
        else:
            with pytest.raises(NotPermitted):
                watcher.lock_acquire(live, clock, session="s-1", watcher="bo", actor="bo")


def test_grant_that_has_not_started_is_listed_and_named_in_the_refusal(
    live: Engine, clock: FakeClock
) -> None:
    """The list has it as not valid yet; who asks for the right is told when, and not to assign once more."""
    assign(live, clock, starts=HOUR)
    (listed,) = watcher.list_watchers(live, clock, session="s-1")["grants"]
    assert (listed["valid"], listed["starts_at"]) == (False, "2026-01-31T13:00:00.000000Z")
    assert watcher.list_watchers(live, clock)["grants"] == [listed]
    with pytest.raises(NotPermitted, match=r"starts only at 2026-01-31T13:00") as refused:
        watcher.lock_acquire(live, clock, session="s-1", watcher="bo", actor="bo")
    assert refused.value.hint == "vmm watcher list s-1"


def test_grant_that_has_not_started_is_updated_and_revoked(live: Engine, clock: FakeClock) -> None:
    """It is a grant like any other to the operator; a second assignment is refused."""
    assign(live, clock, starts=HOUR)
    with pytest.raises(Conflict):
        assign(live, clock)
    asked: dict[str, Any] = {"session": "s-1", "watcher": "bo", "actor": "root"}
    done = watcher.update(live, clock, **asked, add=["end"], until=NOON + 3 * HOUR)["grant"]
    assert done["privileges"] == ["end", "suspend", "view"]
    assert (done["starts_at"][11:13], done["expires_at"][11:13]) == ("13", "15")
    assert not watcher.revoke(live, clock, **asked)["released_right"]
    with pytest.raises(NotFound):
        watcher.update(live, clock, **asked, add=["end"])


def test_hand_over_to_a_watcher_whose_grant_has_not_started_is_refused(
    live: Engine, clock: FakeClock
) -> None:
    """The right goes only to somebody who could acquire it."""
    assign(live, clock)
    watcher.assign(
        live, clock, session="s-1", watcher="cy", privileges=["suspend"], actor="root", starts=HOUR
    )
    watcher.lock_acquire(live, clock, session="s-1", watcher="bo", actor="bo")
    with pytest.raises(NotPermitted, match="'cy' has a grant that starts only at"):
        watcher.lock_hand_over(live, clock, session="s-1", watcher="bo", to="cy", actor="bo")


def test_start_moved_ahead_of_a_holder_takes_the_right(live: Engine, clock: FakeClock) -> None:
    """A playbook that asks for a later start leaves nobody holding the right on a grant to come."""
    assign(live, clock)
    watcher.lock_acquire(live, clock, session="s-1", watcher="bo", actor="bo")
    assert assign(live, clock, starts=HOUR, idempotent=True)["changed"]
    assert watcher.lock_show(live, clock, session="s-1")["right"]["holder"] is None
    assert check_state(live)["problems"] == []


BAD_TIMES: dict[str, tuple[dict[str, Any], str]] = {
    "past end": ({"until": NOON - HOUR}, "has passed"),
    "end now": ({"until": NOON}, "has passed"),
    "past start": ({"starts": NOON - HOUR}, "that has passed"),
    "end before start": ({"starts": 2 * HOUR, "until": NOON + HOUR}, "is not after the start"),
    "end at start": ({"starts": HOUR, "until": NOON + HOUR}, "is not after the start"),
    "far end": ({"until": datetime(2099, 1, 1, tzinfo=UTC)}, "ten years"),
    "far start": ({"starts": datetime(2099, 1, 1, tzinfo=UTC)}, "ten years"),
    "farthest start": ({"starts": datetime(9999, 12, 31, 23, tzinfo=UTC)}, "out of range"),
    "far by length": ({"duration": timedelta(days=3654)}, "ten years"),
    "beyond years": ({"starts": timedelta.max}, "out of range"),
    "both ends": ({"duration": HOUR, "until": NOON + HOUR}, "both for a duration and until"),
    "no length": ({"starts": HOUR, "duration": timedelta(0)}, "is not after the start"),
}


@pytest.mark.parametrize("case", BAD_TIMES)
@pytest.mark.parametrize("idempotent", [False, True])
def test_unusable_time_is_refused_and_leaves_nothing(
    live: Engine, clock: FakeClock, case: str, idempotent: bool
) -> None:
    """Past, swapped and absurdly far times are usage errors that say which it is."""
    more, why = BAD_TIMES[case]
    with pytest.raises(UsageError, match=why):
        assign(live, clock, idempotent=idempotent, **more)
    assert watcher.history(live, session="s-1")["history"] == []


def test_bad_end_of_an_update_changes_nothing(live: Engine, clock: FakeClock) -> None:
    """Past, far and doubly given ends are refused; the grant stays as it was."""
    before = assign(live, clock)["grant"]
    asked: dict[str, Any] = {"session": "s-1", "watcher": "bo", "actor": "root"}
    bad: list[dict[str, Any]] = [{"until": NOON - HOUR}, {"until": NOON + 4000 * 24 * HOUR}]
    for more in [*bad, {"until": NOON + HOUR, "extend": HOUR}, {"extend": timedelta(days=4000)}]:
        with pytest.raises(UsageError):
            watcher.update(live, clock, **asked, **more)
    (listed,) = watcher.list_watchers(live, clock, session="s-1")["grants"]
    assert listed == before


@pytest.mark.parametrize(
    "more",
    [
        {"starts": HOUR, "duration": HOUR},
        {"starts": NOON + HOUR, "until": NOON + 3 * HOUR},
        {"starts": NOON - timedelta(seconds=5), "duration": 3 * HOUR},
        {"until": NOON + 3 * HOUR},
    ],
)
def test_same_request_again_is_no_change_even_after_the_start(
    live: Engine, clock: FakeClock, more: dict[str, Any]
) -> None:
    """A playbook run every ten minutes assigns once, though its start has come to lie in the past."""
    first = assign(live, clock, idempotent=True, **more)
    for _ in range(11):
        clock.advance(minutes=10)
        again = assign(live, clock, idempotent=True, **more)
        assert again["grant"] == {**first["grant"], "valid": again["grant"]["valid"]}
        assert not again["changed"]


def test_history_keeps_starts_and_outlives_the_session(live: Engine, clock: FakeClock) -> None:
    """Assigned, updated and ended with the session: who, when and why, after all of it is over."""
    assign(live, clock, starts=HOUR, reason="exam")
    watcher.update(live, clock, session="s-1", watcher="bo", actor="ann", add=["end"], reason="longer")
    with live.transaction() as tx:
        sessions.move_to(
            tx, session_id="s-1", state=SessionState.FAILED, expected=frozenset(SessionState), now=clock.now()
        )
    rows = watcher.history(live, session="s-1")["history"]
    assert [(row["change"], row["actor"], row["reason"]) for row in rows] == [
        ("assigned", "root", "exam"),
        ("updated", "ann", "longer"),
        ("revoked", "vmm", "session failed"),
    ]
    assert {row["starts_at"] for row in rows} == {"2026-01-31T13:00:00.000000Z"}
    assert rows[1]["privileges"] == ["end", "suspend", "view"]


@pytest.mark.parametrize(
    "text", ["2026-01-31T12:00Z", "2026-01-31 12:00:00+00:00", "2026-01-31T14:00+02:00", "20260131T120000Z"]
)
def test_time_in_any_zone_is_read(text: str) -> None:
    """ISO 8601 with its zone is the same moment, however it is spelled."""
    assert read_time(text) == NOON == read_moment(text)
    assert read_time(text).tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tomorrow",
        "2026-01-31",
        "2026-01-31T12:00",
        "2026-13-01T00:00Z",
        "0001-01-01T00:00+14:00",
        "1h30m",
        "-1h",
        "1 h",
        "\uff11h",
        "9999999h",
        "2026-01-31T12:00Z\n;DROP",
        "\x1b[2J",
        "x" * 500,
    ],
)
def test_what_is_no_time_is_refused_printably(text: str) -> None:
    """Neither a time with its zone nor a duration: the message says so and can be shown anywhere."""
    with pytest.raises(ValueError, match=r"is not a time such as|does not say its time zone") as refused:
        read_moment(text)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 200
    with pytest.raises(ValueError, match="is not a duration"):
        read_duration(text)


def test_start_in_another_zone_is_kept_in_utc(live: Engine, clock: FakeClock) -> None:
    """All stored times compare as text."""
    made = assign(live, clock, starts=read_time("2026-01-31T15:30+02:00"))["grant"]
    assert from_text(made["starts_at"]) == NOON + 1.5 * HOUR
