"""Rollouts by the real playbooks, on VMs of the test driver that do not answer: every way out but success."""

from __future__ import annotations

import io
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from vmm_automation.adapters.cached_files import sha256_of
from vmm_automation.adapters.disks import VmFiles
from vmm_automation.adapters.lockfile import exclusive
from vmm_automation.model.session import SessionState
from vmm_automation.places import Places
from vmm_automation.state import holds, pools, rollouts, sessions

from ..made_site import NAME, MadeSite, make_site
from ..pool_site import make_pool_site
from .test_playbooks import play

VERBS = ("install", "update", "deliver", "activate", "deactivate", "rollback", "remove", "status")
DEFINITION = """\
versions:
  "1":
    kind: archive
    artifacts: [{{source: app.tar, sha256: "{digest}"}}]
"""


@pytest.fixture
def fleet(tmp_path: Path) -> MadeSite:
    """Three VMs that count as running, and a UA for them."""
    site = make_site(tmp_path, running=["vm-1", "vm-2", "vm-3"])
    path = site.directory / "uas" / "app.tar"
    with tarfile.open(path, "w") as archive:
        entry = tarfile.TarInfo("run")
        entry.size = 1
        archive.addfile(entry, io.BytesIO(b"x"))
    (site.directory / "uas" / "tool.yml").write_text(DEFINITION.format(digest=sha256_of(path)))
    return site


def test_batches_go_on_behind_a_failed_one_until_the_limit(fleet: MadeSite) -> None:
    """A batch of which nothing works does not end the play: the limit does, and every VM is told of."""
    words = ("ua", "install", "tool", "--batch", "1,50%", "--max-failures", "2")
    status, document = fleet.json(*words)
    error = document["error"]
    assert (status, error["class"]) == (10, "GuestUnreachable")
    told = error["details"]["vms"]
    assert [told[vm]["outcome"] for vm in ("vm-1", "vm-2")] == ["failed", "failed"]
    assert [row for row in fleet.dump() if row.startswith("rollout")] == []


def test_rollout_one_by_one_stops_at_its_limit(fleet: MadeSite) -> None:
    """In the order of their names; those that were not begun are told as such."""
    done = play(fleet, "ua_install", ua_id="tool", ua_batch="1", ua_max_failures=1)
    told = done.error["details"]["vms"]
    assert {vm: each["outcome"] for vm, each in told.items()} == {
        "vm-1": "failed",
        "vm-2": "skipped",
        "vm-3": "skipped",
    }
    assert told["vm-3"]["reason"] == "stopped: failed on vm-1"


def test_vms_in_sessions_are_skipped_and_told(fleet: MadeSite) -> None:
    """Whoever uses a VM is not disturbed: nothing is done there, and the answer says why."""
    for number in (1, 2, 3):
        fleet.claim(f"s-{number}", vm=f"vm-{number}", user=f"user-{number}")
    done = play(fleet, "ua_install", ua_id="tool", ua_batch="1")
    assert done.error["class"] == "Conflict"
    assert done.error["details"]["vms"]["vm-2"]["reason"] == "busy: session 's-2'"


@pytest.mark.parametrize(
    ("playbook", "ua", "allowed"),
    [("ua_install", "tool", {}), ("ua_remove", "radicale", {"ua_allow_destroy": True})],
)
def test_session_that_is_waited_for_can_end(
    fleet: MadeSite, playbook: str, ua: str, allowed: dict[str, bool]
) -> None:
    """To close, it needs the VM for itself: whoever waits for it does not have the VM meanwhile."""
    fleet.claim(vm="vm-1")
    with ThreadPoolExecutor(1) as beside:
        asked = {"ua_vms": ["vm-1"], "ua_drain_s": 30, **allowed}
        playing = beside.submit(play, fleet, playbook, ua_id=ua, **asked)
        while not playing.done() and not _is_held(fleet, "vm-1"):
            time.sleep(0.1)
        with exclusive(VmFiles(Places(fleet.home).vms / NAME / "vm-1").lock):
            _end(fleet, "s-1")
    assert playing.result().error["class"] == "GuestUnreachable"
    assert not _is_held(fleet, "vm-1")


def test_version_that_comes_while_a_rollout_goes_on_is_not_in_it(fleet: MadeSite) -> None:
    """What the first batch tried is what the others get, though none was named."""
    with ThreadPoolExecutor(1) as beside:
        with exclusive(VmFiles(Places(fleet.home).vms / NAME / "vm-2").lock):
            playing = beside.submit(play, fleet, "ua_install", ua_id="tool", ua_batch="1", ua_max_failures=3)
            while not playing.done() and not _delivered(fleet):
                time.sleep(0.1)
            file = fleet.directory / "uas" / "tool.yml"
            text = file.read_text()
            file.write_text(text + text.partition("versions:\n")[2].replace('"1"', '"2"'))
        assert playing.result().error["class"] == "GuestUnreachable"
    assert _delivered(fleet) == {f"vm-{number}": {"tool": "1"} for number in (1, 2, 3)}


def _delivered(fleet: MadeSite) -> dict[str, dict[str, str]]:
    """Of each VM what was tried."""
    with fleet.store() as store, store.reading() as tx:
        rows = tx.all("SELECT vm, ua, version FROM deployments WHERE ua = 'tool' ORDER BY vm")
    return {row["vm"]: {row["ua"]: row["version"]} for row in rows}


def _is_held(fleet: MadeSite, vm: str) -> bool:
    with fleet.store() as store, store.reading() as tx:
        return holds.reason(tx, vm=vm, now=datetime.now(UTC)) != ""


def _end(fleet: MadeSite, session: str) -> None:
    with fleet.store() as store, store.transaction() as tx:
        starting = frozenset({SessionState.STARTING})
        now = datetime.now(UTC)
        sessions.move_to(tx, session_id=session, state=SessionState.FAILED, expected=starting, now=now)


def test_batch_that_is_none_is_refused(fleet: MadeSite) -> None:
    """Before anything is begun."""
    status, document = fleet.json("ua", "install", "tool", "--batch", "some")
    assert (status, document["error"]["class"]) == (2, "UsageError")


def test_plan_tells_vm_order_and_batch_and_changes_nothing(fleet: MadeSite) -> None:
    """The same by command and by playbook; no VM is asked: none of these would answer."""
    fleet.claim("s-1", vm="vm-2")
    words = ("ua", "install", "tool", "--batch", "1,2", "--limit", "!vm-1", "--order", "newest")
    status, document = fleet.json(*words, "--plan")
    assert (status, document["changed"]) == (0, False)
    steps = [(step["vm"], step["batch"], step["does"]) for step in document["result"]["plan"]]
    assert steps == [("vm-2", 1, "skip"), ("vm-3", 2, "install")]
    by_hand = play(fleet, "ua_install", ua_id="tool", ua_batch="1,2", ua_limit="!vm-1", ua_plan=True)
    assert (by_hand.status, by_hand.changed, by_hand.stats["plan"]) == (0, 0, document["result"]["plan"])
    assert "vm-3" in fleet.vmm(*words, "--plan").stdout
    assert [row for row in fleet.dump() if row.startswith(("rollout", "deployments"))] == []


def test_every_verb_takes_a_pattern_of_vms(fleet: MadeSite) -> None:
    """Only what matches is worked on; a pattern of no VM is refused by each of them."""
    for verb in VERBS:
        more = ("--yes",) if verb == "remove" else ()
        status, document = fleet.json("ua", verb, "tool", "--limit", "x*", *more)
        assert (status, document["error"]["class"]) == (4, "NotFound"), verb
    done = play(fleet, "ua_status", ua_id="tool", ua_limit="vm-3")
    assert "fatal: [vm-3]" in done.text
    assert "vm-1]" not in done.text


def test_every_verb_takes_a_pool(tmp_path: Path) -> None:
    """Only its VMs are worked on, by command and by playbook; a pool that there is not is refused by each."""
    site = make_pool_site(tmp_path, members=["web-1", "vm-1"])
    with site.store() as store, store.transaction() as tx:
        pools.forget(tx, vm="vm-1")
    for verb in VERBS:
        more = ("--yes",) if verb == "remove" else ()
        status, document = site.json("ua", verb, "tool", "--pool", "wep", *more)
        assert (status, document["error"]["class"]) == (4, "NotFound"), verb
        assert "did you mean 'web'?" in document["error"]["message"], verb
    plan = site.json("ua", "install", "tool", "--pool", "web", "--plan")[1]["result"]["plan"]
    assert [step["vm"] for step in plan] == ["web-1"]
    assert play(site, "ua_install", ua_id="tool", ua_pool="web", ua_plan=True).stats["plan"] == plan


def test_vms_of_a_pool_are_the_first_of_a_rollout_where_that_is_asked_for(tmp_path: Path) -> None:
    """A label as order, through both doors; one that is none is refused by both."""
    site = make_pool_site(tmp_path, members=["web-1", "vm-1"])
    with site.store() as store, store.transaction() as tx:
        pools.forget(tx, vm="vm-1")
    words = ("ua", "update", "tool", "--plan", "--batch", "1")
    plan = site.json(*words, "--order", "label:web")[1]["result"]["plan"]
    assert [(step["vm"], step["batch"]) for step in plan] == [("web-1", 1), ("vm-1", 2)]
    named = {"ua_id": "tool", "ua_plan": True, "ua_batch": "1"}
    assert play(site, "ua_update", **named, ua_order="label:web").stats["plan"] == plan
    assert site.json(*words, "--order", "label:none")[1]["error"]["class"] == "NotFound"
    assert play(site, "ua_update", **named, ua_order="any").error["class"] == "UsageError"


def test_rollout_is_paused_shown_and_stopped_through_both_doors(fleet: MadeSite) -> None:
    """One that no process works on any more is taken over on its own terms, or given up."""
    assert fleet.json("ua", "rollout", "pause", "tool")[0] == 4
    with fleet.store() as store, store.transaction() as tx:
        request = {"version": "1", "batch": "1", "targets": ["vm-1", "vm-3"]}
        now = datetime.now(UTC)
        rollouts.begin(tx, ua="tool", holder="ann", owner="", now=now, request=request)
    assert play(fleet, "ua_rollout_pause", ua_id="tool").changed == 1
    (shown,) = fleet.json("ua", "rollout", "show", "tool")[1]["result"]["rollouts"]
    assert (shown["state"], list(shown["vms"])) == ("paused", ["vm-1", "vm-3"])
    assert "waiting" in fleet.vmm("ua", "rollout", "show").stdout
    status, document = fleet.json("ua", "install", "tool")
    assert (status, document["error"]["hint"]) == (6, "vmm ua rollout resume tool")
    before = fleet.dump()
    dry = play(fleet, "ua_rollout_resume", "--check", ua_id="tool")
    assert "fatal: [vm-1]" in dry.text
    assert fleet.dump() == before
    error = fleet.json("ua", "rollout", "resume", "tool")[1]["error"]
    assert {vm: told["outcome"] for vm, told in error["details"]["vms"].items()} == {
        "vm-1": "failed",
        "vm-3": "failed",
    }
    assert not play(fleet, "ua_rollout_stop", ua_id="tool").changed
    assert play(fleet, "ua_rollout_show").stats["rollouts"] == []
