"""Debian packages that a UA version brings: resolved, locked, verified."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from vmm_automation.adapters.apt_packages import installed_packages, resolve_packages
from vmm_automation.adapters.artifacts import fetch_artifacts
from vmm_automation.adapters.cached_files import sha256_of
from vmm_automation.errors import ArtifactInvalid
from vmm_automation.model.ua import UaVersion


def test_locked_packages_need_no_apt_and_are_verified(tmp_path: Path) -> None:
    """With a lock the files come from the cache; an absent or altered one is named with its digest."""
    status = tmp_path / "status"
    status.write_text("Package: dpkg\nStatus: install ok installed\nVersion: 1\n\n")
    directory = tmp_path / "artifacts"
    directory.mkdir()
    deb = directory / "tool_1_amd64.deb"
    deb.write_bytes(b"deb")
    digest = sha256_of(deb)
    deb = deb.rename(directory / f"{digest}-{deb.name}")
    entry = {"file": deb.name, "name": "tool", "version": "1", "sha256": digest}
    inputs = {"schema": 1, "packages": ["tool"], "installed": [["dpkg", "1"]]}
    key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
    (directory / f"{key}.json").write_text(json.dumps({"schema": 1, "files": [entry]}))
    version = UaVersion("1", "deb", packages=("tool",))
    files = fetch_artifacts(version, definition_dir=tmp_path, directory=directory, package_status=status)
    assert files == (deb,)
    deb.write_bytes(b"dex")
    with pytest.raises(ArtifactInvalid, match="altered in the cache"):
        fetch_artifacts(version, definition_dir=tmp_path, directory=directory, package_status=status)
    deb.unlink()
    with pytest.raises(ArtifactInvalid, match="is absent, though the lock names it"):
        fetch_artifacts(version, definition_dir=tmp_path, directory=directory, package_status=status)


@pytest.mark.parametrize("name", ["--option=x", "a b", "-o", "UPPER", "", "x;y"])
def test_package_name_that_is_an_option_is_refused(tmp_path: Path, name: str) -> None:
    """Names from a definition never become apt's options."""
    with pytest.raises(ArtifactInvalid, match="not a Debian package name"):
        resolve_packages([name], status=tmp_path / "s", directory=tmp_path, progress=print)


def test_only_installed_packages_count() -> None:
    """A package that was removed but left its configuration is not there."""
    installed = "Package: a\nStatus: install ok installed\nVersion: 1\n"
    removed = "Package: b\nStatus: deinstall ok config-files\nVersion: 2\n"
    text = f"{installed}\n{removed}"
    assert installed_packages(text) == {"a": "1"}
