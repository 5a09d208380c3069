"""Pools by the real playbooks, on VMs of the test driver: all but making a VM."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..made_site import MadeSite
from ..pool_site import make_pool_site
from .test_playbooks import play

ONE, TWO, THREE = "web-00000001", "web-00000002", "web-00000003"


@pytest.fixture
def full(tmp_path: Path) -> MadeSite:
    """A pool that is as wanted."""
    return make_pool_site(tmp_path, members=[ONE, TWO])


def test_refill_of_a_full_pool_changes_nothing_dry_or_not(full: MadeSite) -> None:
    """A timer may run it as often as it likes."""
    for words in (["--check"], [], []):
        done = play(full, "pool_refill", *words)
        assert (done.status, done.changed) == (0, 0), done.text
        assert done.stats["pools"]["web"]["steps"] == []


def test_refill_parks_what_is_to_be_parked_and_a_dry_run_says_so(tmp_path: Path) -> None:
    """The dry run keeps nothing, the run keeps who did what."""
    site = make_pool_site(tmp_path, members=[ONE, TWO, THREE], levels="ready: 2\nparked: 1")
    before = site.dump()
    dry = play(site, "pool_refill", "--check")
    wet = play(site, "pool_refill", pool_names=["web"])
    assert before != site.dump()
    for done in (dry, wet):
        assert done.status == 0, done.text
        assert done.changed
        [step] = done.stats["pools"]["web"]["steps"]
        assert (step["action"], step["vm"]) == ("park", THREE)
    told = [row for row in site.dump() if row.startswith("audit_events") and THREE in row]
    assert [name for name in ("pool.park", "vm.park") if not any(name in row for row in told)] == []


def test_dry_run_of_a_refill_keeps_nothing(tmp_path: Path) -> None:
    """Neither who refills nor any step."""
    site = make_pool_site(tmp_path, members=[ONE], levels="ready: 3", lacking=[ONE])
    before = site.dump()
    done = play(site, "pool_refill", "--check")
    assert (done.status, done.stats["prepare"]) == (0, [ONE]), done.text
    assert [step["action"] for step in done.stats["pools"]["web"]["steps"]] == ["create", "create", "prepare"]
    assert site.dump() == before


def test_guest_that_does_not_answer_is_counted_until_the_pool_is_stopped(tmp_path: Path) -> None:
    """Each run fails with the reason; then the pool is left alone, and the error says how to go on."""
    levels = "ready: 1\nfailures_before_stop: 2"
    site = make_pool_site(tmp_path, members=[ONE], levels=levels, lacking=[ONE])
    first, second, third = (play(site, "pool_refill") for _run in range(3))
    assert first.error["class"] == "TaskFailed"
    assert f"VM '{ONE}' could not be reached" in first.error["message"]
    assert second.error["hint"] == "vmm pool refill web --reset"
    assert third.error["class"] == "Conflict"
    assert "stopped after 2 failures in a row" in third.error["message"]
    assert third.error["hint"] == "vmm pool refill web --reset"
    again = play(site, "pool_refill", pool_reset=True)
    assert again.error["class"] == "TaskFailed"
    assert "stopped" not in again.error["message"]


def test_run_that_failed_lets_the_next_one_begin(tmp_path: Path) -> None:
    """Nobody holds a pool whose refill is over, however it ended."""
    site = make_pool_site(tmp_path, members=[ONE], levels="ready: 1", lacking=[ONE])
    assert play(site, "pool_refill").status != 0
    [row] = [row for row in site.dump() if row.startswith("pools ")]
    assert "'owner': ''" in row


def test_scale_and_drain_are_kept_once(full: MadeSite) -> None:
    """The second time nothing changes; a dry run keeps nothing."""
    for name, variables in (
        ("pool_scale", {"pool_ready": 1, "pool_parked": 1}),
        ("pool_scale", {"pool_reset": True}),
        ("pool_drain", {}),
        ("pool_undrain", {}),
    ):
        runs = [play(full, name, *words, pool_names=["web"], **variables) for words in (["--check"], [], [])]
        assert [(done.status, done.changed) for done in runs] == [(0, 1), (0, 1), (0, 0)], name


def test_deletion_needs_to_be_allowed(full: MadeSite) -> None:
    """Draining alone destroys nothing; the failure names the variable."""
    done = play(full, "pool_drain", pool_names=["web"], pool_delete=True)
    assert done.error["class"] == "UsageError"
    assert "pool_allow_destroy=true" in done.error["hint"]
    allowed = {"pool_delete": True, "pool_allow_destroy": True}
    told = play(full, "pool_drain", "--check", pool_names=["web"], **allowed)
    assert told.stats["deleted"] == [ONE, TWO]


def test_pool_that_is_not_there_is_not_found(full: MadeSite) -> None:
    """By every playbook, with what there is."""
    for name in ("pool_refill", "pool_scale", "pool_drain", "pool_undrain"):
        done = play(full, name, pool_names=["wbe"], pool_ready=1)
        assert done.error["class"] == "NotFound", name
        assert "did you mean 'web'?" in done.error["message"]
