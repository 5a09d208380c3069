"""Watchers: assign, update and revoke their privileges, and hand the one suspend right around.

Pure state work, the same through every door. With ``check=True`` everything happens but the commit: the
answer is what the real run would give, and nothing is kept. The time is asked for inside the transaction,
so that waiting for another writer lets nothing pass that expired meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from vmm_automation.errors import UsageError
from vmm_automation.model.names import check_name
from vmm_automation.model.times import from_text, to_text
from vmm_automation.model.watcher import Grant, Privilege
from vmm_automation.operations.watcher_entry import check_input, watcher_change
from vmm_automation.operations.watcher_lock import (
    DEFAULT_LEASE,
    lock_acquire,
    lock_break,
    lock_hand_over,
    lock_release,
    lock_renew,
    lock_show,
)
from vmm_automation.ports import Clock
from vmm_automation.state import grants, session_rows, suspend_right
from vmm_automation.state.audit import Author
from vmm_automation.state.store import Store, Tx

__all__ = [
    "DEFAULT_LEASE",
    "assign",
    "list_watchers",
    "lock_acquire",
    "lock_break",
    "lock_hand_over",
    "lock_release",
    "lock_renew",
    "lock_show",
    "revoke",
    "update",
]
_NONE: frozenset[Privilege] = frozenset()


def assign(
    store: Store,
    clock: Clock,
    *,
    session: str,
    watcher: str,
    privileges: Iterable[Privilege | str],
    duration: timedelta,
    actor: str,
    door: str = "python",
    reason: str = "",
    idempotent: bool = False,
    check: bool = False,
) -> dict[str, Any]:
    """Give a Watcher privileges on a live session for ``duration``.

    With ``idempotent``, a valid grant with the same privileges, reason and length is no change, and one
    that differs is updated (a different length starts anew now).

    Raises:
        InvalidName, UsageError: a name, privilege, reason or duration cannot be used.
        NotFound: no such session.
        Conflict: it has ended, or (not ``idempotent``) the Watcher is assigned already.
    """
    check_input(session=session, watchers=(watcher,), actor=actor, reason=reason)
    wanted = _privileges(privileges)
    with store.transaction(keep=not check) as tx:
        now = clock.now()
        grant = Grant(session, watcher, wanted, reason, to_text(now), _end(now, duration))
        session_rows.require_live(tx, session_id=session, doing=f"assign watcher '{watcher}' to")
        present = grants.get_valid(tx, session=session, watcher=watcher, now=now)
        author = Author(actor, door)
        if not (present and idempotent):
            return _granted(tx, grant, change=grants.assign, author=author, now=now)
        if from_text(present.expires_at) - from_text(present.granted_at) == duration:
            grant = replace(grant, granted_at=present.granted_at, expires_at=present.expires_at)
        if grant == present:
            return {"changed": False, "grant": present.to_document()}
        return _granted(tx, grant, change=grants.update, author=Author(actor, door), now=now)


def update(
    store: Store,
    clock: Clock,
    *,
    session: str,
    watcher: str,
    actor: str,
    door: str = "python",
    add: Iterable[Privilege | str] = _NONE,
    remove: Iterable[Privilege | str] = _NONE,
    extend: timedelta = timedelta(0),
    reason: str | None = None,
    check: bool = False,
) -> dict[str, Any]:
    """Change a Watcher's privileges, or move the end of the grant by ``extend``; no reason keeps the old one.

    Removing *suspend* from the holder of the suspend right releases it.

    Raises:
        InvalidName, UsageError: a name, privilege or duration cannot be used, or none would be left.
        NotFound: no such session, or no valid grant.
        Conflict: the session has ended.
    """
    check_input(session=session, watchers=(watcher,), actor=actor, reason=reason or "")
    added, removed = _change(watcher, add=add, remove=remove)
    with store.transaction(keep=not check) as tx:
        now = clock.now()
        session_rows.require_live(tx, session_id=session, doing=f"update watcher '{watcher}' of")
        present = grants.require_valid(tx, session=session, watcher=watcher, now=now)
        grant = replace(
            present,
            privileges=(present.privileges | added) - removed,
            expires_at=_end(from_text(present.expires_at), extend),
            reason=present.reason if reason is None else reason,
        )
        if grant == present:
            return {"changed": False, "grant": present.to_document()}
        return _granted(tx, grant, change=grants.update, author=Author(actor, door), now=now)


def revoke(
    store: Store,
    clock: Clock,
    *,
    session: str,
    watcher: str,
    actor: str,
    door: str = "python",
    reason: str = "",
    idempotent: bool = False,
    check: bool = False,
) -> dict[str, Any]:
    """Take a Watcher's grant away, and the suspend right if it holds it.

    With ``idempotent``, a Watcher without a valid grant is no change.

    Raises:
        InvalidName, UsageError: a name or the reason cannot be used.
        NotFound: no such session, or (not ``idempotent``) no valid grant.
    """
    check_input(session=session, watchers=(watcher,), actor=actor, reason=reason)
    with store.transaction(keep=not check) as tx:
        now = clock.now()
        session_rows.get(tx, session_id=session)
        if idempotent and grants.get_valid(tx, session=session, watcher=watcher, now=now) is None:
            return {"changed": False, "grant": None}
        with watcher_change(
            tx, action="revoke", of=(session, watcher), author=Author(actor, door), now=now
        ) as result:
            held = suspend_right.show(tx, session=session, now=now).holder == watcher
            grant = grants.revoke(tx, session=session, watcher=watcher, actor=actor, reason=reason, now=now)
            result |= {"grant": grant.to_document(), "released_right": held}
        return {"changed": True, **result}


def list_watchers(store: Store, clock: Clock, *, session: str | None = None) -> dict[str, Any]:
    """The valid grants of one session, with its suspend right, or those of all sessions.

    Raises:
        InvalidName, NotFound: no such session.
    """
    with store.reading() as tx:
        now = clock.now()
        if session is None:
            return {"grants": [grant.to_document() for grant in grants.list_grants(tx, now=now)]}
        session_rows.get(tx, session_id=check_name("session", session))
        found = grants.list_grants(tx, session=session, now=now)
        right = suspend_right.show(tx, session=session, now=now)
        return {"grants": [grant.to_document() for grant in found], "right": right.to_document()}


def _granted(
    tx: Tx, grant: Grant, *, change: Callable[..., Grant], author: Author, now: datetime
) -> dict[str, Any]:
    of, action = (grant.session, grant.watcher), change.__name__
    with watcher_change(tx, action=action, of=of, author=author, now=now) as result:
        change(tx, grant=grant, actor=author.name, now=now)
        result |= {"grant": grant.to_document()}
    return {"changed": True, **result}


def _change(
    watcher: str, *, add: Iterable[Privilege | str], remove: Iterable[Privilege | str]
) -> tuple[frozenset[Privilege], frozenset[Privilege]]:
    added, removed = _privileges(add), _privileges(remove)
    if added & removed:
        raise UsageError(
            f"Cannot both add and remove '{min(added & removed)}' of watcher '{watcher}'",
            hint="vmm watcher update --help",
        )
    return added, removed


def _privileges(names: Iterable[Privilege | str]) -> frozenset[Privilege]:
    try:
        return frozenset(Privilege(name) for name in names)
    except ValueError as unknown:
        raise UsageError(
            f"Cannot grant what is no privilege: {unknown}; there are {', '.join(Privilege)}",
            hint="vmm watcher assign --help",
        ) from unknown


def _end(start: datetime, duration: timedelta) -> str:
    try:
        return to_text(start + duration)
    except OverflowError as far:
        raise UsageError(
            f"Cannot grant privileges for {duration.total_seconds():g} s: the end is out of range",
            hint="vmm watcher assign --help",
        ) from far
