"""Pools of VMs: refilled, prepared in a guest, settled, scaled or drained."""

from __future__ import annotations

from typing import Any

from vmm_automation.ansible.action_base import VmmAction, text_list
from vmm_automation.errors import UsageError
from vmm_automation.operations import pool, pool_refill
from vmm_automation.operations.context import Context
from vmm_automation.state.pools import Drain


class ActionModule(VmmAction):
    """``vmm_pool: {state: refilled, names: [calendars]}``."""

    def perform(self, context: Context, arguments: dict[str, Any], *, check: bool) -> dict[str, Any]:
        """See :mod:`vmm_automation.operations.pool_refill` and :mod:`vmm_automation.operations.pool`."""
        state = str(arguments.get("state"))
        names = text_list(arguments.get("names") or [], name="pool_names")
        run = str(self.variables.get("vmm_run") or "")
        if state == "refilled":
            reset = bool(arguments.get("reset", False))
            return pool_refill.refilled(context, names, reset=reset, run=run, check=check)
        if state == "installed":
            return pool_refill.installed(context, self.guest(), check=check)
        if state == "settled":
            done = dict(arguments.get("done") or {})
            return pool_refill.settled(context, names, done=done, run=run, check=check)
        if len(names) != 1:
            raise UsageError("Name one pool", hint='-e \'{"pool_names": ["calendars"]}\'')
        if state == "scaled":
            levels = {level: _count(arguments, level) for level in ("ready", "parked", "cold")}
            reset = bool(arguments.get("reset", False))
            return pool.scaled(context, names[0], **levels, reset=reset, check=check)
        if state in _DRAINS:
            allowed = bool(arguments.get("allow_destroy", False))
            drain = Drain.DELETE if state == "drained" and arguments.get("delete") else _DRAINS[state]
            return pool.drained(context, names[0], drain=drain, allow_destroy=allowed, run=run, check=check)
        raise UsageError(f"'{state}' is not a state of pools", hint="pool_state=refilled")


_DRAINS = {"drained": Drain.KEEP, "undrained": Drain.NO}


def _count(arguments: dict[str, Any], level: str) -> int | None:
    """How many; a negative number leaves the level as it is."""
    count = int(arguments.get(level, -1))
    return None if count < 0 else count
