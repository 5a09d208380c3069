"""What can become of a state file: cut off, lost, read only, left by a killed process, on a full disk.

Each is told as the class of ``docs/exit-codes.md``, with what to type, and nothing is lost by it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from vmm_automation.errors import DiskFull, StateUnusable, VmmError
from vmm_automation.operations.state_check import check_state
from vmm_automation.state import vms
from vmm_automation.state.sqlite import SqliteStore

from ..fake_clock import FakeClock
from ..small_disk import filled, read_only, small_disk

_NOBODY = 65534


def make(path: Path, clock: FakeClock, *, rows: int = 500) -> None:
    with SqliteStore.open(path) as store, store.transaction() as tx:
        for number in range(rows):
            vms.mark_dirty(tx, vm=f"vm-{number}", reason="x" * 100, now=clock.now())


def refusal(action: Callable[[], object], kind: type[VmmError] = StateUnusable) -> VmmError:
    with pytest.raises(kind) as caught:
        action()
    assert type(caught.value) is kind
    assert caught.value.hint
    assert caught.value.exit_code == 8
    return caught.value


def use(path: Path) -> None:
    """Open it, read all of it, write to it."""
    with SqliteStore.open(path) as store:
        problems = check_state(store)["problems"]
        if problems:
            raise StateUnusable(problems[0], hint="vmm state check")
        with store.transaction() as tx:
            vms.next_fence(tx)


def leave_log(path: Path, clock: FakeClock) -> None:
    """As a process killed behind a commit leaves it: the change is in the log only."""
    child = os.fork()
    if child == 0:
        store = SqliteStore.open(path)
        with store.transaction() as tx:
            vms.mark_clean(tx, vm="vm-new", now=clock.now())
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert path.with_name("state.db-wal").stat().st_size > 0


@pytest.mark.parametrize("kept", [1, 16, 100, 512, 4096, 5000, 0.3, 0.9])
def test_file_cut_off_is_told_at_the_latest_by_the_check(
    tmp_path: Path, clock: FakeClock, kept: float
) -> None:
    """Tried: cut within SQLite's header, behind the first page, within a page, after 30 % and 90 %."""
    path = tmp_path / "state.db"
    make(path, clock)
    size = kept if kept >= 1 else path.stat().st_size * kept
    os.truncate(path, int(size))
    before = path.read_bytes()
    refusal(lambda: use(path))
    assert path.read_bytes() == before


def test_empty_file_is_not_taken_for_a_new_state(tmp_path: Path, clock: FakeClock) -> None:
    """Tried: a state cut to nothing, with and without a log beside it. Neither file is touched."""
    path = tmp_path / "state.db"
    make(path, clock)
    leave_log(path, clock)
    os.truncate(path, 0)
    log = path.with_name("state.db-wal")
    kept = log.read_bytes()
    error = refusal(lambda: use(path))
    assert "cut off after 0 bytes" in error.message
    assert error.hint == f"mv {path} {path}.damaged"
    assert (path.stat().st_size, log.read_bytes()) == (0, kept)
    log.unlink()
    refusal(lambda: use(path))


def test_lost_file_whose_log_is_left_is_not_begun_anew_over_it(tmp_path: Path, clock: FakeClock) -> None:
    """SQLite would put the old log's changes into the new file; what the hint says makes the way free."""
    path = tmp_path / "state.db"
    make(path, clock)
    leave_log(path, clock)
    path.rename(tmp_path / "elsewhere.db")
    log = path.with_name("state.db-wal")
    kept = log.read_bytes()
    error = refusal(lambda: use(path))
    assert sorted(found.name for found in tmp_path.iterdir() if found.name.startswith(".")) == []
    assert error.hint == f"mv {log} {log}.before"
    log.rename(f"{log}.before")
    use(path)
    assert Path(f"{log}.before").read_bytes() == kept


def test_log_of_a_killed_process_is_taken_in(tmp_path: Path, clock: FakeClock) -> None:
    """What was committed and is only in the log is there for the next process, and the state is whole."""
    path = tmp_path / "state.db"
    make(path, clock, rows=3)
    leave_log(path, clock)
    with SqliteStore.open(path) as store, store.reading() as tx:
        assert "vm-new" in vms.conditions(tx)
    use(path)


def test_read_only_directory_is_told(tmp_path: Path, clock: FakeClock) -> None:
    """Tried as its owner, who is not root: no file there yet, and a file that is there."""
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")
    for here in (tmp_path, *tmp_path.parents[:3]):
        here.chmod(here.stat().st_mode | 0o011)
    new, old = tmp_path / "new", tmp_path / "old"
    new.mkdir()
    make(old / "state.db", clock)
    before = sorted(tmp_path.glob("*/*"))
    os.chown(old / "state.db", _NOBODY, _NOBODY)
    for home in (new, old):
        os.chown(home, _NOBODY, _NOBODY)
        home.chmod(0o500)
        assert _told_as_nobody(home / "state.db") == "StateUnusable 8"
    assert sorted(tmp_path.glob("*/*")) == before


def _told_as_nobody(path: Path) -> str:
    told, says = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
        try:
            use(path)
            os.write(says, b"used")
        except VmmError as error:
            if error.hint and str(path.parent) in error.message:
                os.write(says, f"{type(error).__name__} {error.exit_code}".encode())
        finally:
            os._exit(0)
    os.close(says)
    os.waitpid(child, 0)
    with os.fdopen(told) as answer:
        return answer.read()


def test_read_only_file_system_is_told_and_the_state_goes_on_afterwards(
    tmp_path: Path, clock: FakeClock
) -> None:
    """As after an error of the disk: nothing can be written, the error says so; then all is there."""
    with small_disk(tmp_path / "disk", mib=8) as disk:
        path = disk / "state.db"
        with read_only(disk):
            refusal(lambda: use(path))
        make(path, clock)
        with read_only(disk):
            refusal(lambda: use(path))
        with SqliteStore.open(path) as store, store.reading() as tx:
            assert len(vms.conditions(tx)) == 500
        use(path)


def test_state_is_not_begun_on_a_full_disk(tmp_path: Path, clock: FakeClock) -> None:
    """Nothing is left of the attempt, and with space it is begun."""
    with small_disk(tmp_path / "disk", mib=2) as disk:
        with filled(disk):
            error = refusal(lambda: use(disk / "state.db"), DiskFull)
            assert [found.name for found in disk.iterdir()] == ["filler"]
        assert error.hint == f"df -h {disk}"
        make(disk / "state.db", clock)
        use(disk / "state.db")
