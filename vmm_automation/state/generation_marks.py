"""What is said of stored generations after the fact: pinned, missing, why it is there; and their removal."""

from __future__ import annotations

from collections.abc import Collection

from vmm_automation.errors import Conflict
from vmm_automation.state import generations
from vmm_automation.state.store import Snapshot, Tx

_THIS = "user_name = :user AND ua = :ua AND number = :number"


def set_pinned(tx: Tx, *, user: str, ua: str, number: int, pinned: bool) -> None:
    """Keep a generation whatever a retention says, or no longer.

    Raises:
        NotFound: there is no such generation.
    """
    _set(tx, "pinned", int(pinned), user=user, ua=ua, number=number)


def set_missing(tx: Tx, *, user: str, ua: str, number: int, missing: bool) -> None:
    """Note that a generation's archive is not in the store, or is there again.

    Raises:
        NotFound: there is no such generation.
    """
    _set(tx, "missing", int(missing), user=user, ua=ua, number=number)


def set_reason(tx: Tx, *, user: str, ua: str, number: int, reason: str) -> None:
    """Note why a generation is there.

    Raises:
        NotFound: there is no such generation.
    """
    _set(tx, "reason", reason, user=user, ua=ua, number=number)


def remove(tx: Tx, *, user: str, ua: str, numbers: Collection[int]) -> tuple[str, ...]:
    """Remove generations; returns the archives that nothing refers to any more.

    Raises:
        NotFound: one of them does not exist.
        Conflict: one is the newest, which the next session starts from, or is pinned.
    """
    newest = generations.next_number(tx, user=user, ua=ua) - 1
    archives = set()
    for number in sorted(numbers):
        generation = generations.get(tx, user=user, ua=ua, number=number)
        if number == newest or generation.pinned:
            raise _kept(user, ua, number, pinned=generation.pinned)
        archives.add(generation.archive)
        for table in ("generation_marks", "generations"):
            tx.execute(f"DELETE FROM {table} WHERE {_THIS}", user=user, ua=ua, number=number)  # noqa: S608 - same
    return tuple(sorted(archives - set(referred(tx))))


def is_gone(tx: Snapshot, *, user: str, ua: str, number: int) -> bool:
    """Whether a generation was there once and was removed: no number is given twice."""
    row = tx.one(f"SELECT number FROM generations WHERE {_THIS}", user=user, ua=ua, number=number)  # noqa: S608 - same
    return row is None and number < generations.next_number(tx, user=user, ua=ua)


def referred(tx: Snapshot) -> tuple[str, ...]:
    """The archives of all generations and of all that was kept aside."""
    rows = tx.all("SELECT archive FROM generations UNION SELECT archive FROM orphaned_generations")
    return tuple(sorted(row["archive"] for row in rows))


def _set(tx: Tx, column: str, value: int | str, *, user: str, ua: str, number: int) -> None:
    """``column`` is one of ours, never of a user."""
    generations.get(tx, user=user, ua=ua, number=number)
    tx.execute(
        "INSERT INTO generation_marks (user_name, ua, number) VALUES (:user, :ua, :number)"
        " ON CONFLICT DO NOTHING",
        user=user,
        ua=ua,
        number=number,
    )
    tx.execute(
        f"UPDATE generation_marks SET {column} = :value WHERE {_THIS}",  # noqa: S608 - constants
        user=user,
        ua=ua,
        number=number,
        value=value,
    )


def _kept(user: str, ua: str, number: int, *, pinned: bool) -> Conflict:
    why = "it is pinned" if pinned else "it is the newest, which the next session starts from"
    act = f"unpin {user} {ua} --generation {number}" if pinned else f"restore {user} {ua} --generation …"
    return Conflict(
        f"Cannot delete generation {number} of user '{user}', UA '{ua}': {why}",
        hint=f"vmm image {act}",
        details={"user": user, "ua": ua, "generation": number},
    )
