"""A site and a state of the test's own, and Ansible itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..made_site import MadeSite, make_site


@pytest.fixture
def site(tmp_path: Path) -> MadeSite:
    return make_site(tmp_path)


@pytest.fixture
def session(site: MadeSite) -> str:
    """A live session in the state."""
    return site.claim()
