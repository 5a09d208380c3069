"""One UA on the task's host: active, updated, absent or restored; checked and prepared on the controller."""

from __future__ import annotations

from typing import Any

from vmm_automation.ansible.action_base import VmmAction, text_list
from vmm_automation.errors import UsageError
from vmm_automation.operations import deployment
from vmm_automation.operations.context import Context


class ActionModule(VmmAction):
    """``vmm_ua: {id: radicale, state: active, version: 3.5.10}``."""

    def perform(self, context: Context, arguments: dict[str, Any], *, check: bool) -> dict[str, Any]:
        """See :mod:`vmm_automation.operations.deployment`."""
        state = str(arguments.get("state"))
        ua_id, version = str(arguments.get("id") or ""), str(arguments.get("version") or "")
        if state in {"checked", "prepared"}:
            names = text_list(arguments.get("vms") or [], name="ua_vms")
            step = deployment.checked if state == "checked" else deployment.prepared
            return step(context, names, ua_id=ua_id, version=version)
        guest = self.guest()
        if state in {"active", "updated"}:
            update = state == "updated"
            return deployment.active(context, guest, ua_id=ua_id, version=version, update=update, check=check)
        if state == "absent":
            allowed = bool(arguments.get("allow_destroy", False))
            return deployment.absent(
                context, guest, ua_id=ua_id, version=version, allow_destroy=allowed, check=check
            )
        if state == "restored":
            return deployment.restored(context, guest, check=check)
        raise UsageError(f"'{state}' is not a state of UAs", hint="ua_state=active")
