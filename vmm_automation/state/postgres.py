"""The engine for several controllers: one PostgreSQL database that AWX's jobs and people's machines share.

In the database's schema that a connection names first (``public`` unless told otherwise) lie the same
tables as in the SQLite file, and ``vmm_schema`` with the schema's version. Text is compared byte by byte
(collation "C"), so that both engines sort alike.

One writer at a time, any number of readers: a writing transaction begins by locking ``vmm_schema``, waits up
to 30 seconds for it, and sees all that writers before it committed (READ COMMITTED: each statement looks
anew, so those after the lock see what it waited for). Serializable transactions would let writers overlap
and then undo all but one; a ``with`` block cannot be run again, so a writer waits instead. A reader sees
one moment (REPEATABLE READ, READ ONLY) and waits for nobody. A transaction whose process died, lost its
connection or did nothing for a minute is undone by the server. Threads may share a store, each works on a
connection of its own; a forked child opens its own store.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.pq import TransactionStatus

from vmm_automation.errors import StateUnusable
from vmm_automation.state import postgres_schema, schema
from vmm_automation.state.postgres_connection import LOCK_TIMEOUT_S, PostgresTx, connect

if TYPE_CHECKING:
    from vmm_automation.model.state_url import StateUrl
    from vmm_automation.state.store import SchemaTx, Snapshot

IDLE_TIMEOUT_S = 60.0
_BEGIN = (
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;"
    f" SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S:g}s';"
    f" SET LOCAL idle_in_transaction_session_timeout = '{IDLE_TIMEOUT_S:g}s';"
)
_BEGIN_WRITING = f"{_BEGIN} {postgres_schema.LOCK}"
_BEGIN_MIGRATING = f"{_BEGIN} {postgres_schema.LOCK_BEFORE_THERE_IS_ONE}"
_BEGIN_READING = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class PostgresStore:
    """The state in one PostgreSQL database; the module's docstring has the contract."""

    name = "postgresql"

    def __init__(self, url: StateUrl) -> None:
        """Connect nothing yet; use :meth:`open`."""
        self.url = url
        self._pid = os.getpid()
        self._own = threading.local()
        self._connections: list[psycopg.Connection[dict[str, Any]]] = []

    @classmethod
    def open(cls, url: StateUrl) -> PostgresStore:
        """Connect, creating the tables or bringing older ones up to this version's schema.

        Raises:
            StateUnusable: the server cannot be reached or refuses us, the tables are another program's,
                or a newer version's.
            DiskFull: the server has no space to create them.
            Timeout: another process stayed the writer for 30 seconds.
        """
        store = cls(url)
        try:
            tx = store._tx()
            if postgres_schema.version(tx) < schema.VERSION:
                with store._block(_BEGIN_MIGRATING, keep=True) as tx:
                    postgres_schema.migrate(tx)
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def version_of(cls, url: StateUrl) -> int:
        """The schema version of a database, which stays as it is; 0 if there is no state in it.

        Raises:
            StateUnusable: as :meth:`open`.
        """
        with cls(url) as store:
            return postgres_schema.version(store._tx())

    def close(self) -> None:
        """Close the connections of all threads; a second call does nothing."""
        while self._connections and self._pid == os.getpid():
            self._connections.pop().close()
        self._own = threading.local()

    def __enter__(self) -> PostgresStore:
        """The store itself, closed at the end of the block."""
        return self

    def __exit__(self, *failure: object) -> None:
        """Close the connections."""
        self.close()

    @property
    def location(self) -> str:
        """The URL without its password."""
        return self.url.location

    @contextmanager
    def transaction(self, *, keep: bool = True) -> Iterator[SchemaTx]:
        """See :meth:`vmm_automation.state.store.Store.transaction`."""
        with self._block(_BEGIN_WRITING, keep=keep) as tx:
            yield tx

    @contextmanager
    def reading(self) -> Iterator[Snapshot]:
        """See :meth:`vmm_automation.state.store.Store.reading`."""
        with self._block(_BEGIN_READING, keep=False) as tx:
            yield tx

    def reserve_for(self, site: str) -> None:
        """Note whose state it is, the first time.

        Raises:
            Conflict: it is another site's.
        """
        if not postgres_schema.require_site(self._tx(), site):
            with self._block(_BEGIN_WRITING, keep=True) as tx:
                postgres_schema.give_to(tx, site)

    def problems(self) -> list[str]:
        """See :meth:`vmm_automation.state.store.Engine.problems`."""
        from vmm_automation.state import postgres_upkeep  # not loaded for each command

        with self.reading() as tx:
            return postgres_upkeep.problems(tx)

    def copy_to(self, _path: Path) -> bool:
        """PostgreSQL has its own tools for that; see ``docs/state.md``."""
        return False

    @contextmanager
    def _block(self, begin: str, *, keep: bool) -> Iterator[PostgresTx]:
        tx = self._begun(begin)
        try:
            yield tx
            tx.end(keep=keep)
        except BaseException:
            tx.undo()
            raise

    def _begun(self, begin: str) -> PostgresTx:
        tx = self._tx()
        if tx.connection.info.transaction_status is not TransactionStatus.IDLE:
            raise RuntimeError("this thread has a transaction of this store open already")
        try:
            tx.begin(begin)
        except StateUnusable:
            if not tx.connection.closed:
                raise
            tx = self._tx()  # the connection died while nothing was under way: a server was restarted
            tx.begin(begin)
        return tx

    def _tx(self) -> PostgresTx:
        """Statements on this thread's connection."""
        if self._pid != os.getpid():
            raise RuntimeError("the state was opened before a fork: close it first, open it in the child")
        found: psycopg.Connection[dict[str, Any]] | None = getattr(self._own, "connection", None)
        if found is None or found.closed:
            found = self._own.connection = connect(self.url)
            self._connections.append(found)
        return PostgresTx(found, self.url)
