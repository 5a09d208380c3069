"""An application of kind deb: installed from Debian packages without the guest's network, removed to the last file."""

from __future__ import annotations

from .controller import Controller

_PACKAGES = "dpkg-query -W -f '${Package} ${Version} ${db:Status-Abbrev}\\n' | sort"
#: pyc files that a Python of the guest wrote for itself, and what ldconfig keeps, are not the application's
_FILES = (
    "find /usr /etc /opt -xdev ! -name '*.pyc' ! -name __pycache__ ! -path /etc/ld.so.cache "
    "-printf '%p %y %m %u %s\\n' | sort"
)


def guest_is(vmm: Controller, vm: str) -> tuple[list[str], list[str]]:
    """All packages and all files of a guest."""
    text = vmm.on_guest(vm, f"{_PACKAGES}; echo ----; {_FILES}")
    packages, _line, files = text.partition("----\n")
    return packages.splitlines(), files.splitlines()


def test_deb_application_comes_and_goes_without_a_trace(vmm: Controller, idle_vms: tuple[str, str]) -> None:
    """Packages and files are the same before installation and after removal; a second installation is no change."""
    vm = idle_vms[0]
    assert vmm("ua", "remove", "radicale", "--vm", vm, "--yes").result is not None
    before = guest_is(vmm, vm)

    installed = vmm("ua", "install", "aria2", "--vm", vm)
    assert installed.changed
    during = guest_is(vmm, vm)
    assert any(line.startswith("aria2 ") for line in during[0])
    assert vmm.on_guest(vm, "aria2c --version | head -n 1").startswith("aria2 version 1.36")
    again = vmm("ua", "install", "aria2", "--vm", vm)
    assert not again.changed
    assert again.result["vms"][vm]["actions"] == []
    assert guest_is(vmm, vm) == during

    assert vmm("ua", "remove", "aria2", "--vm", vm, "--yes").changed
    packages, files = guest_is(vmm, vm)
    assert packages == before[0]
    assert sorted(set(files) ^ set(before[1])) == []


def test_deb_application_serves_a_session_and_keeps_its_queue(
    vmm: Controller, idle_vms: tuple[str, str]
) -> None:
    """A session of it opens, and what it stores of the user comes back in the next session."""
    vm = idle_vms[0]
    vmm("ua", "install", "aria2", "--vm", vm)
    session = vmm("session", "open", "--user", "dan", "--ua", "aria2").result["session"]
    assert session["vm"] == vm
    file = "/home/session/.config/aria2/mine"
    vmm.on_guest(vm, f"setpriv --reuid=session --clear-groups sh -c 'echo kept > {file}'")
    vmm("session", "close", session["id"])
    assert vmm.on_guest(vm, f"ls {file} 2>&1 || true") != file
    again = vmm("session", "open", "--user", "dan", "--ua", "aria2").result
    assert again["deployed"] == 1
    assert vmm.on_guest(vm, f"cat {file}") == "kept"
    vmm("session", "close", again["session"]["id"])
    vmm("ua", "remove", "aria2", "--vm", vm, "--yes")
