"""Which sessions are due to be captured again; what is wrong with one does not hide another."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from vmm_automation.errors import GuestUnreachable, NotFound, Partial, SiteInvalid, VmmError
from vmm_automation.model.session import LIVE, SessionState
from vmm_automation.operations import image_due, session
from vmm_automation.operations.context import Context
from vmm_automation.site import Site
from vmm_automation.state import sessions, vms

from ..fake_clock import FakeClock
from .one_vm import context, vm
from .test_lease_end import with_site

__all__ = ["context", "vm"]

_EVERY_S = 900


@pytest.fixture
def timed(context: Context, tmp_path: Path) -> Context:
    """Active session s-1 of a UA that wants to be captured every quarter of an hour."""
    directory = tmp_path / "site"
    shutil.copytree(context.site.directory, directory)
    with (directory / "uas" / "radicale.yml").open("a") as file:
        file.write(f"capture: {{every_s: {_EVERY_S}}}\n")
    with context.store.transaction() as tx:
        tx.execute("UPDATE sessions SET ua = 'radicale'")
    return with_site(context, Site.load(directory))


def add(context: Context, name: str, *, ua: str) -> None:
    """One more active session, on a VM of its own."""
    with context.store.transaction() as tx:
        now = context.clock.now()
        vms.mark_clean(tx, vm=f"vm-{name}", now=now)
        what: dict[str, Any] = {
            "user": name,
            "ua": ua,
            "version": "1",
            "vm": f"vm-{name}",
            "terminal": "desktop",
        }
        sessions.claim(tx, session_id=name, explanation={}, owner="", now=now, **what)
        sessions.move_to(tx, session_id=name, state=SessionState.ACTIVE, expected=LIVE, now=now)


def due(context: Context) -> list[str]:
    return [each["session"] for each in image_due.due(context)["due"]]


def test_session_is_due_when_its_time_is_over(timed: Context, clock: FakeClock) -> None:
    """Not before; and not one whose UA says nothing."""
    add(timed, "s-2", ua="aria2")
    clock.advance(seconds=_EVERY_S - 60)
    assert due(timed) == []
    clock.advance(seconds=60)
    assert due(timed) == ["s-1"]


def test_ua_that_the_site_defines_no_more_or_wrongly_does_not_stop_the_others(
    timed: Context, clock: FakeClock
) -> None:
    """Its active sessions are told with what is wrong, the others are due."""
    (timed.site.directory / "uas" / "broken.yml").write_text("versions: 7\n")
    for name, ua in (("s-2", "gone"), ("s-3", "broken"), ("s-4", "gone")):
        add(timed, name, ua=ua)
    with timed.store.transaction() as tx:
        now = timed.clock.now()
        sessions.move_to(tx, session_id="s-4", state=SessionState.CLOSING, expected=LIVE, now=now)
    clock.advance(seconds=_EVERY_S)
    found = image_due.due(timed)
    assert [each["session"] for each in found["due"]] == ["s-1"]
    classes = {each["session"]: each["error"]["class"] for each in found["failures"]}
    assert classes == {"s-2": NotFound.__name__, "s-3": SiteInvalid.__name__}


def failure(session: str, error: VmmError) -> dict[str, object]:
    return {"session": session, "vm": f"vm-{session}", "error": error.to_document()}


def test_some_that_failed_are_a_partial_failure_that_lists_each() -> None:
    """Though it be one of two; the first one's hint is the thing to type."""
    gone = failure("s-2", NotFound("No UA 'gone'", hint="vmm ua list"))
    with pytest.raises(
        Partial, match=r"^1 of 2 sessions could not be captured \(s-2\); first: No UA"
    ) as told:
        image_due.judge([gone], tried=2)
    assert told.value.hint == "vmm ua list"
    assert [each["session"] for each in told.value.details["failures"]] == ["s-2"]
    lost = failure("s-3", GuestUnreachable("VM 'vm-3' could not be reached"))
    with pytest.raises(Partial, match=r"2 of 2 sessions .*\(s-2, s-3\)"):
        image_due.judge([gone, lost], tried=2)


def test_all_that_failed_in_one_way_fail_that_way() -> None:
    """With each in the details; none that failed is no failure."""
    lost = [failure(name, GuestUnreachable(f"VM of {name} is gone")) for name in ("s-1", "s-2")]
    with pytest.raises(GuestUnreachable, match="s-1") as told:
        image_due.judge(lost, tried=2)
    assert [each["session"] for each in told.value.details["failures"]] == ["s-1", "s-2"]
    assert image_due.judge([], tried=0) == {"changed": False}


def test_session_that_was_looked_at_in_vain_is_due_when_its_time_is_over_again(
    timed: Context, clock: FakeClock
) -> None:
    """Unchanged data are not compared again on each tick of the timer."""
    clock.advance(seconds=_EVERY_S)
    assert due(timed) == ["s-1"]
    image_due.looked(timed, "s-1")
    assert due(timed) == []
    clock.advance(seconds=_EVERY_S - 1)
    assert due(timed) == []
    clock.advance(seconds=1)
    assert due(timed) == ["s-1"]
    image_due.looked(timed, "s-that-is-gone")


def test_look_in_vain_has_no_part_in_the_audit_chain(timed: Context) -> None:
    """No entry, and what the next entry says of the session before is what the last one left."""
    session.touch(timed, "s-1")
    image_due.looked(timed, "s-1")
    session.touch(timed, "s-1")
    with timed.store.reading() as tx:
        first, second = tx.all("SELECT * FROM audit_events WHERE object = 's-1' ORDER BY seq DESC LIMIT 2")[
            ::-1
        ]
    assert (second["seq"], second["before_digest"]) == (first["seq"] + 1, first["after_digest"])
