"""Selection and explanation through the playbooks: the same documents as by the command."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from vmm_automation.model.ua import DeploymentState
from vmm_automation.state import ledger, vms

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
