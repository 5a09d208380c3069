"""A Watcher of a session: assigned, updated, revoked; the suspend right: lock_acquired, lock_renewed,
lock_released, lock_handed_over, lock_broken.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from vmm_automation.ansible.action_base import VmmAction, text_list
from vmm_automation.errors import UsageError
from vmm_automation.model.times import read_moment, read_time
from vmm_automation.operations import tokens, watcher
from vmm_automation.operations.context import Context

_BY_WATCHERS = frozenset({"lock_acquired", "lock_renewed", "lock_released", "lock_handed_over"})


class ActionModule(VmmAction):
    """``vmm_watcher: {state: assigned, session: s-1234, watcher: bo, privileges: [view]}``."""

    def needs_token(self, arguments: dict[str, Any]) -> bool:
        """The suspend right is for Watchers to take and give; breaking it is the operator's."""
        return arguments.get("state") in _BY_WATCHERS

    def perform(self, context: Context, arguments: dict[str, Any], *, check: bool) -> dict[str, Any]:
        """See :mod:`vmm_automation.operations.watcher`."""
        state = str(arguments.get("state"))
        common: dict[str, Any] = {
            "session": str(arguments["session"]),
            "actor": context.identity,
            "check": check,
        }
        reason = str(arguments.get("reason") or "")
        if state == "lock_broken":
            return watcher.lock_break(context.store, context.clock, reason=reason, idempotent=True, **common)
        common["watcher"] = str(arguments.get("watcher") or "")
        if state in ("assigned", "updated"):
            return _granted(context, arguments, state=state, common={**common, "reason": reason})
        if state == "revoked":
            return watcher.revoke(context.store, context.clock, reason=reason, idempotent=True, **common)
        if state == "lock_released":
            return watcher.lock_release(context.store, context.clock, idempotent=True, **common)
        seconds = int(arguments.get("seconds") or 0) or context.site.policies.suspend_lease_s
        common["lease"] = timedelta(seconds=seconds)
        if state == "lock_acquired":
            return watcher.lock_acquire(context.store, context.clock, **common)
        if state == "lock_renewed":
            return watcher.lock_renew(context.store, context.clock, **common)
        if state == "lock_handed_over":
            common |= {"to": str(arguments.get("to") or ""), "idempotent": True}
            return watcher.lock_hand_over(context.store, context.clock, **common)
        raise UsageError(f"'{state}' is not a state of Watchers", hint="watcher_state=assigned")


def _granted(
    context: Context, arguments: dict[str, Any], *, state: str, common: dict[str, Any]
) -> dict[str, Any]:
    seconds = int(arguments.get("seconds") or 0)
    privileges = text_list(arguments.get("privileges") or [], name="watcher_privileges")
    token = bool(arguments.get("new_token")) or (state == "assigned" and context.site.access.tokens_required)
    common |= {
        "until": _read(read_time, arguments, "until"),
        "deliver": _into(str(arguments.get("token_file") or ""), watcher=common["watcher"])
        if token
        else None,
    }
    if state == "assigned":
        return watcher.assign(
            context.store,
            context.clock,
            privileges=privileges,
            duration=timedelta(seconds=seconds) if seconds else None,
            starts=_read(read_moment, arguments, "starts"),
            token=token,
            idempotent=True,
            **common,
        )
    removed = text_list(arguments.get("removed") or [], name="watcher_privileges_removed")
    common |= {"add": privileges, "remove": removed, "reason": common["reason"] or None, "new_token": token}
    return watcher.update(context.store, context.clock, extend=timedelta(seconds=seconds), **common)


def _into(file: str, *, watcher: str) -> Callable[[str], None]:
    """Takes a token and writes it to a file: what a playbook returns is printed and stored by others."""
    if not file:
        raise UsageError(
            f"Cannot make a token for watcher '{watcher}': there is no file to write it to",
            hint="-e watcher_token_file=PATH",
        )
    return lambda token: tokens.write_token(Path(file), token)


def _read(
    read: Callable[[str], datetime | timedelta], arguments: dict[str, Any], name: str
) -> datetime | timedelta | None:
    text = str(arguments.get(name) or "")
    try:
        return read(text) if text else None
    except ValueError as wrong:
        raise UsageError(
            f"Variable 'watcher_{name}': {wrong}", hint=f"-e watcher_{name}=2026-01-31T14:00Z"
        ) from wrong
