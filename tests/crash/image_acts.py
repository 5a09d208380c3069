"""What is done with stored images, to be killed at."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from vmm_automation.adapters.clock import SystemClock
from vmm_automation.content import default_site
from vmm_automation.model.retention import Retention
from vmm_automation.operations import image_file, image_store, image_upkeep
from vmm_automation.operations.context import Context
from vmm_automation.places import Places
from vmm_automation.site import Site

from ..real_state import RealState

ANN: dict[str, Any] = {"user": "ann", "ua": "radicale"}
ACTS: dict[str, Callable[[Context, Path], dict[str, Any]]] = {
    "restore": lambda context, _: image_store.restore(context, **ANN, number=1),
    "pin": lambda context, _: image_store.pin(context, **ANN, number=1, pinned=True),
    "prune": lambda context, _: image_upkeep.prune(context, retention=Retention(last=1)),
    "delete": lambda context, _: image_store.delete(context, **ANN, number=1),
    "repair": lambda context, _: image_upkeep.repair(context, remove=True, recent=timedelta()),
    "export": lambda context, place: image_file.export(context, **ANN, target=place / "a.vmmimage", number=1),
    "import": lambda context, place: image_file.import_(context, source=place / "given.vmmimage"),
}


def open_context(place: Path, url: str) -> Context:
    """The project's site, with the state and the image store of a test."""
    home = place / "home"
    context = Context(site=Site.load(default_site()), places=Places(home), clock=SystemClock(), actor="root")
    context.__dict__.update(store=RealState(home, url).open())
    return context


def main(place: str, url: str, act: str) -> dict[str, Any]:
    """Do it; what it returned."""
    return ACTS[act](open_context(Path(place), url), Path(place))
