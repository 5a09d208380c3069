"""Selection without a claim, and the explanation that a session keeps, through the command line."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from vmm_automation.model.session import SessionState
from vmm_automation.model.ua import DeploymentState
from vmm_automation.operations.context import open_context
from vmm_automation.operations.session_claim import Request, claim
from vmm_automation.state import ledger, sessions, vms

from ..made_site import MadeSite, make_site

SELECT = ("session", "select", "--user", "ann", "--ua", "radicale")


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MadeSite:
    """Three VMs: one clean and with the UA, one without it, one dirty."""
    site = make_site(tmp_path, running=["vm-1", "vm-2", "vm-3"])
    monkeypatch.setenv("VMM_HOME", str(site.home))
    with site.store() as store, store.transaction() as tx:
        now = datetime.now(UTC)
        for name in ("vm-1", "vm-2"):
            vms.mark_clean(tx, vm=name, now=now)
        for name in ("vm-1", "vm-3"):
            state = DeploymentState.ACTIVE
            ledger.record(tx, vm=name, ua="radicale", version="3.5.4", state=state, now=now)
    return site


def test_selection_tells_all_and_claims_nothing(fleet: MadeSite) -> None:
    """The VM that would be taken, each other's first failing filter, and no change of state."""
    before = fleet.dump()
    code, document = fleet.json(*SELECT, "--terminal", "phone")
    selection = document["result"]["selection"]
    assert (code, document["changed"]) == (0, False)
    assert [choice["vm"] for choice in selection["ranked"]] == ["vm-1"]
    assert selection["ranked"][0]["uses"]["resolution"] == "390x844"
    assert {each["vm"]: each["filter"] for each in selection["rejected"]} == {"vm-2": "ua", "vm-3": "clean"}
    assert selection["asked"]["terminal"]["hardware"]["screen_width_px"] == 390
    text = fleet.vmm(*SELECT, "--terminal", "phone").stdout
    assert "vm-1  chosen" in text
    assert "vm-2  ua" in text
    assert "Uses protocol http, resolution 390x844" in text
    assert fleet.dump() == before


def test_selection_without_a_fitting_vm_is_the_error_of_opening(fleet: MadeSite) -> None:
    """The same class and exit code, and the table for a person."""
    code, document = fleet.json(*SELECT, "--terminal", "text-only")
    assert (code, document["error"]["class"]) == (7, "NoVmFits")
    assert document["error"]["details"]["terminal"][0]["filter"] == "screen_width"
    told = fleet.vmm(*SELECT, "--vm", "vm-3")
    assert told.returncode == 7
    assert "vm-3  clean" in told.stderr


def test_difference_from_a_base_takes_part_as_merged(fleet: MadeSite) -> None:
    """What the request says wins over the base, and the answer shows both together."""
    _, document = fleet.json(*SELECT, "--terminal", "-", stdin=b"base: phone\nscreen_width_px: 400\n")
    terminal = document["result"]["selection"]["asked"]["terminal"]
    assert terminal["hardware"]["screen_width_px"] == 400
    assert terminal["network"]["bearer"] == "lte"


@pytest.mark.parametrize("ended", [False, True])
def test_session_explains_itself_even_after_its_end(fleet: MadeSite, ended: bool) -> None:
    """What was known when the seat was claimed is told, not what is now."""
    context = open_context(fleet.directory, actor="ops")
    session = claim(context, Request("ann", "radicale", "phone"))["session"]["id"]
    with fleet.store() as store, store.transaction() as tx:
        vms.forget(tx, vm="vm-2")
        if ended:
            before, now = frozenset({SessionState.STARTING}), datetime.now(UTC)
            sessions.move_to(tx, session_id=session, state=SessionState.FAILED, expected=before, now=now)
    code, document = fleet.json("session", "explain", session)
    found = document["result"]["explanation"]
    assert (code, found["vm"], found["state"]) == (0, "vm-1", "failed" if ended else "starting")
    assert {each["vm"]: each["filter"] for each in found["selection"]["rejected"]}["vm-2"] == "ua"
    text = fleet.vmm("session", "explain", session).stdout
    assert "vm-1  chosen" in text
    assert "version 600 (3.5.4 is the newest version)" in text


def test_explanation_says_how_many_vms_it_does_not_tell_of(fleet: MadeSite) -> None:
    """As kept by a large site: what is not shown is no secret."""
    context = open_context(fleet.directory, actor="ops")
    claimed = claim(context, Request("ann", "radicale", "phone"))
    kept = json.dumps({**claimed["selection"], "left_out": 990})
    with fleet.store() as store, store.transaction() as tx:
        tx.execute("UPDATE sessions SET explanation = :kept", kept=kept)
    assert "990 more are not told of" in fleet.vmm("session", "explain", claimed["session"]["id"]).stdout


def test_explanation_of_no_session_is_not_found(fleet: MadeSite) -> None:
    """As for every verb on a session."""
    assert fleet.json("session", "explain", "s-none")[0] == 4
