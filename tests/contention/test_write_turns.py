"""Writers of a state file take turns; a writer that is gone, stopped or late holds up nobody for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.fake_clock import FakeClock
from vmm_automation.state import vms
from vmm_automation.state.sqlite import SqliteStore
from vmm_automation.state.write_turn import turn

_HOLD = "import sys; from pathlib import Path; from vmm_automation.state.write_turn import turn\n"
_HOLD += "with turn(Path(sys.argv[1]), within_s=9): print('has it', flush=True); sys.stdin.read()"
_LONG_S = 60.0


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def waiting(state: Path) -> int:
    """How many wait at the file, as the kernel tells."""
    inode = f":{state.with_name('state.db-turn').stat().st_ino} "
    return sum(inode in line and "->" in line for line in Path("/proc/locks").read_text().splitlines())


def until(number: int, state: Path) -> None:
    """Wait until so many wait."""
    deadline = time.monotonic() + _LONG_S
    while waiting(state) != number:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def holder(state: Path) -> subprocess.Popen[str]:
    """Another process that has its turn until its input ends."""
    argv = [sys.executable, "-c", _HOLD, str(state)]
    running = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert running.stdout
    assert running.stdout.readline() == "has it\n"
    return running


def test_who_came_first_writes_first(state: Path) -> None:
    """Ten that wait are served in the order in which they came."""
    served: list[int] = []

    def write(number: int) -> None:
        with turn(state, within_s=_LONG_S):
            served.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(10)]
    with turn(state, within_s=_LONG_S):
        for number, thread in enumerate(threads, start=1):
            thread.start()
            until(number, state)
    for thread in threads:
        thread.join()
    assert served == list(range(10))


def test_writer_that_is_killed_leaves_its_turn_to_the_next(state: Path) -> None:
    """At once: the kernel keeps the queue."""
    with holder(state) as running:
        entered = threading.Event()

        def write() -> None:
            with turn(state, within_s=_LONG_S):
                entered.set()

        thread = threading.Thread(target=write)
        thread.start()
        until(1, state)
        assert not entered.is_set()
        running.kill()
        assert entered.wait(_LONG_S)
        thread.join()


def test_stopped_writer_is_passed_by_and_the_queue_goes_on_when_it_does(
    state: Path, clock: FakeClock
) -> None:
    """Who waited long enough writes all the same: SQLite's lock is free. Later nobody waits any more."""
    with SqliteStore.open(state) as store, holder(state) as running:
        os.kill(running.pid, signal.SIGSTOP)
        with turn(state, within_s=0.05), store.reading() as tx:
            assert not tx.all("SELECT * FROM sessions")
        assert waiting(state) == 1
        os.kill(running.pid, signal.SIGCONT)
        running.communicate("")
        until(0, state)
        with store.transaction() as tx:
            vms.mark_clean(tx, vm="vm-1", now=clock.now())
        assert waiting(state) == 0


def test_nobody_waits_where_no_turns_can_be_taken(state: Path) -> None:
    """What is wrong there is told by what is written next. Tried: no directory, a directory of that name."""
    with turn(state / "none" / "state.db", within_s=_LONG_S):
        pass
    state.with_name("state.db-turn").mkdir()
    with turn(state, within_s=_LONG_S):
        pass
