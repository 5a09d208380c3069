"""Removals from a guest made of a directory: what was delivered goes, as planned, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.programs.sandbox_guest import SandboxGuest
from tests.programs.test_ua_scripts import D1, DEFINITION, V1, V2, archive_bundle, deb_bundle
from vmm_automation.errors import Conflict, TaskFailed
from vmm_automation.operations import ua

REMOVE_STEPS = ["deactivate", "remove", "reload", "packages", "record"]


@pytest.mark.parametrize("step", REMOVE_STEPS)
def test_removal_killed_at_any_step_is_finished_by_the_next_run(
    guest: SandboxGuest, files: Path, step: str
) -> None:
    """Killed at the beginning of any step, a removal is completed by the next one, as its plan says."""
    clean, packages = guest.tree(), guest.packages
    definition = replace(DEFINITION, versions=(D1,))
    ua.install(guest, definition=definition, version=D1, bundle=deb_bundle(files, definition, "tool"))
    guest.kill_at_step = REMOVE_STEPS.index(step) + 1
    with pytest.raises(TaskFailed) as killed:
        ua.remove(guest, ua="demo")
    assert (killed.value.details["status"], killed.value.details["step"]) == (-9, step)
    planned = ua.remove(guest, ua="demo", check=True)
    assert ua.remove(guest, ua="demo")["actions"] == planned["actions"]
    assert (guest.tree(), guest.packages) == (clean, packages)


def test_remove_keeps_packages_that_another_ua_needs(guest: SandboxGuest, files: Path) -> None:
    """A package brought by one delivery stays while another delivery needs it, and goes with the last one."""
    before = guest.packages
    first = replace(DEFINITION, id="first", versions=(D1,))
    second = replace(DEFINITION, id="second", versions=(D1,))
    ua.install(guest, definition=first, version=D1, bundle=deb_bundle(files, first, "tool", "shared"))
    ua.install(guest, definition=second, version=D1, bundle=deb_bundle(files, second, "other", "shared"))
    planned = ua.remove(guest, ua="first", check=True)
    assert ua.remove(guest, ua="first")["actions"] == planned["actions"]
    assert planned["actions"] == ["remove_unit", "remove 1.0", "purge_packages"]
    assert "shared 1.5 installed" in guest.packages
    assert "tool 1.5 installed" not in guest.packages
    ua.remove(guest, ua="second")
    assert guest.packages == before


def test_remove_of_all_versions_is_planned_as_it_is_done(guest: SandboxGuest, files: Path) -> None:
    """In the same order, what an interruption left included."""
    for version in (V1, V2):
        ua.install(guest, definition=DEFINITION, version=version, bundle=archive_bundle(files, version))
    (guest.root / "opt/vmm/ua/demo/.staging-3.0").mkdir()
    planned = ua.remove(guest, ua="demo", check=True)["actions"]
    assert planned == ["remove 1.0", "remove_unit", "remove 2.0", "remove_unfinished"]
    assert ua.remove(guest, ua="demo")["actions"] == planned


def test_remove_while_running_is_refused(guest: SandboxGuest, files: Path) -> None:
    """Neither the plan nor the removal passes over a running service."""
    ua.install(guest, definition=DEFINITION, version=V1, bundle=archive_bundle(files, V1))
    ua.start(guest, definition=DEFINITION, version="1.0")
    for check in (True, False):
        with pytest.raises(Conflict, match="its service runs"):
            ua.remove(guest, ua="demo", check=check)
    assert ua.read_status(guest).ua("demo").running


def test_remove_of_one_version_leaves_the_other(guest: SandboxGuest, files: Path) -> None:
    """The inactive version goes alone; removing it again changes nothing."""
    for version in (V1, V2):
        ua.install(guest, definition=DEFINITION, version=version, bundle=archive_bundle(files, version))
    assert ua.remove(guest, ua="demo", version="1.0")["actions"] == ["remove 1.0"]
    assert ua.remove(guest, ua="demo", version="1.0")["changed"] is False
    assert list(ua.read_status(guest).ua("demo").versions) == ["2.0"]
