"""The suspend right by playbooks, as by hand or from AWX, on a session that stands in the state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ..made_site import MadeSite, make_site
from .by_hand import run_by_hand


@pytest.fixture
def site(tmp_path: Path) -> MadeSite:
    """Live session s-1 with bo, who holds the right, and cy."""
    made = make_site(tmp_path)
    made.claim()
    for name in ("bo", "cy"):
        made.vmm("watcher", "assign", "s-1", name, "--privilege", "suspend")
    made.vmm("watcher", "lock", "acquire", "s-1", "bo")
    return made


def play(site: MadeSite, name: str, **variables: str) -> tuple[int, str]:
    """Run a playbook of the project by ansible-playbook; its status and output."""
    done = run_by_hand(site, name, watcher_session="s-1", **variables)
    return done.returncode, done.stdout


def right(site: MadeSite) -> Any:
    return site.json("watcher", "lock", "show", "s-1")[1]["result"]["right"]


def test_right_is_handed_over_and_broken_once(site: MadeSite) -> None:
    """A second run changes nothing; the audit chain says who came through which door."""
    hand = {"watcher_name": "bo", "watcher_to": "cy"}
    for changed in (1, 0):
        status, told = play(site, "watcher_lock_hand_over", **hand)
        assert (status, f"changed={changed}" in told) == (0, True), told
        assert (right(site)["holder"], right(site)["fence"]) == ("cy", 2)
    reason = {"watcher_reason": "cy is away", "awx_user_name": "olga"}
    for changed in (1, 0):
        status, told = play(site, "watcher_lock_break", **reason)
        assert (status, f"changed={changed}" in told) == (0, True), told
        assert right(site)["holder"] is None
    first, second = site.json("audit", "log", "--limit", "2")[1]["result"]["events"]
    assert (first["action"], first["from"]["door"]) == ("watcher.lock.hand_over", "playbook")
    assert (second["action"], second["from"]["door"]) == ("watcher.lock.break", "awx")
    assert (second["actor"], second["result"]["reason"]) == ("olga", "cy is away")


def test_right_is_renewed_by_its_holder_and_taken_by_nobody(site: MadeSite) -> None:
    """Each run prolongs the same turn; whoever does not hold it is refused as by the command line."""
    before = right(site)
    status, told = play(site, "watcher_lock_renew", watcher_name="bo", watcher_seconds="3600")
    assert (status, "changed=1" in told) == (0, True), told
    after = right(site)
    assert (after["holder"], after["fence"]) == ("bo", before["fence"])
    assert after["expires_at"] > before["expires_at"]
    site.vmm("watcher", "lock", "release", "s-1", "bo")
    for name in ("bo", "cy"):
        _code, document = site.json("watcher", "lock", "renew", "s-1", name)
        status, told = play(site, "watcher_lock_renew", watcher_name=name)
        assert (status, document["error"]["message"] in told) == (2, True), told
    assert right(site)["holder"] is None


def test_break_by_a_watcher_or_without_a_reason_fails(site: MadeSite) -> None:
    """The failed task says why; the right stays where it is."""
    for variables, why in (
        ({"watcher_reason": "mine", "awx_user_name": "cy"}, "only the operator may"),
        ({}, "without saying why"),
    ):
        status, told = play(site, "watcher_lock_break", **variables)
        assert (status, why in told) == (2, True), told
    assert right(site)["holder"] == "bo"
