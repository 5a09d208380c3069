"""Saves that were refused as generations and are kept aside for a person: never dropped, never in the way.

They have a table of their own, so that nothing that looks for a user's newest generation can take one for it.
"""

from __future__ import annotations

import json

from vmm_automation.errors import NotFound
from vmm_automation.model.image import Generation, Manifest
from vmm_automation.state.generations import COLUMNS, VALUES, row_of
from vmm_automation.state.store import Row, Snapshot, Tx


def add(tx: Tx, *, generation: Generation, manifest: Manifest, reason: str) -> None:
    """Keep a refused save.

    Raises:
        RuleBroken: its archive is kept already.
    """
    tx.execute(
        f"INSERT INTO orphaned_generations ({COLUMNS}, reason, manifest)"  # noqa: S608 - constants
        f" VALUES ({VALUES}, :reason, :manifest)",
        reason=reason,
        **row_of(generation, manifest),
    )


def same(tx: Snapshot, *, generation: Generation) -> Generation | None:
    """What the same session had kept before with the same content: a repeated close adds nothing."""
    row = tx.one(
        f"SELECT {COLUMNS}, reason FROM orphaned_generations WHERE user_name = :user AND ua = :ua"  # noqa: S608 - constants
        " AND session = :session AND root_digest = :digest ORDER BY archive LIMIT 1",
        user=generation.user,
        ua=generation.ua,
        session=generation.session,
        digest=generation.root_digest,
    )
    return _orphan(row) if row else None


def list_orphans(tx: Snapshot, *, user: str | None = None, ua: str | None = None) -> list[Generation]:
    """What is kept aside, oldest first; of one user, one UA, or all."""
    rows = tx.all(
        f"SELECT {COLUMNS}, reason FROM orphaned_generations"  # noqa: S608 - constants
        " WHERE user_name = COALESCE(:user, user_name) AND ua = COALESCE(:ua, ua)"
        " ORDER BY user_name, ua, captured_at, archive",
        user=user,
        ua=ua,
    )
    return [_orphan(row) for row in rows]


def list_branches(tx: Snapshot, *, user: str | None = None, ua: str | None = None) -> list[Generation]:
    """What is kept aside of branches, by user, UA and session, oldest first; of one user, one UA, or all."""
    columns = ", ".join(f"saves.{column.strip()}" for column in COLUMNS.split(","))
    rows = tx.all(
        f"SELECT {columns}, saves.reason FROM orphaned_generations AS saves"  # noqa: S608 - constants
        " JOIN sessions ON sessions.id = saves.session AND sessions.mode = 'branch'"
        " WHERE saves.user_name = COALESCE(:user, saves.user_name) AND saves.ua = COALESCE(:ua, saves.ua)"
        " ORDER BY saves.user_name, saves.ua, saves.session, saves.captured_at, saves.archive",
        user=user,
        ua=ua,
    )
    return [_orphan(row) for row in rows]


def get(tx: Snapshot, *, user: str, ua: str, archive: str) -> tuple[Generation, Manifest]:
    """One of them, with its manifest.

    Raises:
        NotFound: this user has none of that name.
    """
    row = tx.one(
        f"SELECT {COLUMNS}, reason, manifest FROM orphaned_generations"  # noqa: S608 - constants
        " WHERE user_name = :user AND ua = :ua AND archive = :archive",
        user=user,
        ua=ua,
        archive=archive,
    )
    if row is None:
        raise NotFound(
            f"User '{user}' has no orphaned save '{archive[:80]}' of UA '{ua}'",
            hint="vmm image list --orphaned",
            details={"user": user, "ua": ua},
        )
    manifest = Manifest.from_document(json.loads(row["manifest"]))
    return _orphan({key: value for key, value in row.items() if key != "manifest"}), manifest


def remove(tx: Tx, *, archive: str) -> None:
    """Forget one: it became a generation, or a person threw it away."""
    tx.execute("DELETE FROM orphaned_generations WHERE archive = :archive", archive=archive)


def _orphan(row: Row) -> Generation:
    fields = {("user" if key == "user_name" else key): value for key, value in row.items()}
    return Generation(**fields, state="orphaned")
