"""Processes that assign Watchers one after another and note what they are told, whatever happens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path

from vmm_automation.adapters.clock import SystemClock
from vmm_automation.errors import VmmError
from vmm_automation.operations import audit_log, watcher
from vmm_automation.operations.state_check import check_state

from ..real_state import RealState
from .racers import race

_HOUR = timedelta(hours=1)
_EACH_OPENING = 5
_DEADLINE_S = 60


@dataclass
class Told:
    """What one process was told: grants that were made, and the failures of those that were not or may not
    have been.
    """

    made: list[str] = field(default_factory=list)
    failed: dict[str, VmmError] = field(default_factory=dict)


class Crowd:
    """Processes at work on a state; ``notes`` is a directory of theirs beside it."""

    def __init__(self, notes: Path) -> None:
        self.notes = notes
        self.told: list[Told] = []

    def wait_for(self, kind: str, *, more: int) -> None:
        """Until that many more grants were ``made``, or ``failed``."""
        goal = self._count(kind) + more
        deadline = time.monotonic() + _DEADLINE_S
        while self._count(kind) < goal:
            assert time.monotonic() < deadline, f"{self._count(kind)} of {goal} {kind}"
            time.sleep(0.01)

    def _count(self, kind: str) -> int:
        return sum(file.stat().st_size for file in self.notes.glob(f"*.{kind}"))


@contextmanager
def crowd(state: RealState, notes: Path, *, processes: int) -> Iterator[Crowd]:
    """Processes that work while the block runs; behind it ``told`` has what each was told."""
    notes.mkdir()
    working = Crowd(notes)
    with ThreadPoolExecutor(max_workers=1) as pool:
        task = partial(assign_until_stopped, notes=notes)
        done: Future[list[Told]] = pool.submit(race, task, state, processes=processes)
        try:
            yield working
        finally:
            (notes / "stop").touch()
        working.told = done.result()


def assign_until_stopped(state: RealState, number: int, *, notes: Path) -> Told:
    """Assign a new Watcher each time; a failure other than a VmmError ends the process and the test."""
    told = Told()
    turn = 0
    with (
        (notes / f"{number}.made").open("ab", buffering=0) as made,
        (notes / f"{number}.failed").open("ab", buffering=0) as failed,
    ):
        while not (notes / "stop").exists():
            name = f"w{number}-{turn + 1}"
            try:
                with state.open() as store:
                    for _ in range(_EACH_OPENING):
                        turn += 1
                        name = f"w{number}-{turn}"
                        watcher.assign(
                            store,
                            SystemClock(),
                            session="s-1",
                            watcher=name,
                            privileges=["view"],
                            duration=_HOUR,
                            actor="root",
                        )
                        told.made.append(name)
                        made.write(b".")
            except VmmError as error:  # on opening, too: then nobody has tried that name
                told.failed[name] = error
                failed.write(b".")
                turn += 1
                time.sleep(0.01)
    return told


def check_nothing_lost(state: RealState, told: list[Told]) -> tuple[set[str], set[str]]:
    """All that was acknowledged is there, each with its entry, the chain and the state are whole.

    Returns the names acknowledged, and those that are there though a failure was told.
    """
    made = {name for each in told for name in each.made}
    failed = {name for each in told for name in each.failed}
    with state.open() as store:
        there = {
            grant["watcher"] for grant in watcher.list_watchers(store, SystemClock(), session="s-1")["grants"]
        }
        assert made <= there <= made | failed
        assert audit_log.verify(store)["events"] == len(there)
        assert check_state(store)["problems"] == []
    return made, there - made
