"""The floor of ``state_core``: transactions of the driver alone that write the rows which ours write.

The same tables and indexes, the same durability, one audit entry and the end of the chain each; no row is
read, nothing is checked and nothing is hashed.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing

import psycopg

from tests.real_state import RealState

_TIME = "2027-01-31T12:00:00.000000Z"
_HASH = "b" * 64
_OF = "session = :session AND watcher = :watcher"
_AUDIT = (
    "UPDATE audit_head SET seq = seq + 1, hash = :hash WHERE name = 'events'",
    "INSERT INTO audit_events SELECT seq, :time, :watcher, :origin, 'watcher.change', :session, :hash, :hash,"
    " :result, :hash, :hash FROM audit_head WHERE name = 'events'",
)
_HISTORY = (
    "INSERT INTO grant_history (session, watcher, change, privileges, expires_at, reason, actor, at)"
    " VALUES (:session, :watcher, 'updated', 'suspend', :time, '', :watcher, :time)"
)
_ACQUIRE = (
    "INSERT INTO suspend_rights (session, holder, fence, acquired_at, expires_at)"
    " VALUES (:session, :watcher, 1, :time, :time)"
    " ON CONFLICT (session) DO UPDATE SET holder = :watcher, fence = suspend_rights.fence + 1"
)
_RELEASE = "UPDATE suspend_rights SET holder = '' WHERE session = :session"
_ASSIGN = (
    "INSERT INTO grants (session, watcher, privileges, reason, granted_at, expires_at)"
    " VALUES (:session, :watcher, 'view', '', :time, :time)"
)
_UPDATE = f"UPDATE grants SET privileges = 'suspend,view' WHERE {_OF}"
_REVOKE = f"DELETE FROM grants WHERE {_OF}"
#: what is measured -> its transactions
TRANSACTIONS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "lock": ((_ACQUIRE, *_AUDIT), (_RELEASE, *_AUDIT)),
    "grant": ((_ASSIGN, _HISTORY, *_AUDIT), (_UPDATE, _HISTORY, *_AUDIT), (_REVOKE, _HISTORY, *_AUDIT)),
}


def raw_work(state: RealState, number: int, *, what: str, turns: int) -> tuple[float, float]:
    """Do that many turns as process ``number``; returns when the first began and the last ended."""
    values = {
        "session": f"w-{number}",
        "watcher": f"raw{number}",
        "time": _TIME,
        "hash": _HASH,
        "origin": '{"door":"python","host":"controller","pid":4711}',
        "result": f'{{"right":{{"expires_at":"{_TIME}","fence":1,"holder":"raw"}},"session":"w-1"}}'
        + " " * 60,
    }
    work = _on_server if state.url else _in_file
    return work(state, TRANSACTIONS[what], values, turns)


def _in_file(
    state: RealState, transactions: tuple[tuple[str, ...], ...], values: Mapping[str, str], turns: int
) -> tuple[float, float]:
    path = state.home / "state.db"
    with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")

        def commit(statements: tuple[str, ...]) -> None:
            connection.execute("BEGIN IMMEDIATE")
            for statement in statements:
                connection.execute(statement, values)
            connection.execute("COMMIT")

        return _timed(commit, transactions, turns)


def _on_server(
    state: RealState, transactions: tuple[tuple[str, ...], ...], values: Mapping[str, str], turns: int
) -> tuple[float, float]:
    placed = tuple(tuple(re.sub(r":(\w+)", r"%(\1)s", each) for each in part) for part in transactions)
    with psycopg.connect(state.url, autocommit=True, prepare_threshold=None) as connection:

        def commit(statements: tuple[str, ...]) -> None:
            connection.execute("BEGIN")
            for statement in statements:
                connection.execute(statement.encode(), values)
            connection.execute("COMMIT")

        return _timed(commit, placed, turns)


def _timed(
    commit: Callable[[tuple[str, ...]], None], transactions: tuple[tuple[str, ...], ...], turns: int
) -> tuple[float, float]:
    began = time.monotonic()
    for _ in range(turns):
        for statements in transactions:
            commit(statements)
    return began, time.monotonic()
