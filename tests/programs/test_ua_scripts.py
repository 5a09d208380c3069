"""UA operations against a guest made of a directory: the shell text is really run."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.programs.sandbox_guest import SandboxGuest
from vmm_automation.adapters.bundles import Bundle, build_bundle
from vmm_automation.adapters.cached_files import sha256_of
from vmm_automation.errors import ArtifactInvalid, Conflict, DiskFull, NotFound, TaskFailed
from vmm_automation.model.ua import UaDefinition, UaVersion
from vmm_automation.operations import ua
from vmm_automation.operations.ua_base_packages import base_package_status

V1 = UaVersion("1.0", "archive")
V2 = UaVersion("2.0", "archive")
D1 = UaVersion("1.0", "deb", packages=("tool",))
DEFINITION = UaDefinition("demo", "Demo", (V1, V2), command=("sleep", "1"), files={"demo.conf": "x=1\n"})
INSTALL_STEPS = ["unpack", "keep", "packages", "dpkg", "unit", "reload", "switch"]


def archive_bundle(files: Path, version: UaVersion, definition: UaDefinition = DEFINITION) -> Bundle:
    content = files / version.version
    content.mkdir(exist_ok=True)
    (content / "program").write_text(f"version {version.version}\n")
    archive = Path(shutil.make_archive(str(files / f"app-{version.version}"), "gztar", content))
    return build_bundle(definition, version, files=[archive], directory=files / "bundles")


def leave_older_unit(guest: SandboxGuest) -> None:
    """Systemd may know it, so that it has to read the one that takes its place."""
    (guest.root / "etc/systemd/system/vmm-ua-demo.service").write_text("[Service]\nExecStart=/bin/true\n")


def deb_bundle(files: Path, definition: UaDefinition, *names: str) -> Bundle:
    debs = []
    for name in names:
        deb = files / f"{name}.deb"
        deb.write_text(name)
        debs.append(deb.rename(files / f"{sha256_of(deb)}-{name}_1.5_amd64.deb"))
    return build_bundle(definition, D1, files=debs, directory=files / "bundles")


def test_install_delivers_activates_and_says_so(guest: SandboxGuest, files: Path) -> None:
    """A first installation delivers, installs the unit and switches, as its plan said beforehand."""
    clean = guest.tree()
    bundle = archive_bundle(files, V1)
    planned = ua.install(guest, definition=DEFINITION, version=V1, bundle=bundle, check=True)
    assert guest.tree() == clean
    assert guest.puts == 0
    done = ua.install(guest, definition=DEFINITION, version=V1, bundle=bundle)
    assert done["actions"] == planned["actions"] == ["deliver", "install_unit", "switch"]
    assert (guest.root / "opt/vmm/ua/demo/current/app/program").read_text() == "version 1.0\n"
    assert (guest.root / "opt/vmm/ua/demo/current/etc/demo.conf").read_text() == "x=1\n"
    assert not list((guest.root / "root").iterdir())


def test_units_are_read_again_only_where_systemd_may_know_the_one_that_changes(
    guest: SandboxGuest, files: Path
) -> None:
    """Reading all units takes an emulated guest a second; a new one is read when it is first started."""
    log = guest.root / "state/systemctl.log"
    ua.install(guest, definition=DEFINITION, version=V1, bundle=archive_bundle(files, V1))
    assert not log.exists() or "daemon-reload" not in log.read_text()
    other = replace(DEFINITION, command=("sleep", "2"))
    done = ua.install(guest, definition=other, version=V1, bundle=archive_bundle(files, V1, other))
    assert done["actions"] == ["deliver", "install_unit"]
    assert log.read_text().count("daemon-reload") == 1


def test_second_install_changes_and_transfers_nothing(guest: SandboxGuest, files: Path) -> None:
    """What is there already is found by its digest: no change, no transfer, one script run."""
    bundle = archive_bundle(files, V1)
    ua.install(guest, definition=DEFINITION, version=V1, bundle=bundle)
    puts, runs = guest.puts, len(guest.scripts)
    again = ua.install(guest, definition=DEFINITION, version=V1, bundle=bundle)
    assert again["changed"] is False
    assert (guest.puts, len(guest.scripts)) == (puts, runs + 1)


def test_update_keeps_the_old_version_and_going_back_is_a_switch(guest: SandboxGuest, files: Path) -> None:
    """Two versions lie side by side after an update; activating the old one transfers nothing."""
    ua.install(guest, definition=DEFINITION, version=V1, bundle=archive_bundle(files, V1))
    updated = ua.update(guest, definition=DEFINITION, version=V2, bundle=archive_bundle(files, V2))
    assert updated["previous"] == "1.0"
    versions = ua.status(guest)["uas"]["demo"]["versions"]
    assert {name: entry["state"] for name, entry in versions.items()} == {"1.0": "inactive", "2.0": "active"}
    puts = guest.puts
    assert ua.activate(guest, definition=DEFINITION, version="1.0")["actions"] == ["switch"]
    assert guest.puts == puts
    assert (guest.root / "opt/vmm/ua/demo/current/app/program").read_text() == "version 1.0\n"


def test_update_of_what_is_not_installed_is_refused(guest: SandboxGuest, files: Path) -> None:
    """An update needs an active version to come from."""
    with pytest.raises(NotFound, match="no version of it is active there"):
        ua.update(guest, definition=DEFINITION, version=V2, bundle=archive_bundle(files, V2))


def test_update_of_running_service_stops_it_for_the_switch(guest: SandboxGuest, files: Path) -> None:
    """Files never change below a running service; it runs again afterwards. The plan says both."""
    ua.install(guest, definition=DEFINITION, version=V1, bundle=archive_bundle(files, V1))
    ua.start(guest, definition=DEFINITION, version="1.0")
    bundle = archive_bundle(files, V2)
    planned = ua.update(guest, definition=DEFINITION, version=V2, bundle=bundle, check=True)
    done = ua.update(guest, definition=DEFINITION, version=V2, bundle=bundle)
    assert done["actions"] == planned["actions"] == ["stop", "deliver", "switch", "start"]
    assert ua.read_status(guest).ua("demo").running


def test_changed_definition_is_delivered_again(guest: SandboxGuest, files: Path) -> None:
    """A changed configuration file changes the digest, so the same version is delivered anew."""
    ua.install(guest, definition=DEFINITION, version=V1, bundle=archive_bundle(files, V1))
    other = replace(DEFINITION, files={"demo.conf": "x=2\n"})
    done = ua.install(guest, definition=other, version=V1, bundle=archive_bundle(files, V1, other))
    assert done["actions"] == ["deliver"]
    assert (guest.root / "opt/vmm/ua/demo/current/etc/demo.conf").read_text() == "x=2\n"


@pytest.mark.parametrize("step", INSTALL_STEPS)
def test_install_killed_at_any_step_is_finished_by_the_next_run(
    guest: SandboxGuest, files: Path, step: str
) -> None:
    """Killed at the beginning of any step, an installation in place of an older unit is completed by the next
    as its plan says, and can be removed without a trace.
    """
    clean, packages = guest.tree(), guest.packages
    leave_older_unit(guest)
    definition = replace(DEFINITION, versions=(D1,))
    bundle = deb_bundle(files, definition, "tool", "libtool")
    guest.kill_at_step = INSTALL_STEPS.index(step) + 1
    with pytest.raises(TaskFailed) as killed:
        ua.install(guest, definition=definition, version=D1, bundle=bundle)
    assert (killed.value.details["status"], killed.value.details["step"]) == (-9, step)
    planned = ua.install(guest, definition=definition, version=D1, bundle=bundle, check=True)
    done = ua.install(guest, definition=definition, version=D1, bundle=bundle)
    assert done["actions"] == planned["actions"]
    assert ua.install(guest, definition=definition, version=D1, bundle=bundle)["changed"] is False
    assert "tool 1.5 installed" in guest.packages
    assert "daemon-reload" in (guest.root / "state/systemctl.log").read_text()
    assert ua.read_status(guest).ua("demo").unfinished == []
    ua.remove(guest, ua="demo")
    assert (guest.tree(), guest.packages) == (clean, packages)


def test_leftovers_of_an_interrupted_delivery_are_not_trusted(guest: SandboxGuest, files: Path) -> None:
    """A half-filled staging directory and a version without its digest are replaced as a whole."""
    for left in (".staging-1.0", "1.0"):
        stray = guest.root / "opt/vmm/ua/demo" / left / "app/stray"
        stray.parent.mkdir(parents=True)
        stray.touch()
    assert ua.read_status(guest).ua("demo").unfinished == [".staging-1.0"]
    ua.install(guest, definition=DEFINITION, version=V1, bundle=archive_bundle(files, V1))
    assert not list(guest.root.rglob("stray"))
    assert ua.read_status(guest).ua("demo").unfinished == []


def test_packages_that_are_there_are_not_planned(guest: SandboxGuest, files: Path) -> None:
    """Neither with a definition that changed, nor at a switch between versions that need the same."""
    second = replace(D1, version="2.0")
    definition = replace(DEFINITION, versions=(D1, second))
    ua.install(guest, definition=definition, version=D1, bundle=deb_bundle(files, definition, "tool"))
    changed = replace(definition, files={"demo.conf": "x=2\n"})
    parts: dict[str, Any] = {"definition": changed, "bundle": deb_bundle(files, changed, "tool")}
    before = guest.tree()
    for version, actions in ((D1, ["deliver"]), (second, ["deliver", "switch"])):
        assert ua.install(guest, **parts, version=version, check=True)["actions"] == actions
        assert guest.tree() == before
        assert ua.install(guest, **parts, version=version)["actions"] == actions
        before = guest.tree()
    assert ua.activate(guest, definition=changed, version="1.0", check=True)["actions"] == ["switch"]
    assert ua.activate(guest, definition=changed, version="1.0")["actions"] == ["switch"]


def test_start_and_stop_twice_change_once(guest: SandboxGuest, files: Path) -> None:
    """The second start and the second stop say that nothing changed; their plans agree."""
    ua.install(guest, definition=DEFINITION, version=V1, bundle=archive_bundle(files, V1))
    for check, changed in ((True, True), (False, True), (True, False), (False, False)):
        started = ua.start(guest, definition=DEFINITION, version="1.0", check=check)
        assert (started["changed"], started["actions"]) == (changed, ["start"] if changed else [])
    for check, changed in ((True, True), (False, True), (True, False), (False, False)):
        stopped = ua.stop(guest, ua="demo", check=check)
        assert (stopped["changed"], stopped["actions"]) == (changed, ["stop"] if changed else [])


def test_failing_start_carries_the_journal(guest: SandboxGuest, files: Path) -> None:
    """A service that does not start is reported with host, step and the end of its journal."""
    ua.install(guest, definition=DEFINITION, version=V1, bundle=archive_bundle(files, V1))
    (guest.root / "state/refuse-start").touch()
    with pytest.raises(TaskFailed) as failed:
        ua.start(guest, definition=DEFINITION, version="1.0")
    assert failed.value.details["step"] == "start"
    assert failed.value.details["host"] == "vm-1"
    assert "the last words of the service" in failed.value.message


def test_start_of_undelivered_version_is_not_found(guest: SandboxGuest) -> None:
    """A version that is not on the guest cannot be started, nor planned."""
    for check in (True, False):
        with pytest.raises(NotFound):
            ua.start(guest, definition=DEFINITION, version="1.0", check=check)


def test_start_of_tool_is_refused(guest: SandboxGuest) -> None:
    """A UA without command and unit has nothing to start."""
    with pytest.raises(Conflict, match="neither command nor unit"):
        ua.start(guest, definition=replace(DEFINITION, command=()), version="1.0")


def test_bundle_altered_on_its_way_is_refused(guest: SandboxGuest, files: Path) -> None:
    """What arrives with another digest is thrown away before anything is unpacked."""
    bundle = replace(archive_bundle(files, V1), digest="0" * 64)
    with pytest.raises(ArtifactInvalid, match="arrived altered"):
        ua.install(guest, definition=DEFINITION, version=V1, bundle=bundle)
    assert not list((guest.root / "opt/vmm/ua/demo").glob("*"))
    assert not list((guest.root / "root").iterdir())


def test_full_guest_disk_is_told_before_the_transfer(guest: SandboxGuest, files: Path) -> None:
    """A delivery that cannot fit is refused before a byte is sent."""
    bundle = replace(archive_bundle(files, V1), unpacked_size=1 << 60)
    with pytest.raises(DiskFull, match="free on the guest's disk"):
        ua.install(guest, definition=DEFINITION, version=V1, bundle=bundle)
    assert guest.puts == 0


def test_base_package_status_is_brought_once(guest: SandboxGuest, tmp_path: Path) -> None:
    """The base image's package list is read from a guest once, then comes from the controller."""
    first = base_package_status(guest, base_digest="abc", directory=tmp_path / "artifacts")
    runs = len(guest.scripts)
    assert base_package_status(guest, base_digest="abc", directory=tmp_path / "artifacts") == first
    assert len(guest.scripts) == runs
    assert first.read_text().startswith("Package: dpkg\n")
