"""The whole state as rows, in one order and one form whatever the engine: what an export file is made of.

A line is one JSON document of ASCII, keys sorted. The first names the form and the schema's version, each
further one holds a row, the last the number of rows and the SHA-256 of all lines before it. Tables come
after those that they refer to, rows by primary key. So the same state gives the same bytes, and a file
that was cut or altered shows it. (Not a signature: who can alter the file can alter the sum.)
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from vmm_automation.errors import ArtifactInvalid, StateUnusable
from vmm_automation.state import schema
from vmm_automation.state.store import Row, SchemaTx, Snapshot
from vmm_automation.state.tables import Table, tables

FORMAT: Final = "vmm-automation state"
_AT_A_TIME: Final = 64  # rows: a manifest may be megabytes
_COLUMN: Final = re.compile(r"[a-z_]+")
_LIMIT: Final = 2**63


@dataclass(frozen=True)
class ExportFile:
    """An export file whose form, length and sum were found right."""

    path: Path
    schema: int
    rows: int
    sha256: str


def lines(tx: Snapshot, *, version: int | None = None) -> Iterator[bytes]:
    """The lines of an export of what a snapshot sees; ``version`` is that of the tables (the newest)."""
    version = version or schema.VERSION
    total, digest = 0, hashlib.sha256()
    head = _line({"format": FORMAT, "schema": version})
    digest.update(head)
    yield head
    for table in tables(version):
        for row in _rows(tx, table):
            line = _line({"table": table.name, "row": dict(row)})
            total += 1
            digest.update(line)
            yield line
    yield _line({"rows": total, "sha256": digest.hexdigest()})


def sha256(tx: Snapshot, *, version: int | None = None) -> str:
    """The sum that an export of what a snapshot sees ends with."""
    (last,) = deque(lines(tx, version=version), maxlen=1)
    return str(json.loads(last)["sha256"])


def examine(path: Path) -> ExportFile:
    """Read an export file once through, before anything is done with it.

    Raises:
        ArtifactInvalid: there is none, it is not one, it was cut or altered.
        StateUnusable: it was written by a newer version.
    """
    try:
        with path.open("rb") as file:
            return _examine(file, path)
    except OSError as failed:
        raise _invalid(path, failed.strerror or "it cannot be read") from failed


def replace_all(tx: SchemaTx, file: ExportFile) -> None:
    """Make the tables anew, as the file has them, then bring them up to this version's schema.

    Raises:
        ArtifactInvalid: a row of it does not fit the tables of its version.
        RuleBroken: its rows break a rule of the schema.
    """
    make_tables(tx, version=file.schema)
    known = {table.name: table for table in tables(file.schema)}
    for table in reversed(known.values()):
        tx.execute(f"DELETE FROM {table.name}")  # noqa: S608 - a name of the schema
    with file.path.open("rb") as content:
        next(content)
        for number, line in zip(range(file.rows), content, strict=False):
            _insert(tx, _document(line, file.path), known=known, where=f"row {number + 1}", path=file.path)
    for table in known.values():
        if table.numbered:
            tx.continue_numbering(table=table.name, column=table.numbered)
    if sha256(tx, version=file.schema) != file.sha256:
        raise _invalid(file.path, "what was stored of it is not what it holds")
    _define(tx, schema.MIGRATIONS[file.schema :])


def make_tables(tx: SchemaTx, *, version: int | None = None) -> None:
    """Drop all tables and create those of a version, as in a new state."""
    for table in reversed(tables()):
        tx.define(f"DROP TABLE {table.name}")
    _define(tx, schema.MIGRATIONS[: version or schema.VERSION])


def _define(tx: SchemaTx, migrations: tuple[tuple[str, ...], ...]) -> None:
    for statements in migrations:
        for statement in statements:
            tx.define(statement)


def _rows(tx: Snapshot, table: Table) -> Iterator[Row]:
    key = ", ".join(table.key)
    order = f"ORDER BY {key} LIMIT {_AT_A_TIME}"
    found = tx.all(f"SELECT * FROM {table.name} {order}")  # noqa: S608 - names of the schema
    last = f"({', '.join(f':{column}' for column in table.key)})"
    while found:
        yield from found
        after = {column: found[-1][column] for column in table.key}
        found = tx.all(f"SELECT * FROM {table.name} WHERE ({key}) > {last} {order}", **after)  # noqa: S608 - same


def _insert(tx: SchemaTx, document: Row, *, known: dict[str, Table], where: str, path: Path) -> None:
    table, row = document.get("table"), document.get("row")
    fits = table in known and isinstance(row, dict) and all(_fits(*pair) for pair in row.items())
    if not fits or not row:
        raise _invalid(path, f"{where} does not fit the tables of its schema")
    columns = ", ".join(row)
    values = ", ".join(f":{column}" for column in row)
    tx.execute(f"INSERT INTO {table} ({columns}) VALUES ({values})", **row)  # noqa: S608 - checked by _fits


def _fits(column: str, value: Any) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        value = "" if -_LIMIT <= value < _LIMIT else 0.0
    return bool(_COLUMN.fullmatch(column)) and (value is None or isinstance(value, str))


def _examine(file: BinaryIO, path: Path) -> ExportFile:
    first = file.readline()
    head = _document(first, path)
    if head.get("format") != FORMAT or not isinstance(head.get("schema"), int):
        raise _invalid(path, "it is no export of a state")
    if head["schema"] > schema.VERSION:
        raise StateUnusable(
            f"Cannot import '{path}': it was written by a newer version of vmm-automation"
            f" (schema {head['schema']}, this one knows up to {schema.VERSION})",
            hint="pip install --upgrade vmm-automation",
            details={"path": str(path), "schema": head["schema"], "known": schema.VERSION},
        )
    digest = hashlib.sha256(first)
    total, last = 0, file.readline()
    for line in file:
        digest.update(last)
        total, last = total + 1, line
    tail = _document(last, path) if last.endswith(b"\n") else {}
    if head["schema"] < 1 or tail != {"rows": total, "sha256": digest.hexdigest()}:
        raise _invalid(path, "it was cut or altered after it was written")
    return ExportFile(path, head["schema"], total, digest.hexdigest())


def _document(line: bytes, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise _invalid(path, "it is no export of a state, or was cut")
    return found


def _line(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _invalid(path: Path, why: str) -> ArtifactInvalid:
    return ArtifactInvalid(
        f"Cannot import '{path}': {why}", hint=f"ls -l {path}", details={"path": str(path), "why": why}
    )
