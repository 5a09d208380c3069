"""Idle and maximum time, and how many sessions a user may have."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vmm_automation.errors import Conflict, NotFound
from vmm_automation.model.session import LIVE, TRANSITIONS, Session, SessionState
from vmm_automation.model.times import to_text
from vmm_automation.operations import session, session_claim, suspension
from vmm_automation.operations.context import Context
from vmm_automation.operations.reconcile import reconcile
from vmm_automation.operations.session_abandon import find
from vmm_automation.state import sessions, vms
from vmm_automation.state.sessions import SeatTaken
from vmm_automation.state.store import Engine, Tx

from ..fake_clock import FakeClock
from .one_vm import OneVm, context, vm
from .test_lease_end import with_policies, with_site

__all__ = ["context", "vm"]
DOC = Path(__file__).parents[2] / "docs" / "sessions.md"
ASKED = session_claim.Request(user="ann", ua="cal", terminal="phone")


def take(tx: Tx, clock: FakeClock, name: str, *, user: str = "ann", limit: int = 0, vm: str = "") -> Session:
    """A claim of a VM of its own, by default."""
    vms.mark_clean(tx, vm=vm or f"vm-of-{name}", now=clock.now())
    return sessions.claim(
        tx,
        session_id=name,
        user=user,
        ua=f"ua-of-{name}",
        version="1",
        vm=vm or f"vm-of-{name}",
        terminal="phone",
        explanation={},
        owner="",
        now=clock.now(),
        user_limit=limit,
    )


def test_user_gets_as_many_sessions_as_allowed_and_no_more(store: Engine, clock: FakeClock) -> None:
    """Two of two; the third is refused with the first one's name; another user, or an ended one, is free."""
    with store.transaction() as tx:
        take(tx, clock, "s-1", limit=2)
        take(tx, clock, "s-2", limit=2)
        with pytest.raises(Conflict) as caught:
            take(tx, clock, "s-3", limit=2)
        assert take(tx, clock, "s-4", user="bo", limit=2).live
        anywhere = frozenset(SessionState)
        sessions.move_to(tx, session_id="s-1", state=SessionState.FAILED, expected=anywhere, now=clock.now())
        assert take(tx, clock, "s-5", limit=2).live
    assert not isinstance(caught.value, SeatTaken)
    assert caught.value.message == "Cannot open another session for user 'ann': 2 are open, 2 allowed"
    assert (caught.value.hint, caught.value.details["sessions"]) == ("vmm session close s-1", ["s-1", "s-2"])


def test_limit_is_in_the_one_write_of_the_claim(store: Engine, clock: FakeClock) -> None:
    """A refused claim leaves nothing, whatever was looked at before: no row, no seat."""
    with store.transaction() as tx:
        take(tx, clock, "s-1", limit=1)
        with pytest.raises(Conflict, match="1 allowed"):
            take(tx, clock, "s-2", limit=1)
        assert [each.id for each in sessions.list_sessions(tx)] == ["s-1"]
        assert sessions.live_on_vm(tx, vm="vm-of-s-2") is None


def test_seat_taken_is_told_before_the_limit_is_reached(store: Engine, clock: FakeClock) -> None:
    """A VM that is held is a reason to try the next one, not to refuse the user."""
    with store.transaction() as tx:
        take(tx, clock, "s-1", limit=3)
        with pytest.raises(SeatTaken):
            take(tx, clock, "s-2", limit=3, vm="vm-of-s-1")


@pytest.mark.parametrize(
    ("policies", "found"),
    [({"session_idle_s": 600}, "not used for 600 s"), ({"session_max_s": 600}, "open for longer than 600 s")],
)
def test_overdue_session_is_named_to_be_closed(
    context: Context, clock: FakeClock, policies: dict[str, int], found: str
) -> None:
    """Not a second before; by closing, so that its data is captured; without a limit never."""
    limited = with_policies(context, **policies)
    clock.advance(seconds=599)
    assert reconcile(limited)["findings"] == []
    clock.advance(seconds=1)
    done = reconcile(limited)
    assert done["to_close"] == [{"session": "s-1", "vm": "vm-1"}]
    assert done["findings"][0]["found"] == found
    assert session.begin_close(limited, "s-1")["steps"] == ["capture", "release"]


def test_use_begins_the_idle_time_anew_and_suspension_is_no_idleness(
    context: Context, clock: FakeClock
) -> None:
    """Touched, reconnected, suspended, resumed: each time ten more minutes; the maximum counts through."""
    limited = with_policies(context, session_idle_s=600, session_max_s=7200)
    uses: list[Callable[[], dict[str, Any]]] = [
        lambda: session.touch(limited, "s-1"),
        lambda: session_claim.claim(limited, ASKED),
    ]
    for use in uses:
        clock.advance(seconds=599)
        assert use()["session"]["id"] == "s-1"
        assert find(limited, "s-1").seen_at == to_text(clock.now())
        assert reconcile(limited)["findings"] == []
    with limited.store.transaction() as tx:  # a suspension longer than any lease
        sessions.move_to(tx, session_id="s-1", state=SessionState.SUSPENDED, expected=LIVE, now=clock.now())
    limited.hypervisor.pause("vm-1")
    clock.advance(seconds=4000)
    assert reconcile(limited)["findings"] == []
    suspension.resume(limited, "s-1")
    clock.advance(seconds=599)
    assert reconcile(limited)["findings"] == []
    clock.advance(seconds=1)
    assert [each["found"] for each in reconcile(limited)["findings"]] == ["not used for 600 s"]
    clock.advance(hours=1)
    assert [each["found"] for each in reconcile(limited)["findings"]] == ["open for longer than 7200 s"]


@pytest.mark.parametrize(("own", "due"), [(0, False), (5000, False), (60, True)])
def test_limit_of_a_ua_is_in_place_of_the_site_s(
    context: Context, clock: FakeClock, tmp_path: Path, own: int, due: bool
) -> None:
    """None at all, longer, or shorter than the site's."""
    directory = tmp_path / "site"
    shutil.copytree(context.site.directory, directory)
    with (directory / "uas" / "radicale.yml").open("a") as file:
        file.write(f"session_idle_s: {own}\n")
    limited = with_policies(context, session_idle_s=600)
    limited = with_site(limited, replace(limited.site, directory=directory))
    with limited.store.transaction() as tx:
        tx.execute("UPDATE sessions SET ua = 'radicale'")
    clock.advance(seconds=590 if due else 610)
    assert bool(reconcile(limited, check=True)["to_close"]) is due


def test_clock_that_goes_back_closes_nothing_early(context: Context, clock: FakeClock) -> None:
    """An age below zero is young."""
    limited = with_policies(context, session_idle_s=1, session_max_s=1)
    clock.advance(days=-400)
    assert reconcile(limited)["findings"] == []


def test_touch_is_refused_where_there_is_nothing_to_use(context: Context) -> None:
    """No such session; one that is suspended or closing. A dry run keeps nothing."""
    with pytest.raises(NotFound):
        session.touch(context, "s-9")
    before = find(context, "s-1")
    context.clock.sleep(1)
    assert session.touch(context, "s-1", check=True)["changed"]
    assert find(context, "s-1") == before
    suspension.suspend(context, "s-1", watcher="bo")
    with pytest.raises(Conflict, match="is suspended"):
        session.touch(context, "s-1")


def test_reconnecting_is_refused_while_the_vm_is_off_or_its_ua_is_not_running(
    context: Context, vm: OneVm
) -> None:
    """No dead endpoint is handed out; each refusal names what helps."""
    vm.power_cut()
    for check in (True, False):
        with pytest.raises(Conflict) as caught:
            session_claim.claim(context, ASKED, check=check)
        assert caught.value.hint == "vmm vm start vm-1"
    vm.start("vm-1")
    with pytest.raises(Conflict) as caught:
        session_claim.claim(context, ASKED)
    assert caught.value.hint == "vmm reconcile"


def test_documented_transitions_are_those_of_the_code() -> None:
    """The table in docs/sessions.md has a row for each state, with what may follow it, and no other."""
    life = DOC.read_text(encoding="utf-8").partition("## Life")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|([^|]*)\|", life, re.MULTILINE)
    documented = {state: set(re.findall(r"`(\w+)`", after)) for state, after in rows}
    assert documented == {str(state): set(map(str, after)) for state, after in TRANSITIONS.items()}
