"""Artifacts of the UAs that are shipped, fetched for real: wheels by pip, packages by apt; the second time
offline.
"""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from vmm_automation.adapters.artifacts import fetch_artifacts
from vmm_automation.adapters.bundles import build_bundle
from vmm_automation.errors import ArtifactInvalid
from vmm_automation.model.ua import Artifact, UaDefinition, UaVersion
from vmm_automation.schema.definitions import ua_from_mapping

UAS = Path(__file__).parents[2] / "inventories" / "local" / "uas"
#: what kind deb resolves against here: nothing is installed, so the whole closure comes
EMPTY_STATUS = (
    "Package: none\nStatus: install ok installed\nArchitecture: all\n"
    "Version: 1\nMaintainer: x\nDescription: x\n\n"
)


def shipped(name: str) -> UaDefinition:
    definition, errors = ua_from_mapping(name, yaml.safe_load((UAS / f"{name}.yml").read_text()), where=name)
    assert definition is not None, errors
    return definition


def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves neither pip nor apt anywhere to ask."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PATH", "/nonexistent")


def fetcher(directory: Path, status: Path | None = None) -> Callable[[UaVersion], tuple[Path, ...]]:
    return lambda version: fetch_artifacts(
        version, definition_dir=UAS, directory=directory, package_status=status
    )


def test_every_radicale_version_is_fetched_then_cached_and_bundled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each pinned wheel exists with its digest; afterwards neither network nor pip is needed."""
    definition = shipped("radicale")
    fetch = fetcher(tmp_path / "artifacts")
    first = {version.version: fetch(version) for version in definition.versions}
    unreachable(monkeypatch)
    assert {version.version: fetch(version) for version in definition.versions} == first
    for version in definition.versions:
        bundle = build_bundle(
            definition, version, files=first[version.version], directory=tmp_path / "bundles"
        )
        with tarfile.open(bundle.path) as archive:
            names = archive.getnames()
        assert "app/radicale/__main__.py" in names
        assert not [name for name in names if name.endswith(".pyc")]


def test_wheel_with_another_digest_is_refused_with_both(tmp_path: Path) -> None:
    """A pin that the index does not keep is told with the digest that was wanted and the one that came."""
    pinned = shipped("radicale").versions[0].artifacts[3]
    version = UaVersion("1", "pip", artifacts=(Artifact(pinned.source, "a" * 64),))
    with pytest.raises(ArtifactInvalid) as altered:
        fetcher(tmp_path)(version)
    assert altered.value.details["expected"] == "a" * 64
    assert altered.value.details["actual"] == pinned.sha256


def test_wheel_that_does_not_exist_is_absent(tmp_path: Path) -> None:
    """A version that was never published is reported as absent, by its name."""
    version = UaVersion("1", "pip", artifacts=(Artifact("six==0.0.0.1", "a" * 64),))
    with pytest.raises(ArtifactInvalid, match=r"'six==0\.0\.0\.1' is absent"):
        fetcher(tmp_path)(version)


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="the controller has no apt")
def test_packages_are_resolved_once_then_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small package comes with all its dependencies; the lock then serves without apt."""
    status = tmp_path / "status"
    status.write_text(EMPTY_STATUS)
    version = UaVersion("1", "deb", packages=("hostname",))
    fetch = fetcher(tmp_path / "artifacts", status)
    first = fetch(version)
    names = {path.name.partition("-")[2].partition("_")[0] for path in first}
    assert {"hostname", "libc6"} <= names
    unreachable(monkeypatch)
    assert fetch(version) == first


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="the controller has no apt")
def test_package_that_does_not_exist_is_absent(tmp_path: Path) -> None:
    """The reason apt gives is in the message."""
    status = tmp_path / "status"
    status.write_text(EMPTY_STATUS)
    version = UaVersion("1", "deb", packages=("no-such-package-anywhere",))
    with pytest.raises(ArtifactInvalid, match="Unable to locate package"):
        fetcher(tmp_path / "artifacts", status)(version)
