"""Starts real processes at the same moment on one state, and what several of them are made to do."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier
from typing import Any

from vmm_automation.model.times import to_text
from vmm_automation.model.watcher import Grant, Privilege
from vmm_automation.state import grants, sessions, vms

from ..forked import FORKED
from ..real_state import RealState

PROCESSES = 16
DEADLINE_S = 120

Task = Callable[[RealState, int], Any]


def race(task: Task, state: RealState, *, processes: int = PROCESSES) -> list[Any]:
    """Run ``task(state, number)`` in that many processes at once; return what each returned, by number."""
    barrier = FORKED.Barrier(processes)
    results = FORKED.Queue()
    running = [
        FORKED.Process(target=_run, args=(task, state, number, barrier, results))
        for number in range(processes)
    ]
    for process in running:
        process.start()
    try:
        found = [results.get(timeout=DEADLINE_S) for _ in running]
    finally:
        for process in running:
            process.join(timeout=10)
            if process.is_alive():
                process.kill()
    failed = [result for _, result in found if isinstance(result, BaseException)]
    if failed:
        raise failed[0]
    return [result for _, result in sorted(found, key=lambda pair: pair[0])]


@contextmanager
def begun(task: Task, state: RealState, *, number: int) -> Iterator[BaseProcess]:
    """Start ``task(state, number)`` in a process of its own, for the test to watch or kill."""
    process = FORKED.Process(target=task, args=(state, number))
    process.start()
    try:
        yield process
    finally:
        if process.is_alive():
            process.kill()
        process.join()


def kill_inside(task: Task, state: RealState) -> None:
    """Start ``task`` in a new process, wait until it says that it is inside a transaction, and SIGKILL it."""
    inside = state.home / "inside"
    inside.unlink(missing_ok=True)
    process = FORKED.Process(target=task, args=(state, 0))
    process.start()
    deadline = time.monotonic() + DEADLINE_S
    while not inside.exists():
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.join()


def say_inside_and_wait(state: RealState) -> None:
    """Called by a task that :func:`kill_inside` is to kill."""
    (state.home / "inside").touch()
    time.sleep(DEADLINE_S)


def now() -> datetime:
    """The real time: racing processes share the machine's clock."""
    return datetime.now(UTC)


def make_clean(state: RealState, *names: str) -> None:
    """Prepare VMs that can be claimed."""
    with state.open() as store, store.transaction() as tx:
        for name in names:
            vms.mark_clean(tx, vm=name, now=now())


def make_session_with_watchers(state: RealState, *, watchers: int) -> None:
    """Prepare live session s-1 with watchers w0, w1, …, all of whom may suspend."""
    make_clean(state, "vm-1")
    hour = to_text(now() + timedelta(hours=1))
    with state.open() as store, store.transaction() as tx:
        sessions.claim(
            tx,
            session_id="s-1",
            user="ann",
            ua="cal",
            version="1",
            vm="vm-1",
            terminal="t",
            explanation={},
            owner="",
            now=now(),
        )
        for number in range(watchers):
            grant = Grant("s-1", f"w{number}", frozenset({Privilege.SUSPEND}), "", to_text(now()), hour)
            grants.assign(tx, grant=grant, actor="test", now=now())


def _run(task: Task, state: RealState, number: int, barrier: Barrier, results: Any) -> None:
    try:
        barrier.wait(timeout=DEADLINE_S)
        results.put((number, task(state, number)))
    except Exception as failure:  # noqa: BLE001 - carried to the test, which raises it
        results.put((number, RuntimeError(f"process {number} (pid {os.getpid()}): {failure!r}")))
