"""What is seldom asked of a SQLite file: whether it is whole, and a copy of it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from vmm_automation.errors import StateUnusable
from vmm_automation.state.store import Snapshot
from vmm_automation.state.tables import objects


def problems(tx: Snapshot) -> list[str]:
    """What SQLite finds wrong, and what is missing of the schema."""
    found = [text for row in tx.all("PRAGMA integrity_check") for text in row.values() if text != "ok"]
    for row in tx.all("PRAGMA foreign_key_check"):
        found.append(f"row {row['rowid']} of table '{row['table']}' refers to nothing")
    there = {row["name"] for row in tx.all("SELECT name FROM sqlite_master")}
    return found + [f"'{name}' of the schema is not there" for name in objects() if name not in there]


def copy(connection: sqlite3.Connection, path: Path) -> None:
    """Copy what a connection sees to another file while others go on reading and writing.

    Raises:
        StateUnusable: the copy is damaged.
    """
    with closing(sqlite3.connect(path)) as target:
        connection.backup(target)
        verdict = target.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise StateUnusable(f"Cannot copy the state: it is damaged ({verdict})", hint="vmm state check")
