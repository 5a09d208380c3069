"""The audit chain in the state: what was done, by whom, from where, to what, with what result.

An entry is written in the transaction of the change it tells of: both are kept, or neither. The end of
the chain is one row of its own. A store has one writer at a time, so that no number is given twice; the
entry's number is its key, and the end moves from where it was seen, should an engine ever allow two.
:mod:`vmm_automation.state.audit_chain` has the form of an entry.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from vmm_automation.model.times import to_text
from vmm_automation.state.audit_chain import Document, Head, canonical, digest, hash_of
from vmm_automation.state.store import Row, Snapshot, Tx, Value
from vmm_automation.trace import point

_PAGE: Final = 500
_HIDDEN: Final = "(hidden)"
_SECRET_WORDS: Final = ("password", "passphrase", "secret", "token", "private_key", "credential")
_INSERT: Final = """
    INSERT INTO audit_events (seq, at, actor, origin, action, object, before_digest, after_digest, result,
                              previous, hash)
    VALUES (:seq, :at, :actor, :origin, :action, :object, :before, :after, :result, :previous, :hash)
"""


@dataclass(frozen=True)
class Author:
    """Who acts, and through which door: ``cli``, ``playbook``, ``awx`` or ``python``.

    ``user`` is who the system says is there, whatever name was given; '' where it was not asked.
    """

    name: str
    door: str = "python"
    user: str = ""

    def origin(self) -> Document:
        """Where from: this host and process, and its user."""
        origin = {"host": os.uname().nodename, "pid": os.getpid(), "door": self.door}
        return {**origin, "user": self.user} if self.user else origin


@dataclass
class Entry:
    """What a change adds to its entry while it is made."""

    result: Document = field(default_factory=dict)


def append(
    tx: Tx,
    *,
    author: Author,
    action: str,
    object_name: str,
    result: Document,
    now: datetime,
    before: Document | None = None,
    after: Document | None = None,
) -> Head:
    """Add an entry; ``before`` and ``after`` are what the object was and is, kept as digests only."""
    last = head(tx)
    if last.seq == 0:
        last = _take_over(tx, last)
    event = {
        "at": to_text(now),
        "actor": author.name,
        "from": author.origin(),
        "action": action,
        "object": object_name,
        "before": digest(before),
        "after": digest(after),
        "result": without_secrets(result),
    }
    end = _write(tx, event, last)
    point("audit.appended")
    return end


@contextmanager
def change(
    tx: Tx,
    *,
    author: Author,
    action: str,
    object_name: str,
    read: Callable[[Snapshot], Document | None],
    now: datetime,
    only_if_changed: bool = False,
) -> Iterator[Entry]:
    """A block that makes one change: ``read`` is asked for the object before and after it.

    The block puts into the entry's ``result`` what is to be told; one that raises leaves no entry, nor does
    one with ``only_if_changed`` after which the object is what it was.
    """
    before = read(tx)
    entry = Entry()
    yield entry
    after = read(tx)
    if only_if_changed and after == before:
        return
    append(
        tx,
        author=author,
        action=action,
        object_name=object_name,
        result=entry.result,
        now=now,
        before=before,
        after=after,
    )


def head(tx: Snapshot) -> Head:
    """The end of the chain as noted; entry 0 of an empty one."""
    row = tx.one("SELECT seq, hash FROM audit_head WHERE name = 'events'")
    assert row is not None  # the schema puts this row in
    return Head(seq=int(row["seq"]), hash=row["hash"])


def log(tx: Snapshot, *, object_name: str = "", limit: int = 0) -> list[Document]:
    """The newest ``limit`` entries (0: all), oldest first; of one object and its parts, or of all."""
    where = last = ""
    values: dict[str, Value] = {}
    if object_name:
        where = " WHERE object = :name OR substr(object, 1, :length) = :prefix"
        values |= {"name": object_name, "prefix": f"{object_name}/", "length": len(object_name) + 1}
    if limit:
        last = " LIMIT :limit"
        values["limit"] = limit
    rows = tx.all(
        f"SELECT * FROM audit_events{where} ORDER BY seq DESC{last}",  # noqa: S608 - constants
        **values,
    )
    return [_document(row) for row in reversed(rows)]


def pages(tx: Snapshot) -> Iterator[Document]:
    """All entries in the order of their numbers, read a page at a time."""
    seq = 0
    while True:
        rows = tx.all(
            "SELECT * FROM audit_events WHERE seq > :seq ORDER BY seq LIMIT :page", seq=seq, page=_PAGE
        )
        if not rows:
            return
        yield from map(_document, rows)
        seq = int(rows[-1]["seq"])


def without_secrets(value: Any) -> Any:
    """The same document with the values hidden of all keys that sound like secrets."""
    if isinstance(value, dict):
        return {
            key: _HIDDEN if _sounds_secret(key) else without_secrets(inner) for key, inner in value.items()
        }
    return [without_secrets(inner) for inner in value] if isinstance(value, list | tuple) else value


@lru_cache(maxsize=512)
def _sounds_secret(key: str) -> bool:
    return any(word in key.lower() for word in _SECRET_WORDS)


def _take_over(tx: Tx, last: Head) -> Head:
    """Put what schema version 1 logged at the beginning of the chain, as it is known today."""
    for row in tx.all("SELECT * FROM events ORDER BY seq"):
        event = {
            "at": row["at"],
            "actor": row["actor"],
            "from": {"door": "schema 1"},
            "action": row["action"],
            "object": row["object"],
            "before": "",
            "after": "",
            "result": without_secrets(json.loads(row["result"])),
        }
        last = _write(tx, event, last)
    return last


def _write(tx: Tx, event: Document, last: Head) -> Head:
    """Add an entry behind ``last``."""
    event = {"seq": last.seq + 1, **event, "previous": last.hash}
    event["hash"] = hash_of(event)
    values = {key: event[key] for key in ("seq", "at", "actor", "action", "object", "before", "after")}
    tx.execute(
        _INSERT,
        **values,
        origin=canonical(event["from"]),
        result=canonical(event["result"]),
        previous=event["previous"],
        hash=event["hash"],
    )
    moved = tx.execute(
        "UPDATE audit_head SET seq = :seq, hash = :hash WHERE name = 'events' AND seq = :seen",
        seq=event["seq"],
        hash=event["hash"],
        seen=last.seq,
    )
    assert moved, "the store has two writers at a time"
    return Head(seq=event["seq"], hash=event["hash"])


def _document(row: Row) -> Document:
    return {
        "seq": row["seq"],
        "at": row["at"],
        "actor": row["actor"],
        "from": _json(row["origin"]),
        "action": row["action"],
        "object": row["object"],
        "before": row["before_digest"],
        "after": row["after_digest"],
        "result": _json(row["result"]),
        "previous": row["previous"],
        "hash": row["hash"],
    }


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text  # altered: shown as it is, and its hash does not fit
