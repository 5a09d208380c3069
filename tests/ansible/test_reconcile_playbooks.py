"""Reconciling and touching through each door, on a site whose VMs are libvirt's test driver's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vmm_automation.model.session import SessionState
from vmm_automation.state import sessions

from ..made_site import MadeSite, make_site
from .test_playbooks import play


@pytest.fixture
def site(tmp_path: Path) -> MadeSite:
    """vm-1 runs, s-1 is active on it; s-2 is on vm-2, which is not there."""
    made = make_site(tmp_path, running=["vm-1"])
    made.claim("s-1", vm="vm-1", user="ann")
    made.claim("s-2", vm="vm-2", user="bo")
    for name in ("s-1", "s-2"):
        move(made, name, SessionState.ACTIVE)
    return made


def move(site: MadeSite, name: str, state: SessionState) -> None:
    with site.store() as store, store.transaction() as tx:
        now = sessions.get(tx, session_id=name).changed_at
        tx.execute("UPDATE sessions SET state = :s, changed_at = :at WHERE id = :i", s=state, at=now, i=name)


def listed(result: dict[str, Any]) -> list[tuple[str, str]]:
    return [(finding["session"], finding["action"]) for finding in result["findings"]]


def test_both_doors_find_the_same_and_change_once(site: MadeSite) -> None:
    """A dry run tells and changes nothing; the first run marks the session; through neither door a second."""
    before = site.dump()
    code, dry = site.json("reconcile", "--check")
    assert (code, dry["changed"], listed(dry["result"])) == (0, True, [("s-2", "mark")])
    assert play(site, "reconcile", "--check").stats["findings"] == dry["result"]["findings"]
    assert site.dump() == before
    code, done = site.json("reconcile")
    assert (code, done["changed"], done["result"]["findings"]) == (0, True, dry["result"]["findings"])
    after = site.dump()
    played = play(site, "reconcile")
    assert (played.status, played.changed) == (0, 0), played.text
    assert listed(played.stats) == [("s-2", "none")]
    assert site.dump() == after
    assert "vm-2' does not exist" in site.json("session", "show", "s-2")[1]["result"]["session"]["reason"]
    told = site.vmm("reconcile").stdout
    assert "s-2: active, VM gone; wanted: its VM 'vm-2' does not exist any more; none" in told


def test_what_cannot_be_done_in_one_guest_fails_the_run_after_all_was_tried(site: MadeSite) -> None:
    """An overdue session whose guest does not answer: its class of failure, and the other one is seen to."""
    policies = "policies: {session_max_s: 1}\n"
    with (site.directory / "site.yml").open("a") as file:
        file.write(policies)
    with site.store() as store, store.transaction() as tx:
        tx.execute("UPDATE sessions SET created_at = '2026-01-01T00:00:00.000000Z'")
    code, failed = site.json("reconcile")
    assert (code, failed["error"]["class"]) == (10, "GuestUnreachable")
    with site.store() as store, store.reading() as tx:
        found = {each.id: (each.state, each.reason != "") for each in sessions.list_sessions(tx)}
    assert found == {"s-1": (SessionState.CLOSING, False), "s-2": (SessionState.ACTIVE, True)}


def test_session_is_touched_through_both_doors(site: MadeSite) -> None:
    """Each time anew; a dry run does not."""
    before = site.dump()
    assert site.json("session", "touch", "s-1", "--check")[1]["changed"]
    assert play(site, "session_touch", "--check", session_id="s-1").changed == 1
    assert site.dump() == before
    first = site.json("session", "touch", "s-1")[1]["result"]["session"]["seen_at"]
    second = play(site, "session_touch", session_id="s-1").stats["session"]["seen_at"]
    assert "" < first < second


def test_session_is_discarded_where_that_is_allowed(site: MadeSite) -> None:
    """Without the word nothing is begun, in a dry run either."""
    discard = {"session_id": "s-2", "session_discard": True}
    before = site.dump()
    for words in ((), ("--check",)):
        refused = play(site, "session_close", *words, **discard)
        assert (refused.status, "session_allow_destroy=true" in refused.error["hint"]) == (2, True)
    assert site.dump() == before
    closed = play(site, "session_close", **discard, session_allow_destroy=True)
    assert closed.stats["session"]["state"] == "closed", closed.text


def test_session_is_reached_neither_by_capture_nor_by_deploy_where_its_vm_is_gone(site: MadeSite) -> None:
    """The hint is what can still be done."""
    for words in (("image", "capture", "s-2"), ("image", "deploy", "s-2", "--yes")):
        error = site.json(*words)[1]["error"]
        assert (error["class"], error["hint"]) == ("Conflict", "vmm session close s-2 --discard")
