"""What all changes of Watchers share: input that can be shown and kept, and an entry in the audit chain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from vmm_automation.errors import UsageError
from vmm_automation.model.names import check_name
from vmm_automation.state import audit, audit_objects
from vmm_automation.state.audit import Author
from vmm_automation.state.store import Tx

_TEXT_LIMIT = 200


@contextmanager
def watcher_change(
    tx: Tx, *, action: str, of: tuple[str, str], author: Author, now: datetime
) -> Iterator[dict[str, Any]]:
    """A block that changes what a Watcher has on a session, and fills the document that tells of it."""
    read = audit_objects.watcher(*of)
    name = "/".join(part for part in of if part)
    with audit.change(
        tx, author=author, action=f"watcher.{action}", object_name=name, read=read, now=now
    ) as entry:
        yield entry.result


def check_input(*, session: str, actor: str, watchers: tuple[str, ...], reason: str = "") -> None:
    """Refuse what cannot be a name, and texts that a terminal or the log could not show.

    Raises:
        InvalidName, UsageError: which, and by what rule.
    """
    check_name("session", session)
    for watcher in watchers:
        check_name("watcher", watcher)
    for kind, text in (("actor", actor), ("reason", reason)):
        if len(text) > _TEXT_LIMIT or not text.isprintable() or (kind == "actor" and not text):
            raise UsageError(
                f"The {kind} must be printable text of at most {_TEXT_LIMIT} characters",
                hint="vmm watcher --help",
                details={"kind": kind},
            )
