"""Applications of every kind come and go without a trace, and kind deb without the guest's network."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

from vmm_automation.adapters.cached_files import sha256_of

from .controller import REPOSITORY, Controller

_PACKAGES = "dpkg-query -W -f '${Package} ${Version} ${db:Status-Abbrev}\\n' | sort"
#: pyc files that a Python of the guest wrote for itself, and what ldconfig keeps, are not the application's
_FILES = (
    "find /usr /etc /opt -xdev ! -name '*.pyc' ! -name __pycache__ ! -path /etc/ld.so.cache "
    "-printf '%p %y %m %u %s\\n' | sort"
)

_TWO_VERSIONS = """\
versions:
  "1.0": {kind: apt, packages: [greeter=1.0]}
  "2.0": {kind: apt, packages: [greeter=2.0]}
"""
#: a repository in the guest, which is then all that it has
_REPOSITORY = """
set -eu
umask 022
mkdir -p /srv/repository /srv/apt
cd /srv/repository
package() {
    mkdir -p made/DEBIAN made/usr/bin
    cat >made/DEBIAN/control <<END
Package: $1
Version: $2
Architecture: all
Maintainer: me <me@example.org>
Description: greets
$3
END
    printf '#!/bin/sh\\necho %s\\n' "$2" >"made/usr/bin/$1"
    chmod 755 "made/usr/bin/$1"
    dpkg-deb -Znone --root-owner-group --build made "$1_$2_all.deb" >&2
    rm -r made
}
package greeter 1.0 'Depends: greeter-words'
package greeter 2.0 'Depends: greeter-words'
package greeter-words 1.0 'Section: misc'
for file in *.deb; do
    dpkg-deb --field "$file"
    sum=$(sha256sum "$file")
    printf 'Filename: ./%s\\nSize: %s\\n' "$file" "$(stat -c %s "$file")"
    printf 'SHA256: %s\\n\\n' "${sum%% *}"
done >Packages
mv /etc/apt/sources.list* /srv/apt
echo 'deb [trusted=yes] file:/srv/repository ./' >/etc/apt/sources.list
"""
_REPOSITORY_GONE = (
    "mv -f /srv/apt/sources.list* /etc/apt; rm -rf /srv/apt /srv/repository /var/lib/apt/lists/*repository*"
)


def guest_is(vmm: Controller, vm: str) -> tuple[list[str], list[str]]:
    """All packages and all files of a guest."""
    text = vmm.on_guest(vm, f"{_PACKAGES}; echo ----; {_FILES}")
    packages, _line, files = text.partition("----\n")
    return packages.splitlines(), files.splitlines()


def test_deb_application_comes_and_goes_without_a_trace(vmm: Controller, idle_vms: tuple[str, str]) -> None:
    """Packages and files are the same before and after; a second installation is no change."""
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


def test_wheels_and_archives_come_and_go_without_a_trace(
    vmm: Controller, idle_vms: tuple[str, str], tmp_path: Path
) -> None:
    """Two UAs side by side, one as the guide writes it: packages and files are what they were."""
    vm = idle_vms[0]
    (definition,) = re.findall(
        r"^```yaml\n(.*?)^```$", (REPOSITORY / "docs/add-a-ua.md").read_text(), re.MULTILINE | re.DOTALL
    )
    program = re.findall(r"<<'END'\n(.*?)^END$", (REPOSITORY / "docs/add-a-ua.md").read_text(), re.M | re.S)
    (tmp_path / "serve").write_text(program[0])
    (tmp_path / "serve").chmod(0o755)
    archive = tmp_path / "hello-1.0.tar.gz"
    with tarfile.open(archive, "w:gz") as opened:
        opened.add(tmp_path / "serve", "serve")
    guided = vmm.on_site(
        tmp_path / "site", {"uas/hello.yml": definition.replace("DIGEST", sha256_of(archive))}
    )
    archive.rename(guided.site / "uas" / archive.name)
    assert guided("ua", "remove", "radicale", "--vm", vm, "--yes").result is not None
    before = guest_is(guided, vm)
    for ua in ("hello", "radicale"):
        assert guided("ua", "install", ua, "--vm", vm).changed
    for ua in ("hello", "radicale"):
        assert guided("ua", "remove", ua, "--vm", vm, "--yes").changed
    assert guest_is(guided, vm) == before


def test_packages_of_the_guests_own_sources_come_change_and_go(
    vmm: Controller, idle_vms: tuple[str, str], tmp_path: Path
) -> None:
    """Two versions by apt, from a directory of the guest: as planned, back again, gone to the last file."""
    vm = idle_vms[0]
    own = vmm.on_site(tmp_path / "site", {"uas/greeter.yml": _TWO_VERSIONS})
    own.on_guest(vm, _REPOSITORY)
    try:
        before = guest_is(own, vm)
        for version in ("1.0", "2.0"):
            install = ("ua", "install", "greeter", "--version", version, "--vm", vm)
            planned = own(*install, "--check").result["vms"]
            assert planned[vm]["actions"] == ["deliver", "install_packages", "switch"]
            assert own(*install).result["vms"] == planned
            assert own.on_guest(vm, "greeter; greeter-words").split() == [version, "1.0"]
            assert not own(*install).changed
        assert own("ua", "rollback", "greeter", "--vm", vm).changed
        assert own.on_guest(vm, "greeter; greeter-words").split() == ["1.0", "1.0"]
        assert own("ua", "remove", "greeter", "--vm", vm, "--yes").changed
        assert guest_is(own, vm) == before
    finally:
        own.on_guest(vm, _REPOSITORY_GONE)
