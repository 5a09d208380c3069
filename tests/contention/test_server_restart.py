"""PostgreSQL is stopped and started again while eight processes work on the state in it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..postgres_server import PostgresServer, running_server
from ..real_state import RealState
from .busy_watchers import check_nothing_lost, crowd
from .racers import make_session_with_watchers

PROCESSES = 8


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """A server that may be stopped."""
    with running_server() as server:
        yield server


WAYS = {"crash": signal.SIGQUIT, "fast": signal.SIGINT, "smart": signal.SIGTERM}


@pytest.mark.parametrize("way", WAYS)
def test_restart_under_load_loses_nothing_that_was_acknowledged(
    own_server: PostgresServer, tmp_path: Path, way: str
) -> None:
    """Tried twice each way. Who fails is told StateUnusable with a hint; afterwards all goes on by itself."""
    (tmp_path / "home").mkdir()
    state = RealState(tmp_path / "home", own_server.text(own_server.emptied()))
    make_session_with_watchers(state, watchers=0)
    with crowd(state, tmp_path / "notes", processes=PROCESSES) as working:
        for _ in range(2):
            working.wait_for("made", more=100)
            own_server.stop(WAYS[way])
            working.wait_for("failed", more=2 * PROCESSES)
            own_server.start()
        working.wait_for("made", more=100)
    errors = [error for each in working.told for error in each.failed.values()]
    assert {(type(error).__name__, error.exit_code) for error in errors} == {("StateUnusable", 8)}
    assert all(error.hint and own_server.url("state").location in error.message for error in errors)
    made, unsure = check_nothing_lost(state, working.told)
    assert len(made) >= 300
    assert len(unsure) <= 2 * PROCESSES  # the answer to a commit can be lost with the connection
