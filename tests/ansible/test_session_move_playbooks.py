"""Moving a session through both doors, on VMs where nothing answers: what needs no guest, and undoing."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from vmm_automation.model.session import LIVE, SessionState
from vmm_automation.model.ua import DeploymentState
from vmm_automation.state import ledger, sessions, vms

from ..made_site import MadeSite, make_site
from .test_playbooks import play

PHONE = {"session_id": "s-1", "session_terminal": "phone"}


@pytest.fixture
def site(tmp_path: Path) -> MadeSite:
    """Session s-1 is active on vm-1; vm-2 is clean."""
    made = make_site(tmp_path, running={"vm-1": 1, "vm-2": 2})
    with made.store() as store, store.transaction() as tx:
        now = datetime.now(UTC)
        for vm in ("vm-1", "vm-2"):
            vms.mark_clean(tx, vm=vm, now=now)
            active = DeploymentState.ACTIVE
            ledger.record(tx, vm=vm, ua="radicale", version="3.5.4", state=active, now=now)
        what: dict[str, Any] = {
            "user": "ann",
            "ua": "radicale",
            "version": "3.5.4",
            "vm": "vm-1",
            "terminal": "desktop",
        }
        sessions.claim(tx, session_id="s-1", explanation={}, owner="", now=now, **what)
        vms.mark_dirty(tx, vm="vm-1", reason="test", now=now)
        sessions.move_to(tx, session_id="s-1", state=SessionState.ACTIVE, expected=LIVE, now=now)
    return made


def test_both_doors_move_a_session_to_another_terminal(site: MadeSite) -> None:
    """The playbook changes it, the command finds it done; a dry run of either tells where it would go."""
    before = site.dump()
    planned = play(site, "session_move", "--check", **PHONE, session_avoid=["vm-1"])
    status, told = site.json("session", "move", "s-1", "--terminal", "phone", "--avoid", "vm-1", "--check")
    assert (planned.status, status) == (0, 0), planned.text
    assert planned.stats["to"] == told["result"]["to"] == "vm-2"
    assert site.dump() == before
    moved = play(site, "session_move", **PHONE)
    assert (moved.status, moved.changed) == (0, 1), moved.text
    assert (moved.stats["session"]["terminal"], moved.stats["to"]) == ("phone", "vm-1")
    status, again = site.json("session", "move", "s-1", "--terminal", "phone")
    assert (status, again["changed"]) == (0, False)


def test_move_whose_guests_do_not_answer_is_undone_in_the_same_run(site: MadeSite) -> None:
    """The failure is the guest's; the session is active where it was, and says that its UA is stopped."""
    failed = play(site, "session_move", **PHONE, session_avoid=["vm-1"])
    assert failed.status != 0
    assert "could not be reached over SSH" in failed.text
    shown = site.json("session", "show", "s-1")[1]["result"]["session"]
    assert (shown["vm"], shown["state"], shown["terminal"]) == ("vm-1", "active", "desktop")
    assert shown["reason"] == "its move was undone, its UA is stopped"
    status, refused = site.json("session", "move", "s-1", "--terminal", "phone")
    assert (status, refused["error"]["hint"]) == (5, "vmm reconcile")
