"""Captures on a timer through each door, on libvirt's test driver: no guest answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ..made_site import MadeSite, make_site
from .test_playbooks import play


@pytest.fixture
def site(tmp_path: Path) -> MadeSite:
    """s-1 and s-2 run a UA that is due every second, s-3 one that the site does not define."""
    made = make_site(tmp_path, running=["vm-1", "vm-2", "vm-3"])
    with (made.directory / "uas" / "radicale.yml").open("a") as file:
        file.write("capture: {every_s: 1}\n")
    for number in (1, 2, 3):
        made.claim(f"s-{number}", vm=f"vm-{number}", user=f"ann{number}")
    with made.store() as store, store.transaction() as tx:
        tx.execute("UPDATE sessions SET state = 'active', ua = 'radicale'")
        tx.execute("UPDATE sessions SET ua = 'gone' WHERE id = 's-3'")
        tx.execute("UPDATE sessions SET created_at = '2026-01-01T00:00:00.000000Z'")
    return made


def classes(error: dict[str, Any]) -> dict[str, str]:
    return {each["session"]: each["error"]["class"] for each in error["details"]["failures"]}


def test_each_session_is_tried_and_what_failed_is_listed(site: MadeSite) -> None:
    """An undefined UA and guests that do not answer: a partial failure, with every session."""
    expected = {"s-1": "GuestUnreachable", "s-2": "GuestUnreachable", "s-3": "NotFound"}
    code, failed = site.json("image", "capture", "--due")
    assert (code, failed["error"]["class"], classes(failed["error"])) == (13, "Partial", expected)
    played = play(site, "image_capture_due")
    assert classes(played.error) == expected


def test_sessions_that_all_fail_in_one_way_fail_the_run_that_way(site: MadeSite) -> None:
    """As with VMs: exit code and class are those of the failure."""
    with site.store() as store, store.transaction() as tx:
        tx.execute("UPDATE sessions SET state = 'closing' WHERE ua = 'gone'")
    code, failed = site.json("image", "capture", "--due")
    assert (code, set(classes(failed["error"]))) == (10, {"s-1", "s-2"})
