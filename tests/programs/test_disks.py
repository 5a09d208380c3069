"""The files of a VM are read by its hypervisor and by nobody else on the controller."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmm_automation.adapters.disks import VmFiles, create_overlay, renew_overlay
from vmm_automation.adapters.process import run


@pytest.fixture(params=[0o022, 0o077, 0], ids=oct)
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VmFiles]:
    """Those of a VM whose overlay was made under some umask."""
    base = tmp_path / "base.qcow2"
    run(["qemu-img", "create", "-q", "-f", "qcow2", base, "1M"])
    before = os.umask(request.param)
    made = VmFiles(tmp_path / "home" / "vms" / "local" / "vm-1")
    made.create()
    create_overlay(made.disk, base=base)
    yield made
    os.umask(before)


def mode(path: Path) -> str:
    return oct(path.stat().st_mode & 0o777)


def test_disk_is_its_owners_and_its_directories_can_only_be_passed(files: VmFiles) -> None:
    """QEMU as its own user gets there; others see neither the disk nor what VMs there are."""
    assert mode(files.disk) == "0o600"
    places = [files.directory, *files.directory.parents[:3]]
    assert [mode(place) for place in places] == ["0o711"] * 4


def test_renewed_disk_is_as_private_as_the_first(files: VmFiles) -> None:
    """What a killed run left half made is no obstacle."""
    files.disk.with_name(".disk.qcow2.fresh").write_text("half")
    renew_overlay(files.disk)
    assert mode(files.disk) == "0o600"


def test_disk_of_an_older_version_becomes_private_where_it_is_started(files: VmFiles) -> None:
    """Its directory too; where there is none nothing is done."""
    files.disk.chmod(0o644)
    files.directory.chmod(0o755)
    files.restrict()
    assert (mode(files.disk), mode(files.directory)) == ("0o600", "0o711")
    files.remove()
    files.restrict()
