"""Generations of User Image Files: which exist, and who may add the next one.

Each takes the number after the newest, and the newest is never removed, so no number is given twice; what
was pruned leaves a gap. A write is fenced: once a newer session of that user and UA was claimed to write, or
wrote, an older one can add nothing, whatever VM it ran on. A session that is read-only or a branch never can,
and stands in nobody's way.
"""

from __future__ import annotations

import json
from typing import Any

from vmm_automation.errors import Conflict, NotFound
from vmm_automation.model.image import Generation, Manifest
from vmm_automation.model.session import SessionMode
from vmm_automation.state.store import Row, Snapshot, Tx

COLUMNS = (
    "user_name, ua, number, archive, root_digest, size, file_count, ua_version, data_version, session,"
    " fence, captured_at"
)
VALUES = (
    ":user, :ua, :number, :archive, :root_digest, :size, :file_count, :ua_version, :data_version, :session,"
    " :fence, :captured_at"
)
_MARKED = (
    f"SELECT {COLUMNS}, COALESCE(pinned, 0) AS pinned, COALESCE(missing, 0) AS missing,"  # noqa: S608 - constants
    " COALESCE(reason, '') AS reason"
    " FROM generations LEFT JOIN generation_marks USING (user_name, ua, number)"
)
_MINE = "user_name = :user AND ua = :ua"


def next_number(tx: Snapshot, *, user: str, ua: str) -> int:
    """The number that the next generation must have; 1 for the first."""
    row = tx.one(f"SELECT MAX(number) AS newest FROM generations WHERE {_MINE}", user=user, ua=ua)  # noqa: S608 - constants
    return int((row["newest"] if row else None) or 0) + 1


def newest_fence(tx: Snapshot, *, user: str, ua: str) -> int:
    """The fence that a writer must have reached: of the newest generation or session that writes, or 0."""
    row = tx.one(
        "SELECT MAX(fence) AS newest FROM ("  # noqa: S608 - constants
        f"SELECT fence FROM sessions WHERE {_MINE} AND mode = 'writer' UNION ALL"
        f" SELECT fence FROM generations WHERE {_MINE}"
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
            not one of this user and UA with that fence or does not write, or it is an import beside a live
            session that does.
    """
    require_addable(tx, generation=generation)
    if not _insert(tx, generation, manifest):
        raise _refused(generation, "there is one of that number")
    return generation


def require_addable(tx: Snapshot, *, generation: Generation) -> None:
    """Find out before the work is done what :func:`add` would say.

    Raises:
        Conflict: as :func:`add`.
    """
    if why := refusal(tx, generation=generation):
        raise _refused(generation, why)


def refusal(tx: Snapshot, *, generation: Generation) -> str:
    """Why :func:`add` would refuse a generation; empty if it would not."""
    mine = {"user": generation.user, "ua": generation.ua}
    if why := _writer_refused(tx, generation):
        return why
    number, fence = next_number(tx, **mine), newest_fence(tx, **mine)
    if generation.fence < fence:
        return f"its fence {generation.fence} is older than {fence}: the VM is stale"
    return "" if generation.number == number else f"the next number is {number}"


def get(tx: Snapshot, *, user: str, ua: str, number: int | None = None) -> Generation:
    """One generation, or the newest.

    Raises:
        NotFound: there is none.
    """
    return _generation(_row(tx, select=_MARKED, user=user, ua=ua, number=number))


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
    row = _row(tx, select="SELECT manifest FROM generations", user=user, ua=ua, number=number)
    document: dict[str, Any] = json.loads(row["manifest"])
    return document


def list_generations(tx: Snapshot, *, user: str | None = None, ua: str | None = None) -> list[Generation]:
    """Generations by user, UA and number; of one user, one UA, or all."""
    rows = tx.all(
        f"{_MARKED} WHERE user_name = COALESCE(:user, user_name) AND ua = COALESCE(:ua, ua)"
        " ORDER BY user_name, ua, number",
        user=user,
        ua=ua,
    )
    return [_generation(row) for row in rows]


def _writer_refused(tx: Snapshot, generation: Generation) -> str:
    mine = {"user": generation.user, "ua": generation.ua}
    if generation.session:
        row = tx.one(
            f"SELECT fence, mode FROM sessions WHERE id = :id AND {_MINE}",  # noqa: S608 - constants
            id=generation.session,
            **mine,
        )
        if row is None or row["fence"] != generation.fence:
            return f"session '{generation.session}' is not theirs with fence {generation.fence}"
        mode = SessionMode(row["mode"])
        writes = mode is SessionMode.WRITER
        return "" if writes else f"session '{generation.session}' is {mode.phrase}, and writes no generation"
    live = tx.one(
        f"SELECT id FROM sessions WHERE {_MINE} AND mode = 'writer'"  # noqa: S608 - constants
        " AND state NOT IN ('closed', 'failed')",
        **mine,
    )
    return f"session '{live['id']}' is running and would overwrite it" if live else ""


def _insert(tx: Tx, generation: Generation, manifest: Manifest) -> int:
    return tx.execute(
        f"INSERT INTO generations ({COLUMNS}, manifest)"  # noqa: S608 - constants
        f" VALUES ({VALUES}, :manifest) ON CONFLICT DO NOTHING",
        **row_of(generation, manifest),
    )


def row_of(generation: Generation, manifest: Manifest) -> dict[str, Any]:
    """The values of :data:`VALUES` and ``manifest``."""
    later = {"pinned", "state", "reason"}
    row = {key: value for key, value in generation.to_document().items() if key not in later}
    return {**row, "manifest": json.dumps(manifest.to_document(), sort_keys=True)}


def _refused(generation: Generation, why: str) -> Conflict:
    return Conflict(
        f"Cannot add generation {generation.number} of user '{generation.user}', UA '{generation.ua}': {why}",
        hint=f"vmm image list --user {generation.user} --ua {generation.ua}",
        details={"user": generation.user, "ua": generation.ua, "generation": generation.number},
    )


def _row(tx: Snapshot, *, select: str, user: str, ua: str, number: int | None) -> Row:
    row = tx.one(
        f"{select} WHERE {_MINE}"  # noqa: S608 - constants
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
    fields = {("user" if key == "user_name" else key): value for key, value in row.items()}
    state = "missing" if fields.pop("missing") else "stored"
    return Generation(**{**fields, "pinned": bool(fields["pinned"])}, state=state)
