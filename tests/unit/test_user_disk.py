"""The XML of a user's disk: every format is said, down the whole chain; the disk is found by its serial."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from vmm_automation.adapters.domain_xml import find_user_disk, user_disk_xml
from vmm_automation.adapters.libvirt import LibvirtHypervisor
from vmm_automation.errors import TaskFailed

from ..made_site import NAME, make_site

CHAIN = [Path("/volumes/s-1.qcow2"), Path("/volumes/b.qcow2"), Path("/volumes/a.qcow2")]


def test_no_format_of_a_users_disk_is_left_to_be_guessed() -> None:
    """Each file of the chain is named with qcow2, in order, and the last says that nothing is below it."""
    disk = ET.fromstring(user_disk_xml(CHAIN))
    driver = disk.find("driver")
    assert driver is not None
    assert driver.get("type") == "qcow2"
    found, level = [], disk
    while (source := level.find("source")) is not None:
        found.append(Path(source.get("file", "")))
        below = level.find("backingStore")
        assert below is not None
        level = below
        formats = [each.get("type") for each in level.iterfind("format")]
        assert len(level) == 0 or (level.get("type"), formats) == ("file", ["qcow2"])
    assert found == CHAIN


def test_users_disk_is_told_from_the_vms_own() -> None:
    """Only the disk with the serial that we give is one; a domain without it has none."""
    own = "<disk><source file='/vms/disk.qcow2'/><serial>vmm-root</serial></disk>"
    domain = "<domain><devices>{}</devices></domain>"
    assert find_user_disk(domain.format(own)) is None
    assert find_user_disk(domain.format(own + user_disk_xml(CHAIN))) == str(CHAIN[0])


def test_disk_that_cannot_be_attached_is_said_of_which_vm(tmp_path: Path) -> None:
    """The test driver plugs in nothing: a failure of ours; what is not there is detached without one."""
    site = make_site(tmp_path, running=["vm-1"])
    hypervisor = LibvirtHypervisor(f"test://{tmp_path}/node.xml", site=NAME, home=str(site.home))
    assert hypervisor.user_disk("vm-1") is None
    hypervisor.detach_user_disk("vm-1")
    with pytest.raises(TaskFailed, match="'vm-1'"):
        hypervisor.attach_user_disk("vm-1", chain=CHAIN)
