"""Which of the controller's package sources a base image is built from."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmm_automation.adapters.apt_sources import controller_sources
from vmm_automation.errors import PreflightFailed


def test_controller_sources_of_both_forms_are_read_and_foreign_ones_left_out(tmp_path: Path) -> None:
    """One-line and deb822 entries of the release and component main count; the rest of a controller's apt
    does not.
    """
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (tmp_path / "sources.list").write_text(
        "# deb http://commented.example/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://one.example/debian bookworm main contrib # why\n"
        "deb-src http://one.example/debian bookworm main\n"
        "deb http://docker.example bookworm stable\n"
    )
    (parts / "debian.sources").write_text(
        "Types: deb deb-src\n# why\nURIs: http://two.example/debian\n"
        "Suites: bookworm bookworm-updates trixie\n"
        "Components: main\nSigned-By:\n -----BEGIN PGP\n .\n\n"
        "Types: deb\nURIs: http://off.example/debian\nSuites: bookworm\nComponents: main\nEnabled: no\n"
    )
    assert [source.line for source in controller_sources("bookworm", directory=tmp_path)] == [
        "deb [signed-by=/k.gpg] http://one.example/debian bookworm main",
        "deb http://two.example/debian bookworm main",
        "deb http://two.example/debian bookworm-updates main",
    ]


def test_a_controller_without_the_release_says_so(tmp_path: Path) -> None:
    """The message names the release, the hint names the key that helps."""
    with pytest.raises(PreflightFailed, match="'bookworm'") as caught:
        controller_sources("bookworm", directory=tmp_path)
    assert "mirror" in caught.value.hint
