"""The tables in a PostgreSQL database: their version, and how they come to be."""

from __future__ import annotations

import psycopg

from vmm_automation.errors import Conflict, StateUnusable
from vmm_automation.state import schema
from vmm_automation.state.postgres_connection import PostgresTx

#: readers, pg_dump among them, go on; a second writer waits
LOCK = "LOCK TABLE vmm_schema IN SHARE ROW EXCLUSIVE MODE"
_LOCK_CLASS = 0x564D4D31  # "VMM1": tells our advisory lock from another program's
LOCK_BEFORE_THERE_IS_ONE = f"SELECT pg_advisory_xact_lock({_LOCK_CLASS}, hashtext(current_schema()))"


def version(tx: PostgresTx) -> int:
    """The version of the tables that are there; 0 if there are none.

    Raises:
        StateUnusable: they are a newer version's.
    """
    try:
        row = tx.one("SELECT version FROM vmm_schema")
    except psycopg.errors.UndefinedTable:
        return 0
    found = int(row["version"]) if row else 0
    if found > schema.VERSION:
        raise StateUnusable(
            f"Cannot use state '{tx.url.location}': it was written by a newer version of vmm-automation"
            f" (schema {found}, this one knows up to {schema.VERSION})",
            hint="pip install --upgrade vmm-automation",
            details={"state": tx.url.location, "schema": found, "known": schema.VERSION},
        )
    return found


def migrate(tx: PostgresTx) -> None:
    """Create the tables or bring them up to this version, as far as no other process was faster.

    Raises:
        StateUnusable: there is no schema to put them in, or it has another program's tables.
    """
    found = tx.one("SELECT current_schema() AS name, to_regclass('vmm_schema') IS NOT NULL AS known")
    if found is None or found["name"] is None:
        raise StateUnusable(
            f"Cannot use state '{tx.url.location}': none of the schemas in its search_path exists",
            hint=f"psql {tx.url.location} --command 'CREATE SCHEMA public'",
            details={"state": tx.url.location},
        )
    if not found["known"]:
        _refuse_other_programs(tx)
        tx.define("CREATE TABLE vmm_schema (version INTEGER NOT NULL, site TEXT NOT NULL DEFAULT '')")
        tx.execute("INSERT INTO vmm_schema (version) VALUES (0)")
    tx.execute(LOCK)
    schema.bring_up(tx.define, version=version(tx))
    tx.execute("UPDATE vmm_schema SET version = :version", version=schema.VERSION)


def _refuse_other_programs(tx: PostgresTx) -> None:
    theirs = tx.one(
        "SELECT relname AS name FROM pg_class WHERE relkind IN ('r', 'p')"
        " AND relnamespace = current_schema()::regnamespace ORDER BY relname"
    )
    if theirs:
        raise StateUnusable(
            f"Cannot use state '{tx.url.location}': it has tables of another program ('{theirs['name']}')",
            hint="createdb --encoding UTF8 --template template0 vmm",
            details={"state": tx.url.location, "table": theirs["name"]},
        )


def require_site(tx: PostgresTx, site: str) -> bool:
    """Whether the state is this site's; False if it is nobody's yet.

    Raises:
        Conflict: it is another site's: names of VMs and users are only unique within a site.
    """
    row = tx.one("SELECT site FROM vmm_schema")
    owner = row["site"] if row else ""
    if owner not in ("", site):
        raise Conflict(
            f"State '{tx.url.location}' is that of site '{owner}', not of '{site}'",
            hint=f"createdb --encoding UTF8 --template template0 vmm_{site}",
            details={"state": tx.url.location, "site": owner},
        )
    return bool(owner)


def give_to(tx: PostgresTx, site: str) -> None:
    """Note whose state it is. Raises Conflict if another process noted another site meanwhile."""
    if not require_site(tx, site):
        tx.execute("UPDATE vmm_schema SET site = :site", site=site)
