"""Rollouts by the real playbooks, on VMs of the test driver that do not answer: every way out but success."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from vmm_automation.adapters.cached_files import sha256_of

from ..made_site import MadeSite, make_site
from .test_playbooks import play

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


def test_batch_that_is_none_is_refused(fleet: MadeSite) -> None:
    """Before anything is begun."""
    status, document = fleet.json("ua", "install", "tool", "--batch", "some")
    assert (status, document["error"]["class"]) == (2, "UsageError")
