"""Fixtures of the tests that use the real thing: a site with its own home, and two VMs that all share."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from vmm_automation.adapters.lockfile import exclusive
from vmm_automation.images.borg import BorgStore
from vmm_automation.places import Places

from .controller import BIN, REPOSITORY, URI, Controller
from .local_guest import LocalGuest, started_guest
from .private_libvirt import PrivateLibvirt

VMS = ("vm-1", "vm-2")


@pytest.fixture(scope="session")
def site() -> Iterator[Controller]:
    """A controller with an empty home, a site of its own, and nothing left of it at the end."""
    _require_libvirt()
    root = Path(tempfile.mkdtemp(prefix="vmm-test-", dir="/var/tmp"))
    root.chmod(0o755)  # QEMU runs as its own user and reads disks below
    name = f"t{secrets.token_hex(4)}"
    controller = Controller(home=root / "home", site=root / "site", name=name)
    _copy_site(controller)
    try:
        yield controller
    finally:
        controller.remove_vms()
        shutil.rmtree(root)


@pytest.fixture(scope="session")
def base_image(site: Controller) -> Iterator[None]:
    """The base image, built if no other home has it: once for all homes of all processes of the tests."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", secrets.token_hex(8))
    root = Path("/var/tmp") / f"vmm-test-images-{run}"
    root.mkdir(mode=0o755, exist_ok=True)
    builder = Controller(home=root / "home", site=root / "site", name="images")
    with (root / "users").open("a") as users:
        with exclusive(root / "building", what="the base image"):
            fcntl.flock(users, fcntl.LOCK_SH)
            _borrow_base_images(Places.from_environment().base_images, builder.home / "base_images")
            if not builder.site.exists():
                _copy_site(builder)
            assert builder("playbook", "run", "base_image_build", "-e", "base_image_name=debian").result
        _borrow_base_images(builder.home / "base_images", site.home / "base_images")
        yield
        with suppress(BlockingIOError):  # the last one tidies up
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(root)


@pytest.fixture(scope="session")
def two_vms(site: Controller, base_image: None) -> tuple[str, str]:
    """Two running VMs; created once, at the same time."""
    del base_image
    assert site("vm", "create", *VMS).changed
    return VMS


@pytest.fixture
def vmm(site: Controller) -> Controller:
    """The real ``vmm`` command on the site."""
    return site


@pytest.fixture
def idle_vms(site: Controller, two_vms: tuple[str, str]) -> tuple[str, str]:
    """The two VMs, running and without a session or another VM beside them, whatever a test before left."""
    for session in site.live_sessions():
        site("session", "close", session["id"])
    for domain in site.domains():
        vm = domain.removeprefix(f"vmm-{site.name}-")
        if vm not in two_vms:
            site("vm", "delete", vm, "--yes")
        elif site.virsh("domstate", domain).strip() != "running":
            site("vm", "start", vm)
    return two_vms


@pytest.fixture
def radicale(site: Controller, idle_vms: tuple[str, str]) -> tuple[str, str]:
    """The two VMs, idle, with version 3.2.3 of Radicale active on both."""
    active = {vm["name"]: vm["uas"].get("radicale") for vm in site("vm", "list").result["vms"]}
    if set(active.values()) != {"3.2.3"}:
        assert site("ua", "install", "radicale", "--version", "3.2.3").result
    return idle_vms


@pytest.fixture
def bare(site: Controller, base_image: None, tmp_path: Path) -> Controller:
    """A controller without VMs whose home is empty and its own, with the base image at hand."""
    del base_image
    alone = replace(site, home=tmp_path / "home")
    _borrow_base_images(site.home / "base_images", alone.home / "base_images")
    return alone


@pytest.fixture
def beside(site: Controller, base_image: None) -> Iterator[Controller]:
    """A controller with an empty home in which VMs can live, and the base image at hand."""
    del base_image
    other = replace(site, home=site.home.with_name("beside"))
    _borrow_base_images(site.home / "base_images", other.home / "base_images")
    yield other
    shutil.rmtree(other.home)


@pytest.fixture
def private_libvirt(site: Controller, base_image: None) -> Iterator[PrivateLibvirt]:
    """A libvirt that a test may kill; ends with all its guests."""
    del base_image
    if os.geteuid() != 0:
        pytest.fail("a private libvirt needs root; fix: sudo -E pytest tests/integration", pytrace=False)
    root = Path(tempfile.mkdtemp(prefix="vmm-test-", dir="/var/tmp"))
    root.chmod(0o755)  # QEMU runs as its own user
    libvirt = PrivateLibvirt(root)
    try:
        libvirt.prepare()
        libvirt.start()
        yield libvirt
    finally:
        libvirt.end(site)
        shutil.rmtree(root)


def _require_libvirt() -> None:
    assert (BIN / "vmm").exists(), f"no 'vmm' beside this interpreter; fix: {BIN}/pip install -e {REPOSITORY}"
    for program, package in (
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("virsh", "libvirt-clients"),
        ("libvirtd", "libvirt-daemon-system"),
    ):
        if not shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"):
            pytest.fail(f"'{program}' is not installed; fix: apt-get install {package}", pytrace=False)
    asked = subprocess.run(
        ["virsh", "-q", "-c", URI, "list"], capture_output=True, text=True, timeout=120, check=False
    )
    if asked.returncode != 0:
        pytest.fail(f"libvirt does not answer at {URI}: {asked.stderr}fix: vmm doctor", pytrace=False)


def _borrow_base_images(source: Path, target: Path) -> None:
    """Link the finished images of another home, which never change; one that is not there is built."""
    target.mkdir(parents=True, exist_ok=True)
    for image in source.glob("[!.]*-*/"):
        if not (target / image.name).exists():
            (target / image.name).symlink_to(image.resolve(), target_is_directory=True)
    if (source / "acceleration.json").exists():
        shutil.copy(source / "acceleration.json", target)


def _copy_site(controller: Controller) -> None:
    shutil.copytree(REPOSITORY / "inventories" / "local", controller.site)
    file = controller.site / "site.yml"
    text = file.read_text()
    assert "\nname: local\n" in text
    file.write_text(text.replace("\nname: local\n", f"\nname: {controller.name}\n"))


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[LocalGuest]:
    """A guest of namespaces on this machine, for scripts that need no VM."""
    with started_guest(tmp_path / "guest") as local:
        yield local


@pytest.fixture
def store(tmp_path: Path) -> BorgStore:
    """An image store of the test's own."""
    return BorgStore(tmp_path / "user_images" / "repository", key_file=tmp_path / "user_images" / "key")
