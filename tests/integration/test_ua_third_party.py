"""Applications that others made, two versions each: an archive with its user's data, a packaged service."""

from __future__ import annotations

import http.client
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from vmm_automation.adapters.cached_files import sha256_of

from .controller import Controller

_WITH = ("packaging==26.3", "importlib_resources==7.1.0", "defusedxml==0.7.1")
#: a package index of one's own: what its user uploads is what is kept
_INDEX = {
    "display_name": "pypiserver",
    "command": [
        *("sh", "-c"),
        "mkdir -p {home}/packages && "
        "exec python3 -m pypiserver run -p 8080 -i 0.0.0.0 -a . -P . {home}/packages",
    ],
    "environment": {"PYTHONPATH": "{version_dir}/app"},
    "endpoints": [{"name": "web", "port": 8080, "protocol": "http", "health": "/health"}],
    "user_data": {"settings": ["packages"]},
    "probe": {"kind": "http", "port": 8080, "path": "/health", "deadline_s": 120},
}
_BOUNDARY = "0123456789abcdef"
_UPLOAD = (
    f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name=":action"\r\n\r\nfile_upload\r\n'
    f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="content"; filename="mine-1.0.tar.gz"\r\n\r\n'
    f"what I made\r\n--{_BOUNDARY}--\r\n"
).encode()
#: services whose packages need no set-up; that Debian has two versions of some of them at any time is likely
_SERVICES = ("nginx-light", "lighttpd", "apache2")
_UNITS = {"nginx-light": "nginx.service", "lighttpd": "lighttpd.service", "apache2": "apache2.service"}
_SOURCES = {"nginx-light": ("nginx-light", "nginx", "nginx-common")}


def asked(endpoint: str, path: str, *, body: bytes | None = None) -> tuple[int, str, str]:
    """Status, ``Server`` header and text of an answer."""
    address = urlsplit(endpoint)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
    try:
        kind = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"} if body else {}
        connection.request("POST" if body else "GET", path, body=body, headers=kind)
        answer = connection.getresponse()
        return answer.status, answer.headers.get("Server", ""), answer.read().decode()
    finally:
        connection.close()


def opened(vmm: Controller, ua: str) -> tuple[str, str]:
    """Id and endpoint of a new session."""
    session = vmm("session", "open", "--user", "tess", "--ua", ua).result["session"]
    return session["id"], session["endpoint"]


@pytest.fixture
def index(vmm: Controller, tmp_path: Path) -> Iterator[Controller]:
    """The site with two versions of pypiserver as archives: their wheels, which are zip files."""
    versions = {}
    own = vmm.on_site(tmp_path / "site", {})
    for version in ("2.3.2", "2.4.2"):
        files = own.site / "uas" / version
        argv = [*(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:")]
        subprocess.run([*argv, "--dest", files, f"pypiserver=={version}", *_WITH], check=True)
        artifacts = []
        for wheel in sorted(files.iterdir()):
            archive = wheel.rename(wheel.with_suffix(".zip"))
            artifacts.append({"source": f"{version}/{archive.name}", "sha256": sha256_of(archive)})
        versions[version] = {"kind": "archive", "artifacts": artifacts}
    (own.site / "uas" / "index.yml").write_text(yaml.safe_dump({**_INDEX, "versions": versions}))
    yield own
    own("ua", "remove", "index", "--yes")


def test_archive_of_others_keeps_its_users_data_through_update_and_way_back(
    index: Controller, idle_vms: tuple[str, str]
) -> None:
    """What is uploaded to the older version is there in the newer one, and again after going back."""
    vm = idle_vms[0]
    assert index("ua", "install", "index", "--version", "2.3.2", "--vm", vm).changed
    session, endpoint = opened(index, "index")
    assert asked(endpoint, "/", body=_UPLOAD)[0] == 200
    index("session", "close", session)

    for verb, shown in (
        (("update", "index", "--vm", vm), "2.4.2"),
        (("rollback", "index", "--vm", vm), "2.3.2"),
    ):
        assert index("ua", *verb).changed
        session, endpoint = opened(index, "index")
        assert f"version {shown} " in asked(endpoint, "/")[2]
        assert asked(endpoint, "/packages/mine-1.0.tar.gz")[2] == "what I made"
        index("session", "close", session)


def packaged() -> tuple[str, list[str]]:
    """A service that the controller's sources have in two versions, and these, older first."""
    for name in _SERVICES:
        argv = ["apt-cache", "madison", name]
        lines = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
        versions = list(dict.fromkeys(line.split("|")[1].strip() for line in lines))
        if len(versions) > 1:
            older = subprocess.run(
                ["dpkg", "--compare-versions", versions[0], "lt", versions[1]], check=False
            )
            return name, versions[:2] if older.returncode == 0 else versions[1::-1]
    pytest.fail(f"none of {_SERVICES} is there in two versions; fix: add one to _SERVICES", pytrace=False)


def test_service_of_packages_runs_in_sessions_only(
    vmm: Controller, idle_vms: tuple[str, str], tmp_path: Path
) -> None:
    """Two versions of it, by the packages' own unit: not before a session, in it, and not after it."""
    vm = idle_vms[1]
    name, found = packaged()
    unit = _UNITS[name]
    definition = {
        "unit": unit,
        "endpoints": [{"name": "web", "port": 80, "protocol": "http", "health": "/"}],
        "versions": {
            str(number + 1): {
                "kind": "deb",
                "packages": [f"{each}={version}" for each in _SOURCES.get(name, (name,))],
            }
            for number, version in enumerate(found)
        },
    }
    own = vmm.on_site(tmp_path / "site", {"uas/served.yml": yaml.safe_dump(definition)})
    ask = (
        f"dpkg-query -Wf '${{Version}}' {name}; echo; systemctl is-active {unit}; systemctl is-enabled {unit}"
    )
    try:
        for verb, version in (("install", 1), ("update", 2)):
            assert own("ua", verb, "served", "--version", str(version), "--vm", vm).changed
            assert own.on_guest(vm, f"{ask} || true").split() == [found[version - 1], "inactive", "disabled"]
        session, endpoint = opened(own, "served")
        assert asked(endpoint, "/")[0] == 200
        assert own.on_guest(vm, ask + " || true").split()[1] == "active"
        own("session", "close", session)
        assert own("ua", "rollback", "served", "--vm", vm).changed
        assert own.on_guest(vm, f"{ask} || true").split() == [found[0], "inactive", "disabled"]
    finally:
        own("ua", "remove", "served", "--yes")
    assert own.on_guest(vm, f"dpkg-query -W {name} || echo gone").endswith("gone")
