"""A read-only session says what it is through both doors, at its end and where it is asked for its data."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.claims import claim
from vmm_automation.model.policies import SecondSession
from vmm_automation.model.session import LIVE, SessionState
from vmm_automation.state import sessions, vms

from ..made_site import MadeSite, make_site
from .test_playbooks import play


@pytest.fixture
def site(tmp_path: Path) -> MadeSite:
    """Ann's s-1 on vm-1, and her read-only s-2 on vm-2, both active."""
    made = make_site(tmp_path, running=("vm-1", "vm-2"))
    with made.store() as store, store.transaction() as tx:
        now = datetime.now(UTC)
        for number in (1, 2):
            vms.mark_clean(tx, vm=f"vm-{number}", now=now)
            of = {"ua": "radicale", "version": "3.2.3"}
            claim(tx, f"s-{number}", **of, vm=f"vm-{number}", now=now, second=SecondSession.READ_ONLY)
            sessions.move_to(tx, session_id=f"s-{number}", state=SessionState.ACTIVE, expected=LIVE, now=now)
    return made


def test_mode_is_listed_and_shown(site: MadeSite) -> None:
    """In the documents and in the texts."""
    listed = site.json("session", "list")[1]["result"]["sessions"]
    assert [each["mode"] for each in listed] == ["writer", "read-only"]
    assert "read-only" in site.vmm("session", "list").stdout
    shown = site.json("session", "show", "s-2")[1]["result"]["session"]
    assert (shown["mode"], shown["deployed"]) == ("read-only", 0)
    assert "read-only" in site.vmm("session", "show", "s-2").stdout


def test_end_tells_that_nothing_is_stored(site: MadeSite) -> None:
    """By the playbook and by the command, before it is done: no step captures anything."""
    told = play(site, "session_close", "--check", session_id="s-2")
    assert (told.status, told.stats["steps"]) == (0, ["release"]), told.text
    assert told.stats["unsaved"] == "Session 's-2' is read-only: nothing that it writes is stored"
    done = site.vmm("session", "close", "s-2", "--check")
    assert "nothing of it is stored, for it was read-only" in done.stdout
    plain = play(site, "session_close", "--check", session_id="s-1")
    assert (plain.stats["steps"], plain.stats["unsaved"]) == (["capture", "release"], "")


def test_capture_is_refused_alike(site: MadeSite) -> None:
    """Nobody connects to the guest for that."""
    status, document = site.json("image", "capture", "s-2")
    assert (status, document["error"]["class"]) == (5, "Conflict")
    assert document["error"]["hint"] == "vmm session list"
    refused = play(site, "image_capture", user_image_session="s-2")
    assert (refused.status, "it is read-only" in refused.text) == (2, True)
