"""Watchers: assign, update and revoke their privileges, and hand the one suspend right around.

Pure state work, the same through every door. With ``check=True`` everything happens but the commit: the
answer is what the real run would give, and nothing is kept. The time is asked for inside the transaction,
so that waiting for another writer lets nothing pass that expired meanwhile. ``actor`` is who acts: a name, or
an :class:`~vmm_automation.operations.identity.Identity` with what the site says of it, and then ``door`` is
the identity's. All that changes grants is the operator's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from vmm_automation.errors import UsageError
from vmm_automation.model.names import check_name
from vmm_automation.model.times import from_text, to_text
from vmm_automation.model.watcher import Grant, Privilege
from vmm_automation.operations import identity
from vmm_automation.operations.grant_terms import Terms, after
from vmm_automation.operations.identity import Identity
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
from vmm_automation.state.store import Store, Tx

__all__ = [
    "DEFAULT_LEASE",
    "assign",
    "history",
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
Deliver = Callable[[str], None]
_NONE: frozenset[Privilege] = frozenset()


@dataclass(frozen=True)
class _Token:
    """Whether a grant gets a token, and who takes it; a dry run makes none."""

    wanted: bool
    deliver: Deliver | None
    check: bool


def assign(
    store: Store,
    clock: Clock,
    *,
    session: str,
    watcher: str,
    privileges: Iterable[Privilege | str],
    actor: str | Identity,
    duration: timedelta | None = None,
    starts: datetime | timedelta | None = None,
    until: datetime | None = None,
    door: str = "python",
    reason: str = "",
    token: bool = False,
    deliver: Deliver | None = None,
    idempotent: bool = False,
    check: bool = False,
) -> dict[str, Any]:
    """Give a Watcher privileges on a live session for ``duration`` (8 hours), or ``until`` a time.

    They begin at ``starts``, a time or a length from now; None is at once, and ``duration`` counts from then.
    With ``token``, or where the site requires it, a token is made: it is the document's ``token``, or goes to
    ``deliver`` before the grant is kept; a dry run makes none. With ``idempotent``, a grant that the same
    request made is no change, and one that differs is updated (other times start anew now).

    Raises:
        InvalidName, UsageError: a name, privilege, reason or time cannot be used.
        NotPermitted: the actor is no operator.
        NotFound: no such session.
        Conflict: it has ended, or (not ``idempotent``) the Watcher is assigned already.
    """
    who = identity.given(actor, door)
    check_input(session=session, watchers=(watcher,), actor=who.name, reason=reason)
    identity.require_operator(who, doing=f"assign watcher '{watcher}' to session '{session}'")
    asked = Grant(session, watcher, _privileges(privileges), reason, granted_at="", expires_at="")
    terms = Terms(starts, until, duration)
    with store.transaction(keep=not check) as tx:
        now = clock.now()
        session_rows.require_live(tx, session_id=session, doing=f"assign watcher '{watcher}' to")
        present = grants.get_present(tx, session=session, watcher=watcher, now=now) if idempotent else None
        grant = _as_asked(asked, terms, present=present, now=now)
        make = (token or who.access.tokens_required) and not grant.token_hash
        if grant == present and not make:
            return {"changed": False, "grant": _document(present, now=now)}
        change = grants.update if present else grants.assign
        given = _Token(wanted=make, deliver=deliver, check=check)
        return _granted(tx, grant, change=change, who=who, now=now, token=given)


def update(
    store: Store,
    clock: Clock,
    *,
    session: str,
    watcher: str,
    actor: str | Identity,
    door: str = "python",
    add: Iterable[Privilege | str] = _NONE,
    remove: Iterable[Privilege | str] = _NONE,
    extend: timedelta = timedelta(0),
    until: datetime | None = None,
    reason: str | None = None,
    new_token: bool = False,
    deliver: Deliver | None = None,
    check: bool = False,
) -> dict[str, Any]:
    """Change a Watcher's privileges, or move the end of the grant by ``extend``, or to ``until``; no reason
    keeps the old one. With ``new_token`` the grant gets another token, as in :func:`assign`.

    Removing *suspend* from the holder of the suspend right releases it.

    Raises:
        InvalidName, UsageError: a name, privilege or time cannot be used, or none would be left.
        NotPermitted: the actor is no operator.
        NotFound: no such session, or no grant.
        Conflict: the session has ended.
    """
    who = identity.given(actor, door)
    check_input(session=session, watchers=(watcher,), actor=who.name, reason=reason or "")
    identity.require_operator(who, doing=f"update watcher '{watcher}' of session '{session}'")
    added, removed = _change(watcher, add=add, remove=remove)
    if until is not None and extend:
        raise UsageError("Cannot both extend a grant and give it an end", hint="vmm watcher update --help")
    with store.transaction(keep=not check) as tx:
        now = clock.now()
        session_rows.require_live(tx, session_id=session, doing=f"update watcher '{watcher}' of")
        present = grants.require_present(tx, session=session, watcher=watcher, now=now)
        grant = replace(
            present,
            privileges=(present.privileges | added) - removed,
            expires_at=to_text(until) if until else after(from_text(present.expires_at), extend),
            reason=present.reason if reason is None else reason,
        )
        if grant == present and not new_token:
            return {"changed": False, "grant": _document(present, now=now)}
        given = _Token(wanted=new_token, deliver=deliver, check=check)
        return _granted(tx, grant, change=grants.update, who=who, now=now, token=given)


def revoke(
    store: Store,
    clock: Clock,
    *,
    session: str,
    watcher: str,
    actor: str | Identity,
    door: str = "python",
    reason: str = "",
    idempotent: bool = False,
    check: bool = False,
) -> dict[str, Any]:
    """Take a Watcher's grant away, and the suspend right if it holds it.

    With ``idempotent``, a Watcher without a grant is no change.

    Raises:
        InvalidName, UsageError: a name or the reason cannot be used.
        NotPermitted: the actor is no operator.
        NotFound: no such session, or (not ``idempotent``) no grant.
    """
    who = identity.given(actor, door)
    check_input(session=session, watchers=(watcher,), actor=who.name, reason=reason)
    identity.require_operator(who, doing=f"revoke watcher '{watcher}' of session '{session}'")
    with store.transaction(keep=not check) as tx:
        now = clock.now()
        session_rows.get(tx, session_id=session)
        if idempotent and grants.get_present(tx, session=session, watcher=watcher, now=now) is None:
            return {"changed": False, "grant": None}
        with watcher_change(tx, action="revoke", of=(session, watcher), author=who.author, now=now) as result:
            held = suspend_right.show(tx, session=session, now=now).holder == watcher
            grant = grants.revoke(
                tx, session=session, watcher=watcher, actor=who.name, reason=reason, now=now
            )
            result |= {"grant": _document(grant, now=now), "released_right": held}
        return {"changed": True, **result}


def list_watchers(store: Store, clock: Clock, *, session: str | None = None) -> dict[str, Any]:
    """The grants of one session, with its suspend right, or those of all sessions; ``valid`` of a grant is
    false where it is yet to start.

    Raises:
        InvalidName, NotFound: no such session.
    """
    with store.reading() as tx:
        now = clock.now()
        if session is None:
            return {
                "grants": [
                    _document(grant, now=now) for grant in grants.list_grants(tx, now=now, started=False)
                ]
            }
        session_rows.get(tx, session_id=check_name("session", session))
        found = grants.list_grants(tx, session=session, now=now, started=False)
        right = suspend_right.show(tx, session=session, now=now)
        return {"grants": [_document(grant, now=now) for grant in found], "right": right.to_document()}


def history(store: Store, *, session: str) -> dict[str, Any]:
    """What happened to the grants of a session, oldest first; an ended session keeps its.

    Raises:
        InvalidName, NotFound: no such session.
    """
    with store.reading() as tx:
        session_rows.get(tx, session_id=check_name("session", session))
        rows = grants.history(tx, session=session)
    return {
        "history": [
            {**row, "privileges": row["privileges"].split(","), "starts_at": row["starts_at"] or None}
            for row in rows
        ]
    }


def _document(grant: Grant, *, now: datetime) -> dict[str, Any]:
    return {**grant.to_document(), "valid": grant.valid_at(to_text(now))}


def _as_asked(asked: Grant, terms: Terms, *, present: Grant | None, now: datetime) -> Grant:
    """A new grant; one that is there keeps its token, and its times if they were asked for alike."""
    if present and terms.gave(present):
        return replace(present, privileges=asked.privileges, reason=asked.reason)
    token_hash = present.token_hash if present else ""
    start, end = terms.begin(now), terms.end(now)
    return replace(asked, token_hash=token_hash, granted_at=to_text(now), starts_at=start, expires_at=end)


def _granted(
    tx: Tx, grant: Grant, *, change: Callable[..., Grant], who: Identity, now: datetime, token: _Token
) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if token.wanted and token.check:
        told = {"token": None}
    elif token.wanted:
        from vmm_automation.operations.tokens import new_token

        text, kept = new_token()
        grant = replace(grant, token_hash=kept)
        told = {"token": text}
    of, action = (grant.session, grant.watcher), change.__name__
    with watcher_change(tx, action=action, of=of, author=who.author, now=now) as result:
        change(tx, grant=grant, actor=who.name, now=now)
        result |= {"grant": _document(grant, now=now)}
    if told and token.deliver:  # the last step: a grant is not kept if its token goes nowhere
        if told["token"]:
            token.deliver(told["token"])
        told = {}
    return {"changed": True, **result, **told}


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
