"""A SQLite state whose disk fills up while eight processes work on it."""

from __future__ import annotations

from pathlib import Path

from ..real_state import RealState
from ..small_disk import filled, small_disk
from .busy_watchers import check_nothing_lost, crowd
from .racers import make_session_with_watchers

PROCESSES = 8


def test_full_disk_under_load_is_told_and_work_goes_on_with_space(tmp_path: Path) -> None:
    """Tried twice: each failure is DiskFull, nothing that failed is there, all that was acknowledged is."""
    with small_disk(tmp_path / "disk", mib=24) as disk:
        state = RealState(disk / "home")
        make_session_with_watchers(state, watchers=0)
        with crowd(state, tmp_path / "notes", processes=PROCESSES) as working:
            for _ in range(2):
                working.wait_for("made", more=60)
                with filled(disk):
                    working.wait_for("failed", more=30)
            working.wait_for("made", more=60)
        errors = [error for each in working.told for error in each.failed.values()]
        assert {(type(error).__name__, error.exit_code) for error in errors} == {("DiskFull", 8)}
        assert {error.hint for error in errors} == {f"df -h {state.home}"}
        made, unsure = check_nothing_lost(state, working.told)
        assert len(made) >= 180
        assert unsure == set()
