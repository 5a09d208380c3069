"""A Watcher of a session: assigned, updated, revoked; the suspend right: lock_acquired, lock_released,
lock_handed_over, lock_broken.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from vmm_automation.ansible.action_base import VmmAction, text_list
from vmm_automation.errors import UsageError
from vmm_automation.operations import watcher
from vmm_automation.operations.context import Context

_GRANT_S = 8 * 3600
_LEASE_S = 300


class ActionModule(VmmAction):
    """``vmm_watcher: {state: assigned, session: s-1234, watcher: bo, privileges: [view]}``."""

    def perform(self, context: Context, arguments: dict[str, Any], *, check: bool) -> dict[str, Any]:
        """See :mod:`vmm_automation.operations.watcher`."""
        state = str(arguments.get("state"))
        seconds = int(arguments.get("seconds") or 0)
        privileges = text_list(arguments.get("privileges") or [], name="watcher_privileges")
        common: dict[str, Any] = {
            "session": str(arguments["session"]),
            "actor": context.actor,
            "door": context.door,
            "check": check,
        }
        reason = str(arguments.get("reason") or "")
        if state == "lock_broken":
            return watcher.lock_break(context.store, context.clock, reason=reason, idempotent=True, **common)
        common["watcher"] = str(arguments.get("watcher") or "")
        lease = timedelta(seconds=seconds or _LEASE_S)
        if state == "assigned":
            duration = timedelta(seconds=seconds or _GRANT_S)
            common |= {"privileges": privileges, "duration": duration, "reason": reason, "idempotent": True}
            return watcher.assign(context.store, context.clock, **common)
        if state == "updated":
            removed = text_list(arguments.get("removed") or [], name="watcher_privileges_removed")
            common |= {"add": privileges, "remove": removed, "reason": reason or None}
            return watcher.update(context.store, context.clock, extend=timedelta(seconds=seconds), **common)
        if state == "revoked":
            return watcher.revoke(context.store, context.clock, reason=reason, idempotent=True, **common)
        if state == "lock_acquired":
            return watcher.lock_acquire(context.store, context.clock, lease=lease, **common)
        if state == "lock_released":
            return watcher.lock_release(context.store, context.clock, idempotent=True, **common)
        if state == "lock_handed_over":
            common |= {"to": str(arguments.get("to") or ""), "lease": lease, "idempotent": True}
            return watcher.lock_hand_over(context.store, context.clock, **common)
        raise UsageError(f"'{state}' is not a state of Watchers", hint="watcher_state=assigned")
