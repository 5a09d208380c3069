"""Whether PostgreSQL keeps the state as safely as the SQLite file is kept, and nothing of it is missing."""

from __future__ import annotations

from typing import Final

from vmm_automation.state.store import Snapshot
from vmm_automation.state.tables import objects

_OURS: Final = "current_schema()::regnamespace"
#: settings without which a committed change can be lost in a power cut
_DURABLE: Final = ("fsync", "full_page_writes", "synchronous_commit")


def problems(tx: Snapshot) -> list[str]:
    """What the server says of our tables and of how it writes."""
    there = {
        row["name"]
        for row in tx.all(f"SELECT relname AS name FROM pg_class WHERE relnamespace = {_OURS}")  # noqa: S608 - constants
    }
    found = [f"'{name}' of the schema is not there" for name in objects() if name not in there]
    invalid = tx.all(
        "SELECT relname AS name FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"  # noqa: S608 - constants
        f" WHERE relnamespace = {_OURS} AND NOT (indisvalid AND indisready) ORDER BY relname"
    )
    found += [f"index '{row['name']}' is not valid" for row in invalid]
    unproven = tx.all(
        f"SELECT conname AS name FROM pg_constraint WHERE connamespace = {_OURS} AND NOT convalidated"  # noqa: S608 - constants
        " ORDER BY conname"
    )
    found += [f"constraint '{row['name']}' is not valid" for row in unproven]
    for setting in _DURABLE:
        row = tx.one("SELECT current_setting(:name) AS value", name=setting)
        if row and row["value"] == "off":
            found.append(f"the server's setting '{setting}' is off: a power cut may lose what was committed")
    return found
