"""The queue through the command line: waiting, listing, canceling, and how each ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from vmm_automation.content import content_directory
from vmm_automation.model.ua import DeploymentState
from vmm_automation.state import audit, ledger, vms

from ..made_site import MadeSite, make_site

OPEN = ("session", "open", "--user", "bo", "--ua", "radicale", "--terminal", "phone")
DEADLINE_S = 60


@pytest.fixture
def full(tmp_path: Path) -> MadeSite:
    """One VM with the UA, in use."""
    site = make_site(tmp_path, running=["vm-1"])
    site.claim("s-1", vm="vm-1")
    with site.store() as store, store.transaction() as tx:
        now, state = datetime.now(UTC), DeploymentState.ACTIVE
        ledger.record(tx, vm="vm-1", ua="radicale", version="3.5.4", state=state, now=now)
        vms.mark_dirty(tx, vm="vm-1", reason="session s-1", now=now)
    return site


def waiting_command(site: MadeSite, *words: str) -> subprocess.Popen[str]:
    """The command at work, once it stands in the queue."""
    process = subprocess.Popen(
        [sys.executable, "-m", "vmm_automation", *OPEN, "--wait", "300", *words],
        env={**site.environment, "PYTHONPATH": str(content_directory())},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until(lambda: queue(site))
    return process


def queue(site: MadeSite) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = site.json("session", "queue")[1]["result"]["queue"]
    return found


def until(holds: Any) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def actions(site: MadeSite) -> list[str]:
    with site.store() as store, store.reading() as tx:
        return [each["action"] for each in audit.log(tx) if each["action"].startswith("request.")]


def test_queue_of_nobody_is_empty(full: MadeSite) -> None:
    """Both ways of answering."""
    assert queue(full) == []
    assert full.vmm("session", "queue").stdout == "No request waits.\n"


def test_deadline_has_its_exit_code_and_the_position(full: MadeSite) -> None:
    """Told on the way on standard error, and at the end in the error."""
    done = full.vmm(*OPEN, "--wait", "1")
    assert done.returncode == 12, done.stderr
    assert "waits at position 1 of 1" in done.stderr
    assert "it stood at position 1" in done.stderr
    assert actions(full) == ["request.enqueue", "request.give_up"]


def test_dry_run_tells_the_position(full: MadeSite) -> None:
    """And keeps nothing."""
    before = full.dump()
    done = full.vmm(*OPEN, "--wait", "--check")
    assert (done.returncode, done.stdout) == (0, "Would wait at position 1\n"), done.stderr
    assert full.dump() == before


def test_canceled_request_is_listed_until_then(full: MadeSite) -> None:
    """The other command ends with the code of a cancellation, and says who it was."""
    process = waiting_command(full, "--priority", "3")
    [listed] = queue(full)
    assert (listed["user"], listed["position"], listed["priority"]) == ("bo", 1, 3)
    assert listed["request"] in full.vmm("session", "queue").stdout
    assert full.vmm("session", "cancel", listed["request"], "--check").returncode == 0
    assert full.json("session", "cancel", listed["request"])[1]["changed"]
    _, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 14, said
    assert "was canceled by" in said
    assert full.vmm("session", "cancel", listed["request"]).returncode == 4
    assert actions(full) == ["request.enqueue", "request.cancel"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_leaves_the_queue(full: MadeSite, number: signal.Signals) -> None:
    """The row is taken out by the process itself, before the command ends."""
    process = waiting_command(full)
    process.send_signal(number)
    _, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 14, said
    assert actions(full) == ["request.enqueue", "request.give_up"]
    assert [line for line in full.dump() if line.startswith("waiting_requests")] == []


def test_killed_command_waits_no_longer(full: MadeSite) -> None:
    """With SIGKILL nothing of it can leave by itself: the next look passes it over."""
    process = waiting_command(full)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=DEADLINE_S)
    assert queue(full) == []
