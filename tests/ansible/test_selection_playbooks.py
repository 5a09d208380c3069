"""Selection, explanation and the queue through the playbooks: the same documents as by the command."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from vmm_automation.model.times import to_text
from vmm_automation.model.ua import DeploymentState
from vmm_automation.model.waiting import WaitingRequest
from vmm_automation.operations.ownership import owner_token
from vmm_automation.state import ledger, vms, waiting

from ..made_site import make_site
from .test_playbooks import play


def test_both_doors_select_and_explain_alike(tmp_path: Path) -> None:
    """The playbooks' documents are those of the commands, and nothing is changed by either."""
    site = make_site(tmp_path, running=["vm-1", "vm-2"])
    site.claim("s-1", vm="vm-2")
    with site.store() as store, store.transaction() as tx:
        now = datetime.now(UTC)
        vms.mark_clean(tx, vm="vm-1", now=now)
        ledger.record(tx, vm="vm-1", ua="radicale", version="3.5.4", state=DeploymentState.ACTIVE, now=now)
    before = site.dump()
    told = site.json("session", "select", "--user", "bo", "--ua", "radicale", "--terminal", "phone")[1][
        "result"
    ]
    asked = {
        "session_user": "bo",
        "session_ua": "radicale",
        "session_terminal": {"base": "phone", "name": "phone"},
    }
    played = play(site, "session_select", **asked)
    assert (played.status, played.changed) == (0, 0), played.text
    assert played.stats["selection"] == told["selection"]
    assert played.stats["selection"]["ranked"][0]["vm"] == "vm-1"
    explained = play(site, "session_explain", session_id="s-1")
    assert (
        explained.stats["explanation"] == site.json("session", "explain", "s-1")[1]["result"]["explanation"]
    )
    assert site.dump() == before


def test_both_doors_wait_list_and_cancel_alike(tmp_path: Path) -> None:
    """The queue's playbooks give the documents of the commands; a request that gives up leaves nothing."""
    site = make_site(tmp_path, running=["vm-1"])
    site.claim("s-1", vm="vm-1")
    with site.store() as store, store.transaction() as tx:
        now = datetime.now(UTC)
        ledger.record(tx, vm="vm-1", ua="radicale", version="3.5.4", state=DeploymentState.ACTIVE, now=now)
        at, later = to_text(now), to_text(now + timedelta(hours=1))
        owner = owner_token(os.getpid())
        waiting.add(tx, WaitingRequest("r-1", 1, 0, "ann", "radicale", "phone", owner, at, later, at))
    listed = play(site, "session_queue")
    assert (listed.status, listed.changed) == (0, 0), listed.text
    [told] = site.json("session", "queue")[1]["result"]["queue"]
    assert [{**each, "waited_s": 0} for each in listed.stats["queue"]] == [{**told, "waited_s": 0}]
    asked = {"session_user": "bo", "session_ua": "radicale", "session_terminal": "phone"}
    would = play(site, "session_open", "--check", session_wait_s=60, **asked)
    assert (would.status, would.stats["queue"]["position"]) == (0, 2), would.text
    urgent = play(site, "session_open", session_wait_s=1, session_priority=2, **asked)
    assert (urgent.error["class"], urgent.error["details"]["position"]) == ("WaitedInVain", 1), urgent.text
    dry = play(site, "session_cancel", "--check", session_request="r-1")
    done = play(site, "session_cancel", session_request="r-1")
    assert (dry.changed, done.changed, done.stats["request"]["request"]) == (1, 1, "r-1"), done.text
    assert play(site, "session_cancel", session_request="r-1").error["class"] == "NotFound"
    assert site.json("session", "queue")[1]["result"]["queue"] == []
