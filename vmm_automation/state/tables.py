"""The tables of the schema by name and key, read from its statements: what is listed twice departs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from vmm_automation.state import schema

_TABLE: Final = re.compile(r"CREATE TABLE (\w+)")
_DROPPED: Final = re.compile(r"DROP TABLE (\w+)")
_INDEX_DROPPED: Final = re.compile(r"DROP INDEX (\w+)")
_INDEX: Final = re.compile(r"CREATE (?:UNIQUE )?INDEX (\w+)")
_KEY: Final = re.compile(r"PRIMARY KEY \(([^)]*)\)")
_KEY_COLUMN: Final = re.compile(rf"(\w+) (?:{schema.IDENTITY}|\w+ PRIMARY KEY)")
_NUMBERED: Final = re.compile(rf"(\w+) {schema.IDENTITY}")


@dataclass(frozen=True)
class Table:
    """One table: its name, the columns of its primary key, and the column that the engine numbers, if any."""

    name: str
    key: tuple[str, ...]
    numbered: str = ""


def tables(version: int | None = None) -> list[Table]:
    """The tables of a schema version (the newest), each after those that it refers to."""
    found: dict[str, Table] = {}
    for statement in (each for statements in schema.MIGRATIONS[:version] for each in statements):
        if created := _TABLE.search(statement):
            found[created[1]] = _table(created[1], statement)
        elif dropped := _DROPPED.search(statement):
            del found[dropped[1]]
    return list(found.values())


def objects() -> list[str]:
    """The names of all tables and indexes."""
    statements = [statement for statements in schema.MIGRATIONS for statement in statements]
    gone = {found[1] for found in map(_INDEX_DROPPED.search, statements) if found}
    indexes = [found[1] for found in map(_INDEX.search, statements) if found]
    return [*(table.name for table in tables()), *(name for name in indexes if name not in gone)]


def _table(name: str, statement: str) -> Table:
    several, one, numbered = (found.search(statement) for found in (_KEY, _KEY_COLUMN, _NUMBERED))
    key = several[1] if several else one[1] if one else ""
    return Table(name, tuple(re.findall(r"\w+", key)), numbered[1] if numbered else "")
