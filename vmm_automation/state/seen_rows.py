"""What a transaction has read already, so that asking the same again costs no way to the engine.

Within a transaction nobody else's change can be seen: a reader has one moment, a writer is the only one.
So an answer stays right until the transaction itself writes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vmm_automation.state.store import Row, Value

_WRITTEN: Final = re.compile(r"\s*(?:INSERT INTO|UPDATE|DELETE FROM) (\w+)")
_ROWS: Final = 32  # a listing is read once, and may be long
_QUERIES: Final = 64

_Key = tuple[str, tuple["Value", ...]]


class SeenRows:
    """Answers of one transaction. Only queries with values count: others may ask for more than rows."""

    def __init__(self) -> None:
        self._rows: dict[_Key, list[Row]] = {}

    def get(self, sql: str, values: Mapping[str, Value]) -> list[Row] | None:
        """The rows that a query gave before, or None; not to be changed."""
        return self._rows.get((sql, tuple(values.values()))) if values else None

    def keep(self, sql: str, values: Mapping[str, Value], rows: list[Row]) -> None:
        """Note what a query gave."""
        if values and len(rows) <= _ROWS and len(self._rows) < _QUERIES:
            self._rows[sql, tuple(values.values())] = rows

    def forget(self, statement: str) -> None:
        """Something was written: drop the answers that could be others now."""
        written = _WRITTEN.match(statement)
        if written is None:
            self._rows.clear()
            return
        self._rows = {key: rows for key, rows in self._rows.items() if written[1] not in key[0]}
