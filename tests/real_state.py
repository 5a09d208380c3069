"""A state on either engine that processes of a test open: by path or by URL, as programs do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vmm_automation.model.state_url import parse_state_url
from vmm_automation.places import Places
from vmm_automation.state.open import open_store
from vmm_automation.state.store import Engine

ENGINES = ("sqlite", "postgresql")


@dataclass(frozen=True)
class RealState:
    """Where it is; may be handed to another process. ``home`` is a directory of the test's own."""

    home: Path
    url: str = ""

    def open(self) -> Engine:
        """Open it in this process."""
        return open_store(Places(self.home), parse_state_url(self.url) if self.url else None)
