"""The controller's home belongs to one site, and is found by one rule."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vmm_automation.adapters.disks import require_space
from vmm_automation.adapters.lockfile import exclusive
from vmm_automation.adapters.private_directory import private_directory
from vmm_automation.errors import Conflict
from vmm_automation.places import Places
from vmm_automation.state.open import open_store


def test_reserve_for_a_second_site_is_refused_and_names_the_first(tmp_path: Path) -> None:
    """VM and user names are unique within a site only, so two sites never share one state."""
    places = Places(tmp_path / "home")
    places.reserve_for("alpha")
    with pytest.raises(Conflict, match="holds the state of site 'alpha', not of 'beta'") as refused:
        places.reserve_for("beta")
    assert "VMM_HOME" in refused.value.hint


def test_reserve_for_the_same_site_again_changes_nothing(tmp_path: Path) -> None:
    """Every command reserves the home anew, and must find it reserved for itself."""
    places = Places(tmp_path)
    places.reserve_for("alpha")
    before = (tmp_path / "site").stat().st_mtime_ns
    places.reserve_for("alpha")
    assert (tmp_path / "site").stat().st_mtime_ns == before


def test_from_environment_with_vmm_home_uses_it_as_an_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One variable moves everything that the controller keeps."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VMM_HOME", "kept")
    assert Places.from_environment().home == tmp_path / "kept"


def _lock(home: Path) -> None:
    with exclusive(home / "state.lock"):
        pass


def _run(home: Path) -> None:
    with private_directory(home / "run", prefix="playbook-"):
        pass


MAKERS: dict[str, Callable[[Path], object]] = {
    "site": lambda home: Places(home).reserve_for("alpha"),
    "state": lambda home: open_store(Places(home)).close(),
    "lock": _lock,
    "run": _run,
    "space": lambda home: require_space(home / "vms", needed_mib=0),
}


@pytest.mark.parametrize("umask", [0o022, 0o077])
@pytest.mark.parametrize("maker", MAKERS)
def test_home_can_be_passed_and_not_listed_whoever_makes_it(tmp_path: Path, maker: str, umask: int) -> None:
    """QEMU, as its own user, reads disks below; other users learn nothing."""
    before = os.umask(umask)
    try:
        MAKERS[maker](tmp_path / "home")
    finally:
        os.umask(before)
    assert oct((tmp_path / "home").stat().st_mode & 0o777) == "0o711"
