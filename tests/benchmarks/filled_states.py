"""States of a benchmark's own on both engines, with as many grants in them as asked for."""

from __future__ import annotations

import itertools
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from tests.postgres_server import PostgresServer, running_server
from tests.real_state import ENGINES, RealState
from vmm_automation.model.times import to_text

#: sessions that the measured work uses, one for each process; they have no grants of their own
WORKERS = 8
PER_SESSION = 10
_RESULT = '{"grant":{"expires_at":"2027-01-31T12:00:00.000000Z","privileges":["suspend"],"reason":"test"}}'
_FROM = '{"door":"python","host":"controller","pid":4711}'
_HASH = "a" * 64
_TABLES = {
    "sessions": "id, user_name, ua, version, vm, terminal, state, fence, created_at, changed_at",
    "grants": "session, watcher, privileges, reason, granted_at, expires_at",
    "grant_history": "session, watcher, change, privileges, expires_at, reason, actor, at",
    "audit_events": "seq, at, actor, origin, action, object, before_digest, after_digest, result,"
    " previous, hash",
}
#: what a state that grew in years has behind it, and one that was filled at once has not
_SETTLED = {
    "sqlite": ("ANALYZE", "PRAGMA wal_checkpoint(TRUNCATE)"),
    "postgresql": ("VACUUM ANALYZE", "CHECKPOINT"),
}


@contextmanager
def states(engines: Sequence[str] = ENGINES) -> Iterator[MadeStates]:
    """Where states are made; they and the database server are gone at the end."""
    with ExitStack() as ended:
        top = ended.enter_context(tempfile.TemporaryDirectory(prefix="vmm-bench-", dir="/var/tmp"))
        server = ended.enter_context(running_server()) if "postgresql" in engines else None
        yield MadeStates(Path(top), server)


class MadeStates:
    """Makes states below one directory and in one database server."""

    def __init__(self, top: Path, server: PostgresServer | None) -> None:
        self._top, self._server = top, server
        self._numbers = itertools.count()

    def make(self, engine: str, *, grants: int) -> RealState:
        """A new state with that many grants, ten on each of its live sessions, and what led to them."""
        home = self._top / str(next(self._numbers))
        url = ""
        if engine == "postgresql":
            assert self._server is not None
            home.mkdir()
            url = self._server.text(self._server.new_database())
        state = RealState(home, url)
        state.open().close()
        with _connected(state) as connection:
            for table, columns in _TABLES.items():
                _copy(connection, table, columns, _rows(table, grants))
            ended = connection.cursor()
            ended.execute(f"UPDATE audit_head SET seq = {grants}, hash = '{_HASH}'")
            ended.execute(f"UPDATE counters SET value = {grants + WORKERS}")
            connection.commit()
        with _connected(state, autocommit=True) as connection:
            for statement in _SETTLED[engine]:
                connection.cursor().execute(statement)
        return state


@contextmanager
def _connected(state: RealState, *, autocommit: bool = False) -> Iterator[Any]:
    if not state.url:
        with closing(sqlite3.connect(state.home / "state.db")) as connection:
            yield connection
        return
    with psycopg.connect(state.url, autocommit=autocommit) as server:
        yield server


def _copy(connection: Any, table: str, columns: str, rows: Iterator[tuple[Any, ...]]) -> None:
    cursor = connection.cursor()
    if isinstance(connection, sqlite3.Connection):
        marks = ", ".join("?" * len(columns.split(",")))
        cursor.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)
        return
    with cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as target:
        for row in rows:
            target.write_row(row)


def _rows(table: str, grants: int) -> Iterator[tuple[Any, ...]]:
    now = to_text(datetime.now(UTC))
    end = to_text(datetime.now(UTC) + timedelta(days=30))
    if table == "sessions":
        names = [f"w-{number}" for number in range(WORKERS)]
        names += [f"s-{number:06x}" for number in range((grants + PER_SESSION - 1) // PER_SESSION)]
        for fence, name in enumerate(names, 1):
            yield name, f"u-{name}", "cal", "1", f"vm-{name}", "phone", "active", fence, now, now
        return
    for number in range(grants):
        session, name = f"s-{number // PER_SESSION:06x}", f"watcher-{number % PER_SESSION}"
        if table == "grants":
            yield session, name, "suspend,view", "test", now, end
        elif table == "grant_history":
            yield session, name, "assigned", "suspend,view", end, "test", "root", now
        else:
            of = f"{session}/{name}"
            yield (
                *(number + 1, now, "root", _FROM, "watcher.assign", of),
                *("", _HASH, _RESULT, _HASH, _HASH),
            )
