"""Services that packages bring: they wait for a session, in a guest made of a directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.programs.sandbox_guest import SandboxGuest
from vmm_automation.adapters.bundles import build_bundle
from vmm_automation.adapters.cached_files import sha256_of
from vmm_automation.errors import TaskFailed
from vmm_automation.model.ua import UaDefinition, UaVersion
from vmm_automation.operations import ua

_VERSION = UaVersion("1.0", "deb", packages=("tool",))


@pytest.fixture
def guest(tmp_path: Path) -> SandboxGuest:
    """A guest whose package list has dpkg and libc6."""
    return SandboxGuest(tmp_path / "guest")


def parts(directory: Path, *, names: tuple[str, ...] = ("tool", "libtool")) -> dict[str, Any]:
    """What is installed: a UA that is a unit of its packages."""
    debs = []
    for name in names:
        deb = directory / f"{name}.deb"
        deb.write_text(name)
        debs.append(deb.rename(directory / f"{sha256_of(deb)}-{name}_1.5_amd64.deb"))
    definition = UaDefinition("demo", "Demo", (_VERSION,), unit="tool.service")
    bundle = build_bundle(definition, _VERSION, files=debs, directory=directory / "bundles")
    return {"definition": definition, "version": _VERSION, "bundle": bundle}


def may_start(guest: SandboxGuest) -> str:
    """Whether dpkg might start a service when it was run last."""
    return (guest.root / "state/may-start").read_text().strip()


def disabled(guest: SandboxGuest) -> list[str]:
    """Units that are not started at boot any more."""
    log = (guest.root / "state/systemctl.log").read_text().splitlines()
    lines = [line.split() for line in log if line.startswith("disable ")]
    return sorted(word for line in lines for word in line[2:])


def test_services_of_packages_are_neither_started_nor_enabled(guest: SandboxGuest, tmp_path: Path) -> None:
    """Not when they come, not at the next boot; and nothing stays that holds back other packages."""
    ua.install(guest, **parts(tmp_path))
    assert may_start(guest) == "no"
    assert disabled(guest) == ["libtool.service", "libtool.socket", "tool.service", "tool.socket"]
    assert not (guest.root / "usr/sbin/policy-rc.d").is_symlink()
    unit = (guest.root / "etc/systemd/system/vmm-ua-demo.service").read_text()
    assert "BindsTo=tool.service" in unit


def test_services_of_packages_that_were_there_before_stay_enabled(
    guest: SandboxGuest, tmp_path: Path
) -> None:
    """A delivery that replaces a package of the base image does not switch that one's services off."""
    ua.install(guest, **parts(tmp_path, names=("tool", "libc6")))
    assert disabled(guest) == ["tool.service", "tool.socket"]


def test_policy_of_the_guest_is_left_as_it_is(guest: SandboxGuest, tmp_path: Path) -> None:
    """An administrator's own says what it says, before and after."""
    own = guest.root / "usr/sbin/policy-rc.d"
    own.write_text("#!/bin/sh\nexit 0\n")
    own.chmod(0o755)
    ua.install(guest, **parts(tmp_path))
    assert may_start(guest) == "yes"
    assert own.read_text() == "#!/bin/sh\nexit 0\n"


def test_installation_that_fails_holds_nothing_back_afterwards(guest: SandboxGuest, tmp_path: Path) -> None:
    """The failure is dpkg's, and other packages may start their services."""
    (guest.root / "state/refuse-dpkg").touch()
    with pytest.raises(TaskFailed, match="dpkg: error"):
        ua.install(guest, **parts(tmp_path))
    assert not (guest.root / "usr/sbin/policy-rc.d").is_symlink()


def test_what_a_power_cut_left_behind_is_taken_away_by_the_next_run(
    guest: SandboxGuest, tmp_path: Path
) -> None:
    """The link leads to nothing after a reboot, and the next installation removes it."""
    (guest.root / "usr/sbin/policy-rc.d").symlink_to(guest.root / "run/vmm-ua.policy")
    ua.install(guest, **parts(tmp_path))
    assert may_start(guest) == "no"
    assert not (guest.root / "usr/sbin/policy-rc.d").is_symlink()


def test_unit_of_packages_is_started_and_stopped_as_any_service(guest: SandboxGuest, tmp_path: Path) -> None:
    """By the unit that stands for it."""
    made = parts(tmp_path)
    ua.install(guest, **made)
    assert ua.start(guest, definition=made["definition"], version="1.0")["actions"] == ["start"]
    assert (guest.root / "state/vmm-ua-demo.service").read_text() == "active\n"
    assert ua.stop(guest, ua="demo")["actions"] == ["stop"]
