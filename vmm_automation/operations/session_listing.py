"""One session with all that is known of it, from the state store alone."""

from __future__ import annotations

from typing import Any

from vmm_automation.adapters.clock import SystemClock
from vmm_automation.model.names import check_name
from vmm_automation.model.watcher import Privilege
from vmm_automation.operations.identity import Identity, require_privilege
from vmm_automation.ports import Clock
from vmm_automation.state import grants, sessions, suspend_right
from vmm_automation.state.store import Store


def description(
    store: Store, session_id: str, *, clock: Clock | None = None, viewer: Identity | None = None
) -> dict[str, Any]:
    """A session with why its VM was selected, who watches it now, and the suspend right.

    Raises:
        InvalidName, NotFound: there is no such session.
        NotPermitted: the ``viewer`` is neither an operator nor a Watcher with *view*.
    """
    check_name("session", session_id)
    with store.reading() as tx:
        now = (clock or SystemClock()).now()
        session = sessions.get(tx, session_id=session_id)
        if viewer:
            view = Privilege.VIEW
            require_privilege(tx, viewer, session=session_id, privilege=view, action="show", now=now)
        found = grants.list_grants(tx, session=session_id, now=now)
        right = suspend_right.show(tx, session=session_id, now=now)
    return {
        **session.to_document(),
        "selection": session.explanation,
        "grants": [grant.to_document() for grant in found],
        "right": right.to_document(),
    }


def explanation(
    store: Store, session_id: str, *, clock: Clock | None = None, viewer: Identity | None = None
) -> dict[str, Any]:
    """Why a session got its VM: the selection as it was when the seat was claimed, whatever became of it.

    Raises:
        InvalidName, NotFound, NotPermitted: as :func:`description`.
    """
    found = description(store, session_id, clock=clock, viewer=viewer)
    keys = ("id", "user", "ua", "version", "vm", "terminal", "state", "created_at", "selection")
    return {key: found[key] for key in keys}
