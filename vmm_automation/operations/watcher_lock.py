"""The suspend right through every door: acquire, renew, release, hand over, break, show.

See :mod:`vmm_automation.operations.watcher` for what ``actor``, ``check`` and the clock do. All but
``lock_break`` is a Watcher's own, or for a member of the group that it is; releasing is an operator's too.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from vmm_automation.errors import Conflict, LockHeld
from vmm_automation.model.names import check_name
from vmm_automation.model.policies import Policies
from vmm_automation.operations import identity
from vmm_automation.operations.identity import Identity
from vmm_automation.operations.watcher_entry import check_input, watcher_change
from vmm_automation.ports import Clock
from vmm_automation.state import audit, audit_objects, session_rows, suspend_right
from vmm_automation.state.open import mentions
from vmm_automation.state.store import Store

DEFAULT_LEASE = timedelta(seconds=Policies().suspend_lease_s)


def lease_of(site: Path) -> timedelta:
    """How long a lease on a site lasts unless it is said; YAML is parsed only where that policy stands in it.

    Raises:
        SiteInvalid: ``site.yml`` has the policy, and is wrong or cannot be read.
    """
    if not mentions(site / "site.yml", b"suspend_lease_s", unreadable=True):
        return DEFAULT_LEASE
    from vmm_automation.site import Site

    return timedelta(seconds=Site.load(site).policies.suspend_lease_s)


def lock_acquire(
    store: Store,
    clock: Clock,
    *,
    session: str,
    watcher: str,
    actor: str | Identity,
    door: str = "python",
    lease: timedelta = DEFAULT_LEASE,
    check: bool = False,
) -> dict[str, Any]:
    """Take the suspend right of a session, or prolong it for the Watcher that holds it.

    Raises:
        InvalidName, UsageError, NotFound, Conflict, NotPermitted, LockHeld: see
            :func:`vmm_automation.state.suspend_right.acquire`.
    """
    who = identity.given(actor, door)
    check_input(session=session, watchers=(watcher,), actor=who.name)
    return _take(
        store,
        clock,
        of=(session, watcher),
        who=who,
        lease=lease,
        check=check,
        must_hold=False,
    )


def lock_renew(
    store: Store,
    clock: Clock,
    *,
    session: str,
    watcher: str,
    actor: str | Identity,
    door: str = "python",
    lease: timedelta = DEFAULT_LEASE,
    check: bool = False,
) -> dict[str, Any]:
    """Prolong the suspend right for the Watcher that holds it; unlike ``lock_acquire``, never take it anew.

    Raises:
        InvalidName, UsageError, NotFound, Conflict: see :func:`lock_acquire`.
        NotPermitted, LockHeld: the Watcher does not hold it now.
    """
    who = identity.given(actor, door)
    check_input(session=session, watchers=(watcher,), actor=who.name)
    return _take(
        store,
        clock,
        of=(session, watcher),
        who=who,
        lease=lease,
        check=check,
        must_hold=True,
    )


def lock_release(
    store: Store,
    clock: Clock,
    *,
    session: str,
    watcher: str,
    actor: str | Identity,
    door: str = "python",
    idempotent: bool = False,
    check: bool = False,
) -> dict[str, Any]:
    """Give the suspend right back; with ``idempotent``, not holding it is no change.

    Raises:
        InvalidName, UsageError, NotFound, NotPermitted, LockHeld: see
            :func:`vmm_automation.state.suspend_right.release`.
    """
    who = identity.given(actor, door)
    check_input(session=session, watchers=(watcher,), actor=who.name)
    asked: dict[str, Any] = {"session": session, "watcher": watcher}
    doing = f"release the suspend right of session '{session}'"
    with store.transaction(keep=not check) as tx:
        now = clock.now()
        session_rows.get(tx, session_id=session)
        identity.require_watcher(tx, who, **asked, doing=doing, now=now, operator_too=True)
        try:
            with watcher_change(
                tx, action="lock.release", of=(session, watcher), author=who.author, now=now
            ) as result:
                right = suspend_right.release(tx, session=session, watcher=watcher, now=now)
                result |= {"right": right.to_document()}
        except LockHeld:
            if not idempotent:
                raise
            present = suspend_right.show(tx, session=session, now=now)
            return {"changed": False, "right": present.to_document()}
        return {"changed": True, **result}


def lock_hand_over(
    store: Store,
    clock: Clock,
    *,
    session: str,
    watcher: str,
    to: str,
    actor: str | Identity,
    door: str = "python",
    fence: int | None = None,
    lease: timedelta = DEFAULT_LEASE,
    idempotent: bool = False,
    check: bool = False,
) -> dict[str, Any]:
    """Pass the suspend right from the Watcher that holds it to another; with ``idempotent``, that one
    holding it already is no change.

    Raises:
        InvalidName, UsageError, NotFound, Conflict, NotPermitted, LockHeld: see
            :func:`vmm_automation.state.suspend_right.hand_over`.
    """
    who = identity.given(actor, door)
    check_input(session=session, watchers=(watcher, to), actor=who.name)
    doing = f"hand over the suspend right of session '{session}'"
    with store.transaction(keep=not check) as tx:
        now = clock.now()
        session_rows.get(tx, session_id=session)
        identity.require_watcher(tx, who, session=session, watcher=watcher, doing=doing, now=now)
        present = suspend_right.show(tx, session=session, now=now)
        if idempotent and present.holder == to != watcher:
            return {"changed": False, "right": present.to_document()}
        with watcher_change(
            tx, action="lock.hand_over", of=(session, watcher), author=who.author, now=now
        ) as result:
            right = suspend_right.hand_over(
                tx, session=session, holder=watcher, to=to, fence=fence, lease=lease, now=now
            )
            result |= {"right": right.to_document(), "from": watcher}
        return {"changed": True, **result}


def lock_break(
    store: Store,
    clock: Clock,
    *,
    session: str,
    actor: str | Identity,
    reason: str,
    door: str = "python",
    idempotent: bool = False,
    check: bool = False,
) -> dict[str, Any]:
    """Take the suspend right from whoever holds it, for the operator; with ``idempotent``, nobody holding
    it is no change. ``broken`` of the document is the right as it was.

    Raises:
        InvalidName, UsageError, NotFound, NotPermitted, Conflict: see
            :func:`vmm_automation.state.suspend_right.break_right`.
    """
    who = identity.given(actor, door)
    check_input(session=session, watchers=(), actor=who.name, reason=reason)
    doing = f"break the suspend right of session '{session}'"
    identity.require_operator(who, doing=doing)
    with store.transaction(keep=not check) as tx:
        now = clock.now()
        session_rows.get(tx, session_id=session)
        identity.require_no_watcher(tx, who, session=session, doing=doing, now=now)
        present = suspend_right.show(tx, session=session, now=now)
        try:
            with watcher_change(
                tx, action="lock.break", of=(session, present.holder), author=who.author, now=now
            ) as result:
                right = suspend_right.break_right(tx, session=session, actor=who.name, reason=reason, now=now)
                result |= {"right": right.to_document(), "broken": present.to_document(), "reason": reason}
        except Conflict:
            if not idempotent:
                raise
            return {"changed": False, "right": present.to_document()}
        return {"changed": True, **result}


def lock_show(store: Store, clock: Clock, *, session: str) -> dict[str, Any]:
    """Who holds the suspend right of a session now, and until when.

    Raises:
        InvalidName, NotFound: no such session.
    """
    check_name("session", session)
    with store.reading() as tx:
        session_rows.get(tx, session_id=session)
        return {"right": suspend_right.show(tx, session=session, now=clock.now()).to_document()}


def _take(
    store: Store,
    clock: Clock,
    *,
    of: tuple[str, str],
    who: Identity,
    lease: timedelta,
    check: bool,
    must_hold: bool,
) -> dict[str, Any]:
    session, watcher = of
    doing = f"acquire the suspend right of session '{session}'"
    with store.transaction(keep=not check) as tx:
        now = clock.now()
        session_rows.get(tx, session_id=session)
        identity.require_watcher(tx, who, session=session, watcher=watcher, doing=doing, now=now)
        before = suspend_right.show(tx, session=session, now=now)
        if must_hold:
            suspend_right.check_holder(
                tx, session=session, watcher=watcher, fence=None, now=now, action="renew the suspend right of"
            )
        read = audit_objects.watcher(*of)
        seen = read(tx)
        right = suspend_right.acquire(tx, session=session, watcher=watcher, lease=lease, now=now)
        document = {"right": right.to_document()}
        if right == before:
            return {"changed": False, **document}
        audit.append(
            tx,
            author=who.author,
            action="watcher.lock.renew" if right.fence == before.fence else "watcher.lock.acquire",
            object_name="/".join(of),
            result=document,
            now=now,
            before=seen,
            after=read(tx),
        )
        return {"changed": True, **document}
