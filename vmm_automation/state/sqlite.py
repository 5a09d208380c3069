"""The default state engine: one SQLite file that several processes of one controller share.

On disk: ``state.db`` (0600, in a directory that only its owner writes) with ``state.db-wal`` and
``state.db-shm`` beside it, and ``state.db-turn``, at which writers queue. A new file gets its name when all
tables are in it. Write-ahead log with
``synchronous=FULL``: a committed transaction survives a power cut, one that was under way when its process
died leaves no trace. Any number of readers and one writer at a time; a writer waits up to 30 seconds for
its turn. Threads may share a store, each works on a connection of its own. A process closes its stores
before it forks, and the child opens its own: SQLite's locks do not pass a fork. A network file system is
refused: they do not hold there either.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from vmm_automation.errors import StateUnusable
from vmm_automation.state import private_file, schema
from vmm_automation.state.seen_rows import SeenRows
from vmm_automation.state.sqlite_failures import BUSY_TIMEOUT_S, in_our_words, tell
from vmm_automation.state.write_turn import turn

if TYPE_CHECKING:
    from vmm_automation.state.store import Row, SchemaTx, Snapshot, Value

_APPLICATION_ID = 0x564D4D31  # "VMM1": tells our file from another program's SQLite file
_IDENTITY = "INTEGER PRIMARY KEY AUTOINCREMENT"


class SqliteStore:
    """The state in one SQLite file; the module's docstring has the contract."""

    name = "sqlite"

    def __init__(self, path: Path) -> None:
        """Connect nothing yet; use :meth:`open`."""
        self.path = path
        self._pid = os.getpid()
        self._own = threading.local()
        self._connections: list[sqlite3.Connection] = []

    @classmethod
    def open(cls, path: Path) -> SqliteStore:
        """Open the state file, creating it or bringing an older one up to this version's schema.

        Raises:
            StateUnusable: it cannot be opened, is damaged, is not a state file, is somebody
                else's, or was written by a newer version.
            DiskFull: there is no space to create it.
            Timeout: another process kept it locked for 30 seconds.
        """
        store = cls(path)
        store._connection()
        return store

    @staticmethod
    def version_of(path: Path) -> int:
        """The schema version of a state file, which stays as it is; 0 if there is none.

        Raises:
            StateUnusable, DiskFull, Timeout: as :meth:`open`.
        """
        if not path.exists():
            return 0
        with closing(_connect(path, migrate=False)) as connection:
            return _version(_SqliteTx(connection, path))

    def close(self) -> None:
        """Close the connections of all threads; a second call does nothing."""
        while self._connections and self._pid == os.getpid():
            self._connections.pop().close()
        self._own = threading.local()

    def __enter__(self) -> SqliteStore:
        """The store itself, closed at the end of the block."""
        return self

    def __exit__(self, *failure: object) -> None:
        """Close the file."""
        self.close()

    @property
    def location(self) -> str:
        """The path of the file."""
        return str(self.path)

    @contextmanager
    def transaction(self, *, keep: bool = True) -> Iterator[SchemaTx]:
        """See :meth:`vmm_automation.state.store.Store.transaction`."""
        in_turn = turn(self.path, within_s=BUSY_TIMEOUT_S)
        with self._block("BEGIN IMMEDIATE", end="COMMIT" if keep else "ROLLBACK", after=in_turn) as tx:
            yield tx

    @contextmanager
    def reading(self) -> Iterator[Snapshot]:
        """See :meth:`vmm_automation.state.store.Store.reading`."""
        with self._block("BEGIN", end="ROLLBACK") as tx:
            yield tx

    def problems(self) -> list[str]:
        """See :meth:`vmm_automation.state.store.Engine.problems`."""
        from vmm_automation.state import sqlite_upkeep  # not loaded for each command

        with self.reading() as tx:
            return sqlite_upkeep.problems(tx)

    def copy_to(self, path: Path) -> bool:
        """See :meth:`vmm_automation.state.store.Engine.copy_to`: SQLite's online backup."""
        from vmm_automation.state import sqlite_upkeep

        with in_our_words(path):
            sqlite_upkeep.copy(self._connection(), path)
        return True

    @contextmanager
    def _block(
        self, begin: str, *, end: str, after: AbstractContextManager[None] | None = None
    ) -> Iterator[_SqliteTx]:
        connection = self._connection()
        if connection.in_transaction:
            raise RuntimeError("this thread has a transaction of this store open already")
        with (
            after or nullcontext(),
            _block(_SqliteTx(connection, self.path), begin=begin, end=end) as tx,
        ):
            yield tx

    def _connection(self) -> sqlite3.Connection:
        """This thread's connection."""
        if self._pid != os.getpid():
            raise RuntimeError("the state was opened before a fork: close it first, open it in the child")
        found: sqlite3.Connection | None = getattr(self._own, "connection", None)
        if found is None:
            found = self._own.connection = _connect(self.path)
            self._connections.append(found)
        return found


def _connect(path: Path, *, migrate: bool = True) -> sqlite3.Connection:
    if not private_file.found(path):
        private_file.create(path, fill=lambda new: _fill(new, known_as=path))
    try:
        # closed by close(), which may run in another thread than the one that works on it
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",  # never makes a file
            uri=True,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
        )
    except sqlite3.Error as failed:
        raise StateUnusable(
            f"Cannot open state file '{path}': {failed}", hint=f"ls -ld {path.parent} {path}"
        ) from failed
    try:
        tx = _SqliteTx(connection, path)
        tx.execute("PRAGMA foreign_keys = ON")
        tx.execute("PRAGMA synchronous = FULL")
        if _version(tx) < schema.VERSION and migrate:
            _migrate(tx)
    except BaseException:
        connection.close()
        raise
    return connection


def _fill(new: Path, *, known_as: Path) -> None:
    with closing(sqlite3.connect(new, isolation_level=None)) as connection:
        tx = _SqliteTx(connection, known_as)
        tx.execute("PRAGMA synchronous = OFF")  # written to the disk at once, before it gets its name
        tx.execute("PRAGMA journal_mode = WAL")
        _migrate(tx)


@contextmanager
def _block(tx: _SqliteTx, *, begin: str, end: str) -> Iterator[_SqliteTx]:
    tx.execute(begin)
    try:
        yield tx
        tx.execute(end)
    except BaseException:
        # SQLite itself rolls back on some failures (disk full), then there is nothing left to undo
        if tx.connection.in_transaction:
            tx.connection.execute("ROLLBACK")
        raise


def _version(tx: _SqliteTx) -> int:
    version, application = tx.number("PRAGMA user_version"), tx.number("PRAGMA application_id")
    tables = tx.number("SELECT count(*) FROM sqlite_master") if version == 0 else 1
    if tables and application != _APPLICATION_ID:
        raise StateUnusable(
            f"Cannot use state file '{tx.path}': it is another program's SQLite file",
            hint="export VMM_HOME=~/.local/share/vmm-automation",
            details={"path": str(tx.path)},
        )
    if version > schema.VERSION:
        raise StateUnusable(
            f"Cannot use state file '{tx.path}': it was written by a newer version of vmm-automation"
            f" (schema {version}, this one knows up to {schema.VERSION})",
            hint="pip install --upgrade vmm-automation",
            details={"path": str(tx.path), "schema": version, "known": schema.VERSION},
        )
    return version


def _migrate(tx: _SqliteTx) -> None:
    with _block(tx, begin="BEGIN IMMEDIATE", end="COMMIT"):
        version = _version(tx)  # again: another process may have been faster
        schema.bring_up(tx.define, version=version)
        tx.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        tx.execute(f"PRAGMA user_version = {schema.VERSION}")


class _SqliteTx:
    """Statements on one connection, with SQLite's failures told in our words."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.connection = connection
        self.path = path
        self._seen = SeenRows()

    def execute(self, sql: str, /, **values: Value) -> int:
        self._seen.forget(sql)
        return self._run(sql, values).rowcount

    def one(self, sql: str, /, **values: Value) -> Row | None:
        rows = self.all(sql, **values)
        return rows[0] if rows else None

    def all(self, sql: str, /, **values: Value) -> list[Row]:
        rows = self._seen.get(sql, values)
        if rows is None:
            try:
                rows = _rows(self._run(sql, values))
            except sqlite3.Error as failed:  # met while the rows were fetched
                tell(failed, self.path)
            self._seen.keep(sql, values, rows)
        return rows

    def define(self, statement: str, /) -> None:
        self.execute(statement.replace(schema.IDENTITY, _IDENTITY))

    def continue_numbering(self, *, table: str, column: str) -> None:
        """SQLite does so by itself."""

    def number(self, sql: str) -> int:
        (row,) = self.all(sql)
        return int(next(iter(row.values())))

    def _run(self, sql: str, values: dict[str, Value]) -> sqlite3.Cursor:
        try:
            return self.connection.execute(sql, values)
        except sqlite3.Error as failed:
            tell(failed, self.path)


def _rows(cursor: sqlite3.Cursor) -> list[Row]:
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]
