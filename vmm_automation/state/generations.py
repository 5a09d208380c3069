"""Generations of User Image Files: which exist, and who may add the next one.

Numbers of a user's UA have no gaps. A write is fenced: once a newer session of that user and UA was
claimed, or wrote, an older one can add nothing, whatever VM it ran on.
"""

from __future__ import annotations

import json
from typing import Any

from vmm_automation.errors import Conflict, NotFound
from vmm_automation.model.image import Generation, Manifest
from vmm_automation.state.store import Row, Snapshot, Tx

_COLUMNS = (
    "user_name, ua, number, archive, root_digest, size, file_count, ua_version, data_version, session,"
    " fence, captured_at"
)
_MINE = "user_name = :user AND ua = :ua"


def next_number(tx: Snapshot, *, user: str, ua: str) -> int:
    """The number that the next generation must have; 1 for the first."""
    row = tx.one(f"SELECT MAX(number) AS newest FROM generations WHERE {_MINE}", user=user, ua=ua)  # noqa: S608 - constants
    return int((row["newest"] if row else None) or 0) + 1


def newest_fence(tx: Snapshot, *, user: str, ua: str) -> int:
    """The fence that a writer must have reached: of the newest session or generation; 0 without any."""
    row = tx.one(
        "SELECT MAX(fence) AS newest FROM ("  # noqa: S608 - constants
        f"SELECT fence FROM sessions WHERE {_MINE} UNION ALL SELECT fence FROM generations WHERE {_MINE}"
        ") AS fences",
        user=user,
        ua=ua,
    )
    return int((row["newest"] if row else None) or 0)


def add(tx: Tx, *, generation: Generation, manifest: Manifest) -> Generation:
    """Add the next generation.

    One that no session captured (an import) has an empty ``session`` and the ``newest_fence``.

    Raises:
        Conflict: its number is not the next one, its fence is older than the newest, its session is
            not one of this user and UA with that fence, or it is an import beside a live session.
    """
    _check_writer(tx, generation)
    number, fence = (
        next_number(tx, user=generation.user, ua=generation.ua),
        newest_fence(tx, user=generation.user, ua=generation.ua),
    )
    if generation.fence < fence:
        raise _refused(generation, f"its fence {generation.fence} is older than {fence}: the VM is stale")
    if generation.number != number or not _insert(tx, generation, manifest):
        raise _refused(generation, f"the next number is {number}")
    return generation


def get(tx: Snapshot, *, user: str, ua: str, number: int | None = None) -> Generation:
    """One generation, or the newest.

    Raises:
        NotFound: there is none.
    """
    return _generation(_row(tx, columns=_COLUMNS, user=user, ua=ua, number=number))


def newest(tx: Snapshot, *, user: str, ua: str) -> Generation | None:
    """The newest generation, or None before the first."""
    found = list_generations(tx, user=user, ua=ua)
    return found[-1] if found else None


def get_manifest(tx: Snapshot, *, user: str, ua: str, number: int | None = None) -> Manifest:
    """The manifest of one generation, or of the newest.

    Raises:
        NotFound: there is none.
    """
    return Manifest.from_document(manifest_document(tx, user=user, ua=ua, number=number))


def manifest_document(tx: Snapshot, *, user: str, ua: str, number: int | None = None) -> dict[str, Any]:
    """The same as it is stored.

    Raises:
        NotFound: there is none.
    """
    row = _row(tx, columns="manifest", user=user, ua=ua, number=number)
    document: dict[str, Any] = json.loads(row["manifest"])
    return document


def list_generations(tx: Snapshot, *, user: str | None = None, ua: str | None = None) -> list[Generation]:
    """Generations by user, UA and number; of one user, one UA, or all."""
    rows = tx.all(
        f"SELECT {_COLUMNS} FROM generations"  # noqa: S608 - constants
        " WHERE user_name = COALESCE(:user, user_name) AND ua = COALESCE(:ua, ua)"
        " ORDER BY user_name, ua, number",
        user=user,
        ua=ua,
    )
    return [_generation(row) for row in rows]


def _check_writer(tx: Snapshot, generation: Generation) -> None:
    mine = {"user": generation.user, "ua": generation.ua}
    if generation.session:
        row = tx.one(
            f"SELECT fence FROM sessions WHERE id = :id AND {_MINE}",  # noqa: S608 - constants
            id=generation.session,
            **mine,
        )
        if row is None or row["fence"] != generation.fence:
            raise _refused(
                generation, f"session '{generation.session}' is not theirs with fence {generation.fence}"
            )
        return
    live = tx.one(
        f"SELECT id FROM sessions WHERE {_MINE} AND state NOT IN ('closed', 'failed')",  # noqa: S608 - constants
        **mine,
    )
    if live:
        raise _refused(generation, f"session '{live['id']}' is running and would overwrite it")


def _insert(tx: Tx, generation: Generation, manifest: Manifest) -> int:
    row = generation.to_document()
    return tx.execute(
        f"INSERT INTO generations ({_COLUMNS}, manifest)"  # noqa: S608 - constants
        " VALUES (:user, :ua, :number, :archive, :root_digest, :size, :file_count, :ua_version,"
        " :data_version, :session, :fence, :captured_at, :manifest) ON CONFLICT DO NOTHING",
        manifest=json.dumps(manifest.to_document(), sort_keys=True),
        **row,
    )


def _refused(generation: Generation, why: str) -> Conflict:
    return Conflict(
        f"Cannot add generation {generation.number} of user '{generation.user}', UA '{generation.ua}': {why}",
        hint=f"vmm image list {generation.user} {generation.ua}",
        details={"user": generation.user, "ua": generation.ua, "generation": generation.number},
    )


def _row(tx: Snapshot, *, columns: str, user: str, ua: str, number: int | None) -> Row:
    row = tx.one(
        f"SELECT {columns} FROM generations WHERE {_MINE}"  # noqa: S608 - constants
        " AND number = COALESCE(:number, (SELECT MAX(number) FROM generations WHERE " + _MINE + "))",
        user=user,
        ua=ua,
        number=number,
    )
    if row is None:
        which = "user image" if number is None else f"generation {number}"
        raise NotFound(
            f"User '{user}' has no {which} of UA '{ua}'",
            hint="vmm image list",
            details={"user": user, "ua": ua, "generation": number},
        )
    return row


def _generation(row: Row) -> Generation:
    return Generation(**{("user" if key == "user_name" else key): value for key, value in row.items()})
