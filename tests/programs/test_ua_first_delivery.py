"""The first delivery of a UA: its bundle goes along with the script, and nothing is read before."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.programs.sandbox_guest import SandboxGuest
from tests.programs.test_ua_lifecycle import context, states
from tests.programs.test_ua_scripts import DEFINITION, INSTALL_STEPS, V1, V2, archive_bundle, leave_older_unit
from vmm_automation.adapters.bundles import Bundle
from vmm_automation.errors import ArtifactInvalid, DiskFull, TaskFailed
from vmm_automation.operations import deployment, ua, ua_scripts, ua_transfer
from vmm_automation.operations.context import Context

__all__ = ["context"]


def first(guest: SandboxGuest, bundle: Bundle) -> list[str]:
    done = ua.install(guest, definition=DEFINITION, version=V1, bundle=bundle, first=True)
    actions: list[str] = done["actions"]
    assert done["changed"] == bool(actions)
    return actions


def test_small_bundle_is_delivered_by_one_script_and_no_file(guest: SandboxGuest, files: Path) -> None:
    """It does what a plan says that was made beforehand, and leaves what the usual way leaves."""
    bundle = archive_bundle(files, V1)
    planned = ua.install(guest, definition=DEFINITION, version=V1, bundle=bundle, check=True)
    runs = len(guest.scripts)
    assert first(guest, bundle) == planned["actions"] == ["deliver", "install_unit", "switch"]
    assert (guest.puts, len(guest.scripts) - runs) == (0, 1)
    usual = SandboxGuest(files / "usual")
    ua.install(usual, definition=DEFINITION, version=V1, bundle=bundle)
    assert guest.tree() == usual.tree()


def test_large_bundle_is_sent_as_a_file_that_can_be_continued(
    guest: SandboxGuest, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What takes long to send does not begin anew after each interruption."""
    bundle = archive_bundle(files, V1)
    monkeypatch.setattr(ua_transfer, "_GOES_ALONG", bundle.size - 1)
    assert first(guest, bundle) == ["deliver", "install_unit", "switch"]
    assert guest.puts == 1


def test_guest_that_has_it_already_is_not_changed(guest: SandboxGuest, files: Path) -> None:
    """The state may know less than there is, as after a restored backup."""
    first(guest, archive_bundle(files, V1))
    before = guest.tree()
    assert first(guest, archive_bundle(files, V1)) == []
    assert guest.tree() == before


def test_other_version_that_runs_there_is_stopped_for_the_switch_and_named(
    guest: SandboxGuest, files: Path
) -> None:
    """The script finds out what the controller did not know."""
    ua.install(guest, definition=DEFINITION, version=V2, bundle=archive_bundle(files, V2))
    ua.start(guest, definition=DEFINITION, version="2.0")
    done = ua.install(guest, definition=DEFINITION, version=V1, bundle=archive_bundle(files, V1), first=True)
    assert (done["previous"], done["actions"]) == ("2.0", ["stop", "deliver", "switch", "start"])


@pytest.mark.parametrize("step", [step for step in INSTALL_STEPS if step not in ("packages", "dpkg")])
def test_first_delivery_killed_at_any_step_is_finished_by_the_next(
    guest: SandboxGuest, files: Path, step: str
) -> None:
    """Whatever was left is taken up or swept away."""
    steps = ["unpack", "keep", "unit", "reload", "switch"]
    bundle = archive_bundle(files, V1)
    leave_older_unit(guest)
    guest.kill_at_step = steps.index(step) + 1
    with pytest.raises(TaskFailed, match=f"step '{step}' failed"):
        first(guest, bundle)
    first(guest, bundle)
    usual = SandboxGuest(files / "usual")
    ua.install(usual, definition=DEFINITION, version=V1, bundle=bundle)
    assert guest.tree() == usual.tree()
    assert first(guest, bundle) == []


def test_disk_without_room_is_told_before_anything_is_written(guest: SandboxGuest, files: Path) -> None:
    """The message has both figures, and the guest is as it was."""
    before = guest.tree()
    bundle = replace(archive_bundle(files, V1), unpacked_size=1 << 50)
    with pytest.raises(
        DiskFull, match=r"needs 2147483664 MiB free on the guest's disk and there are \d+ MiB"
    ):
        first(guest, bundle)
    assert guest.tree() == before


def test_bundle_that_changes_on_its_way_is_refused(guest: SandboxGuest, files: Path) -> None:
    """Nothing of it stays, and no version is there."""
    before = guest.tree()
    with pytest.raises(ArtifactInvalid, match="arrived altered"):
        first(guest, replace(archive_bundle(files, V1), digest="0" * 64))
    assert guest.tree() == [*before, "opt/vmm", "opt/vmm/ua", "opt/vmm/ua/demo"]


@pytest.mark.parametrize("room", [1024, 1 << 50], ids=["no bundle", "no room"])
def test_script_that_stops_early_reads_its_input_to_the_end(guest: SandboxGuest, room: int) -> None:
    """Or its refusal would look like a connection that broke. Tried: 4 MiB that are no gzip; no room."""
    asked: dict[str, Any] = {
        "version": "1.0",
        "digest": "0" * 64,
        "activate": True,
        "ports": (),
        "deadline_s": 1,
    }
    script = guest.moved(ua_scripts.install_script("demo", room=room, **asked))
    with subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdin
        running.stdin.write(b"x" * (4 << 20))
        running.stdin.close()
    assert running.returncode != 0


def test_only_a_ua_of_which_the_state_knows_nothing_is_delivered_so(
    context: Context, guest: SandboxGuest
) -> None:
    """Where a version is or was on its way, what the guest has of it decides what is sent."""
    for version, runs in (("1.0", 1), ("1.0", 1), ("2.0", 2)):
        before = len(guest.scripts)
        deployment.active(context, guest, ua_id="demo", version=version)
        assert len(guest.scripts) - before == runs, version
    assert states(context) == {"1.0": "inactive", "2.0": "active"}
    assert guest.puts == 1
