"""Work on stored images killed between any two of its steps; the next run finishes it.

Every other case has its state on the other engine: what is killed here is work on the store of images.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from vmm_automation.operations import audit_log, image_file, image_store, image_upkeep
from vmm_automation.operations.context import Context
from vmm_automation.operations.state_check import check_state
from vmm_automation.state import generations

from ..fake_clock import FakeClock
from ..programs.stored_images import numbers, store_generation
from ..real_state import RealState
from .image_acts import ANN, open_context
from .own_process import run_apart

CASES = [
    ("restore", "audit.appended"),
    ("pin", "audit.appended"),
    ("prune", "audit.appended"),
    ("prune", "image.drop.recorded"),
    ("prune", "image.drop.dropped"),
    ("delete", "audit.appended"),
    ("delete", "image.drop.recorded"),
    ("delete", "image.drop.dropped"),
    ("repair", "audit.appended"),
    ("repair", "image.repair.marked"),
    ("repair", "image.drop.recorded"),
    ("repair", "image.drop.dropped"),
    ("export", "audit.appended"),
    ("export", "image.export.recorded"),
    ("import", "image.import.stored"),
    ("import", "audit.appended"),
]
IMAGE_POINTS = frozenset(point for _, point in CASES) - {"audit.appended"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three generations, one of which lost its archive, an archive that no row names, and a file."""
    place = tmp_path_factory.mktemp("images")
    context = open_context(place, "")
    vars(context)["clock"] = FakeClock()
    with context.store:
        stored = [store_generation(context, {"s/a": b"%d" % number}) for number in range(4)]
        image_file.export(context, **ANN, target=place / "given.vmmimage", number=2)
        context.images.delete(stored[1].archive)
    return place


class Stored:
    """A copy of what was made, with its rows in a state of the test's own."""

    def __init__(self, made: Path, state: RealState) -> None:
        self.state, self.place = state, state.home.parent
        shutil.copytree(made / "home" / "user_images", state.home / "user_images")
        shutil.copy(made / "given.vmmimage", self.place)
        with (
            RealState(made / "home").open() as source,
            source.reading() as there,
            state.open() as store,
            store.transaction() as tx,
        ):
            for one in generations.list_generations(there)[:3]:
                manifest = generations.get_manifest(there, **ANN, number=one.number)
                generations.add(tx, generation=one, manifest=manifest)

    def context(self) -> Context:
        """All of it, opened."""
        return open_context(self.place, self.state.url)

    def run(self, act: str, *, kill_at: str = "") -> subprocess.CompletedProcess[str]:
        """Do something in a process of its own, whose parent ends with it."""
        return run_apart("tests.crash.image_acts", str(self.place), self.state.url, act, kill_at=kill_at)

    def finish(self, act: str) -> dict[str, Any]:
        """Do something to its end; the document."""
        done = self.run(act)
        assert done.returncode == 0, (act, done.stdout, done.stderr)
        return dict(json.loads(done.stdout))


def restored(_stored: Stored, context: Context) -> None:
    with context.store.reading() as tx:
        newest, first = (generations.get(tx, **ANN, number=number) for number in (None, 1))
    assert (newest.number, newest.root_digest) == (4, first.root_digest)


def pinned(_stored: Stored, context: Context) -> None:
    with context.store.reading() as tx:
        assert generations.get(tx, **ANN, number=1).pinned


def thinned_out(_stored: Stored, context: Context) -> None:
    assert numbers(context) == [3]


def deleted(_stored: Stored, context: Context) -> None:
    assert numbers(context) == [2, 3]


def marked(_stored: Stored, context: Context) -> None:
    with context.store.reading() as tx:
        assert generations.get(tx, **ANN, number=2).state == "missing"
    assert len(context.images.archives()) == 2


def exported(stored: Stored, _context: Context) -> None:
    assert [path.name for path in stored.place.glob("*a.vmmimage*")] == ["a.vmmimage"]


def imported(_stored: Stored, context: Context) -> None:
    assert numbers(context) == [1, 2, 3, 4]


AFTER: dict[str, Callable[[Stored, Context], None]] = {
    "restore": restored,
    "pin": pinned,
    "prune": thinned_out,
    "delete": deleted,
    "repair": marked,
    "export": exported,
    "import": imported,
}


@pytest.fixture
def stored(made: Path, real_state: RealState) -> Stored:
    return Stored(made, real_state)


def require_order(context: Context, *, newest: int) -> None:
    """What holds after each kill and after each end: the chain, the state, and the newest one deploys."""
    assert check_state(context.store)["problems"] == []
    assert audit_log.verify(context.store)["valid"]
    (good,) = image_store.verify(context, **ANN)["generations"]
    assert (good["number"], good["status"]) == (newest, "good")


@pytest.mark.parametrize(
    ("real_state", "act", "point"),
    [(("sqlite", "postgresql")[number % 2], *case) for number, case in enumerate(CASES)],
    indirect=["real_state"],
)
def test_killed_work_on_stored_images_is_finished_by_the_next_run(
    stored: Stored, act: str, point: str
) -> None:
    """The newest good generation is there all the time; afterwards nothing is left that nobody names."""
    killed = stored.run(act, kill_at=point)
    assert killed.returncode == 128 + signal.SIGKILL, (killed.stdout, killed.stderr)
    with stored.context().store:
        require_order(stored.context(), newest=3)
    stored.finish(act)
    context = stored.context()
    with context.store:
        AFTER[act](stored, context)
        require_order(context, newest=numbers(context)[-1])
        told = image_upkeep.repair(context, remove=True, recent=timedelta())
        assert {one["number"] for one in told["missing"]} <= {2}
        assert told["unnamed"] == told["removed"]
    assert stored.finish(act)["changed"] is False
