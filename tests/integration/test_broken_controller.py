"""What the controller needs is absent, full or dies meanwhile: exit status 8, and the next run succeeds."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from vmm_automation.state import sessions, vms
from vmm_automation.state.sqlite import SqliteStore

from ..small_disk import filled, small_disk
from .controller import Controller, wait_until
from .private_libvirt import PrivateLibvirt

_MIB = 1 << 20


def test_disk_that_is_too_small_for_a_vm_is_refused_before_it_is_begun(
    bare: Controller, tmp_path: Path
) -> None:
    """Exit status 8 names the directory and both sizes; no domain and no file of the VM is left."""
    with small_disk(tmp_path / "small", mib=64) as disk:
        images = disk / "base_images"
        images.symlink_to(bare.home / "base_images")
        small = replace(bare, home=disk)
        before = small.domains()
        small("vm", "create", "vm-9").refused("DiskFull", status=8, names=str(disk))
        assert small.domains() == before
        assert not (disk / "vms" / small.name / "vm-9").exists()
        assert list((disk / "run").iterdir()) == []


def test_disk_that_fills_up_while_a_base_image_is_copied_is_left_as_it_was(
    bare: Controller, tmp_path: Path
) -> None:
    """A base image that does not fit ends in exit status 8, and the part that was copied is removed."""
    big = tmp_path / "big.qcow2"
    big.write_bytes(os.urandom(96 * _MIB))
    definition = {"kind": "qcow2", "path": str(big), "sha256": "0" * 64}
    site = bare.on_site(tmp_path / "site", {"base_images/own.yml": yaml.safe_dump(definition)})
    with small_disk(tmp_path / "small", mib=64) as disk:
        small = replace(site, home=disk)
        words = ("playbook", "run", "base_image_build", "-e", "base_image_name=own")
        small(*words).refused("DiskFull", status=8, names="'own'")
        assert [path.name for path in (disk / "base_images").iterdir()] == [".own.lock"]


def test_full_disk_refuses_a_change_of_state_and_loses_nothing(bare: Controller, tmp_path: Path) -> None:
    """A grant that cannot be written is refused with exit status 8; with space again, work goes on."""
    with small_disk(tmp_path / "small", mib=4) as disk:
        small = replace(bare, home=disk)
        begin_session(disk / "state.db", session="s-1")
        assert small("watcher", "assign", "s-1", "bo", "--privilege", "view").changed
        before = small.state()
        with filled(disk):
            refused = small("watcher", "assign", "s-1", "cleo", "--privilege", "view")
            refused.refused("DiskFull", status=8, names="state.db")
        assert small.state() == before
        assert small("watcher", "assign", "s-1", "cleo", "--privilege", "view").changed
        grants = small("watcher", "list", "s-1").result["grants"]
        assert [grant["watcher"] for grant in grants] == ["bo", "cleo"]


def begin_session(state: Path, *, session: str) -> None:
    now = datetime.now(UTC)
    with SqliteStore.open(state) as store, store.transaction() as tx:
        vms.mark_clean(tx, vm="vm-1", now=now)
        what: dict[str, Any] = {"user": "ann", "ua": "radicale", "version": "3.2.3", "vm": "vm-1"}
        sessions.claim(tx, session_id=session, terminal="desktop", explanation={}, owner="", now=now, **what)


def test_libvirt_that_is_not_there_is_said_so(bare: Controller, tmp_path: Path) -> None:
    """Listing, creating and opening name the address that does not answer and how to start what should."""
    uri = f"qemu+unix:///system?socket={tmp_path}/nothing"
    broken = bare.on_site(tmp_path / "site", {"site.yml": f"name: {bare.name}\nuri: {uri}\n"})
    for words in (
        ("vm", "list"),
        ("vm", "create", "vm-9"),
        ("ua", "install", "radicale"),
        ("session", "open", "--user", "ann", "--ua", "radicale"),
    ):
        error = broken(*words).refused("HypervisorUnreachable", status=8, names=uri)
        assert "libvirtd" in error["hint"]
    checks = broken("doctor").refused("PreflightFailed", status=8, names="libvirt")["details"]["checks"]
    assert [check["name"] for check in checks if check["status"] == "failed"] == ["libvirt"]
    assert not (bare.home / "vms").exists() or not list((bare.home / "vms").rglob("*.qcow2"))


@pytest.mark.parametrize("moment", ["boot", "between"])
def test_libvirt_that_dies_while_a_vm_is_made_costs_one_more_run(
    site: Controller, private_libvirt: PrivateLibvirt, moment: str
) -> None:
    """Exit status 8; when libvirt is back the same command makes one whole VM, and delete leaves nothing."""
    own = private_libvirt.controller(site)
    started = own.start("vm", "create", "vm-1")
    wait_until(lambda: own.domains() != [], what="the domain is defined")
    if moment == "boot":
        wait_until(lambda: "running" in own.virsh("domstate", own.domains()[0]), what="the guest boots")
    private_libvirt.kill()
    error = started.wait().refused("HypervisorUnreachable", status=8, names=own.uri)
    assert error["hint"]
    own("vm", "list").refused("HypervisorUnreachable", status=8, names=own.uri)

    private_libvirt.start()
    assert own("vm", "create", "vm-1").changed
    assert own.on_guest("vm-1", "hostname") == "vm-1"
    assert not own("vm", "create", "vm-1").changed
    assert own("vm", "delete", "vm-1", "--yes").changed
    assert own.domains() == []
    assert list((own.home / "vms" / own.name).glob("vm-1/*")) == []


def test_ansible_that_is_not_installed_is_said_so(bare: Controller, tmp_path: Path) -> None:
    """Without ansible-playbook a command that needs it says how to install it, and others still work."""
    argv = [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")]
    subprocess.run(argv, capture_output=True, check=True)
    python = tmp_path / "venv" / "bin" / "python"
    packages = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    line = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    (packages / "dependencies.pth").write_text(line)
    vmm = python.with_name("vmm")
    vmm.write_text(f"#!{python}\nfrom vmm_automation.__main__ import main\nmain()\n")
    vmm.chmod(0o755)
    path = os.environ.get("PATH", os.defpath).split(":")
    path = [directory for directory in path if not (Path(directory) / "ansible-playbook").exists()]
    without = replace(bare, program=vmm, environment={"PATH": ":".join(path)})

    for words in (("vm", "create", "vm-9"), ("session", "open", "--user", "ann", "--ua", "radicale")):
        error = without(*words).refused("ToolMissing", status=8, names="'ansible-playbook'")
        assert error["hint"] == f"{python} -m pip install ansible-core"
    checks = without("doctor").refused("PreflightFailed", status=8, names="ansible")["details"]["checks"]
    assert next(check for check in checks if check["name"] == "ansible")["status"] == "failed"
    assert without("session", "list").result == {"sessions": []}
