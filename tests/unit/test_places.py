"""The controller's home belongs to one site, and is found by one rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmm_automation.errors import Conflict
from vmm_automation.places import Places


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
