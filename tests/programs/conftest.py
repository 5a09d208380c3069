"""What tests with real programs share: a guest made of a directory, and a place for files."""

from __future__ import annotations

from pathlib import Path

import pytest

from .sandbox_guest import SandboxGuest


@pytest.fixture
def guest(tmp_path: Path) -> SandboxGuest:
    return SandboxGuest(tmp_path / "guest")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    directory = tmp_path / "files"
    directory.mkdir()
    return directory
