"""What all tests share: both engines of the state, and that a skip is a failure where CI is set."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest

from vmm_automation.state import sessions, vms
from vmm_automation.state.store import Engine

from .fake_clock import FakeClock
from .postgres_server import PostgresServer, running_server
from .real_state import ENGINES, RealState

# What is found depends neither on how busy the machine is nor, where CI is set, on chance.
hypothesis.settings.register_profile("tests", deadline=None, derandomize=bool(os.environ.get("CI")))
hypothesis.settings.load_profile("tests")

# Tests have states of their own, never somebody's real one.
for _name in ("VMM_STATE_URL", "VMM_STATE_URL_FILE"):
    os.environ.pop(_name, None)

# Programs start as installed ones do, with their byte-code; borg starts often, and without its self-test.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
os.environ["BORG_SELFTEST"] = "disabled"
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(Path(__file__).with_name("every_start")), os.environ.get("PYTHONPATH")])
)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for all tests; started for the first that needs it."""
    with running_server() as server:
        yield server


@pytest.fixture
def postgres_database(postgres_server: PostgresServer) -> Iterator[str]:
    """The name of an empty database of the test's own."""
    name = postgres_server.new_database()
    yield name
    postgres_server.drop(name)


@pytest.fixture(params=ENGINES)
def real_state(request: pytest.FixtureRequest, tmp_path: Path) -> RealState:
    """An empty state on each engine in turn."""
    if request.param == "sqlite":
        return RealState(tmp_path / "home")
    server: PostgresServer = request.getfixturevalue("postgres_server")
    (tmp_path / "home").mkdir()
    return RealState(tmp_path / "home", server.text(server.emptied()))


@pytest.fixture
def store(real_state: RealState) -> Iterator[Engine]:
    with real_state.open() as opened:
        yield opened


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def live(store: Engine, clock: FakeClock) -> Engine:
    """A store with live session s-1."""
    with store.transaction() as tx:
        vms.mark_clean(tx, vm="vm-1", now=clock.now())
        sessions.claim(
            tx,
            session_id="s-1",
            user="ann",
            ua="cal",
            version="1",
            vm="vm-1",
            terminal="phone",
            explanation={},
            owner="",
            now=clock.now(),
        )
    return store


@pytest.fixture(params=ENGINES)
def new_state(request: pytest.FixtureRequest, tmp_path: Path) -> RealState:
    """A place for a state on each engine in turn: there is no table yet."""
    if request.param == "sqlite":
        return RealState(tmp_path / "home")
    server: PostgresServer = request.getfixturevalue("postgres_server")
    (tmp_path / "home").mkdir()
    return RealState(tmp_path / "home", server.text(request.getfixturevalue("postgres_database")))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
    call: pytest.CallInfo[None],  # noqa: ARG001 - the hook's signature
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure that gives the skip's reason; an expected failure stays one."""
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, which CI does not allow: {reason}"
    return report
