"""One UA on the task's host, in the wanted state; checked and prepared on the controller."""

from __future__ import annotations

from functools import partial
from typing import Any

from vmm_automation.ansible.action_base import VmmAction, text_list
from vmm_automation.errors import UsageError
from vmm_automation.operations import deployment, ua_lifecycle, ua_publication, ua_rollout, ua_status
from vmm_automation.operations.context import Context
from vmm_automation.ports import Guest

_ON_CONTROLLER = {"checked": deployment.checked, "prepared": deployment.prepared}


class ActionModule(VmmAction):
    """``vmm_ua: {id: radicale, state: active, version: 3.5.10}``."""

    def perform(self, context: Context, arguments: dict[str, Any], *, check: bool) -> dict[str, Any]:
        """See :mod:`vmm_automation.operations.deployment`, ``ua_lifecycle`` and ``ua_status``."""
        state = str(arguments.get("state"))
        if step := _ON_CONTROLLER.get(state):
            names = text_list(arguments.get("vms") or [], name="ua_vms")
            return step(context, names, ua_id=_text(arguments, "id"), version=_text(arguments, "version"))
        if state in {"published", "withdrawn"}:
            return _offer(context, arguments, state=state, check=check)
        if state == "opened":
            names = text_list(arguments.get("vms") or [], name="ua_vms")
            return ua_rollout.opened(
                context,
                names,
                ua_id=_text(arguments, "id"),
                version=_text(arguments, "version"),
                batch=_text(arguments, "batch"),
                run=str(self.variables.get("vmm_run") or ""),
                check=check,
            )
        if state == "concluded":
            run = str(self.variables.get("vmm_run") or "")
            return ua_rollout.concluded(context, ua_id=_text(arguments, "id"), run=run, check=check)
        return _on_guest(context, self.guest(), arguments, state=state, check=check)


def _offer(context: Context, arguments: dict[str, Any], *, state: str, check: bool) -> dict[str, Any]:
    ua_id, version = _text(arguments, "id"), _text(arguments, "version")
    note = _text(arguments, "note")
    if state == "published":
        return ua_publication.published(context, ua_id=ua_id, version=version, note=note, check=check)
    drain_s = int(arguments.get("drain_s") or 0)
    return ua_publication.withdrawn(
        context, ua_id=ua_id, version=version, drain_s=drain_s, reason=note, check=check
    )


def _on_guest(
    context: Context, guest: Guest, arguments: dict[str, Any], *, state: str, check: bool
) -> dict[str, Any]:
    ua_id, version = _text(arguments, "id"), _text(arguments, "version")
    if state in {"active", "updated"}:
        update = state == "updated"
        act = partial(
            deployment.active, context, guest, ua_id=ua_id, version=version, update=update, check=check
        )
        limit, force = int(arguments.get("max_failures") or 0), bool(arguments.get("force"))
        if not (_text(arguments, "batch") or limit or force):
            return act()
        return ua_rollout.on_vm(
            context, guest, act, ua_id=ua_id, max_failures=limit, force=force, check=check
        )
    if state == "absent":
        allowed = bool(arguments.get("allow_destroy", False))
        return deployment.absent(
            context, guest, ua_id=ua_id, version=version, allow_destroy=allowed, check=check
        )
    if state == "restored":
        return deployment.restored(context, guest, check=check)
    if state == "compared":
        repair = bool(arguments.get("repair", False))
        return ua_status.told(context, guest, ua_id=ua_id, repair=repair, check=check)
    if state in {"deactivated", "rolled_back"}:
        step = ua_lifecycle.deactivated if state == "deactivated" else ua_lifecycle.rolled_back
        return step(context, guest, ua_id=ua_id, check=check)
    if state in {"delivered", "activated"}:
        bring = ua_lifecycle.delivered if state == "delivered" else ua_lifecycle.activated
        return bring(context, guest, ua_id=ua_id, version=version, check=check)
    raise UsageError(f"'{state}' is not a state of UAs", hint="ua_state=active")


def _text(arguments: dict[str, Any], name: str) -> str:
    return str(arguments.get(name) or "")
