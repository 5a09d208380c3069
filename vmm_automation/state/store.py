"""The small interface that every state engine implements, so that the SQL above it is written once.

SQL is portable between SQLite and PostgreSQL; values are named ``:name`` in it and passed as keyword
arguments, and each engine turns the names into its own placeholders. A column named like a reserved
word of either engine is avoided (``user_name``, not ``user``).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

Value = str | int | None
Row = Mapping[str, Any]


class Snapshot(Protocol):
    """One consistent view of the state; what others commit meanwhile is not seen.

    Raises on every call:
        StateUnusable: the state is damaged or cannot be read.
    """

    def one(self, sql: str, /, **values: Value) -> Row | None:
        """The first row of a query, or None."""

    def all(self, sql: str, /, **values: Value) -> list[Row]:
        """All rows of a query."""


class Tx(Snapshot, Protocol):
    """A transaction: nothing it writes is seen by others, or kept, unless its block ends normally.

    Raises on every call:
        DiskFull: no space is left for the state.
        RuleBroken: a row would break a rule of the schema.
    """

    def execute(self, sql: str, /, **values: Value) -> int:
        """Run one statement and return the number of rows it changed."""


class Store(Protocol):
    """An open state store. Threads may share it, each with its own view; forked processes may not."""

    def transaction(self, *, keep: bool = True) -> AbstractContextManager[Tx]:
        """Be the only writer until the block ends; commit, or undo everything on any exception.

        With ``keep=False`` all is undone at a normal end too: a dry run that takes the real path.

        Raises:
            DiskFull: no space is left for the state.
            Timeout: another process stayed the writer for 30 seconds.
            StateUnusable: the state is damaged or cannot be written.
        """

    def reading(self) -> AbstractContextManager[Snapshot]:
        """A consistent view that neither waits for a writer nor holds one up."""

    def close(self) -> None:
        """Let go of the state; a second call does nothing."""


class SchemaTx(Tx, Protocol):
    """A transaction that may also change the tables."""

    def define(self, statement: str, /) -> None:
        """Run a statement of ``schema.py``, whose types and tokens the engine turns into its own."""

    def continue_numbering(self, *, table: str, column: str) -> None:
        """Make an integer key that the engine numbers go on after the highest number in the table."""


class Engine(Store, Protocol):
    """A store with what checking it and moving it to another engine need."""

    @property
    def name(self) -> str:
        """``sqlite`` or ``postgresql``."""

    @property
    def location(self) -> str:
        """Where the state is, as people may see it: a path, or a URL without its password."""

    def transaction(self, *, keep: bool = True) -> AbstractContextManager[SchemaTx]:
        """See :meth:`Store.transaction`."""

    def problems(self) -> list[str]:
        """What the engine itself finds wrong with what it stored, or with how safely it stores it.

        Raises:
            StateUnusable: it cannot even be read.
        """

    def copy_to(self, path: Path) -> bool:
        """Fill a new file with a copy in the engine's own format; False if the engine has none.

        Raises:
            DiskFull: there is no space for it.
        """

    def __enter__(self) -> Engine:
        """The engine itself, closed at the end of the block."""

    def __exit__(self, *failure: object) -> None:
        """Let go of the state."""
