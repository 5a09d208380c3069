"""One UA on the task's host, in the wanted state; checked and prepared on the controller."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from vmm_automation.ansible.action_base import VmmAction, text_list
from vmm_automation.errors import UsageError
from vmm_automation.operations import (
    deployment,
    ua_drain,
    ua_lifecycle,
    ua_publication,
    ua_rollout,
    ua_rollout_control,
    ua_status,
)
from vmm_automation.operations.context import Context
from vmm_automation.operations.ua_rollout_plan import Terms
from vmm_automation.ports import Guest

_REQUESTS = {"checked": deployment.checked, "prepared": deployment.prepared}
_OFFERS = {"published", "withdrawn"}
_ROLLED_OUT = {"active", "updated"}
_ROLLOUTS = {"opened", "concluded", "paused", "stopped", "shown"}


class ActionModule(VmmAction):
    """``vmm_ua: {id: radicale, state: active, version: 3.5.10}``."""

    def perform(self, context: Context, arguments: dict[str, Any], *, check: bool) -> dict[str, Any]:
        """See ``deployment``, ``ua_lifecycle``, ``ua_rollout`` and ``ua_status`` of the operations."""
        state = _text(arguments, "state")
        run = str(self.variables.get("vmm_run") or "")
        if request := _REQUESTS.get(state):
            ua_id, version = _text(arguments, "id"), _text(arguments, "version")
            return request(context, ua_id=ua_id, version=version, **_targets(arguments))
        if state in _OFFERS:
            return _offer(context, arguments, state=state, check=check)
        if state in _ROLLOUTS:
            return _rollout(context, arguments, state=state, run=run, check=check)
        guest = self.guest()
        if state in _ROLLED_OUT:
            return _rolled_out(context, guest, arguments, check=check)
        if check:
            return _on_guest(context, guest, arguments, state=state, check=True)
        with _alone(context, guest, arguments, state=state):
            return _on_guest(context, guest, arguments, state=state, check=False)


def _alone(
    context: Context, guest: Guest, arguments: dict[str, Any], *, state: str
) -> AbstractContextManager[None]:
    ua_id = _text(arguments, "id")
    drain_s = int(arguments.get("drain_s") or 0) if state == "absent" else 0
    reason = f"UA '{ua_id}' is removed from it"
    return ua_drain.alone(context, guest.name, ua_id=ua_id, reason=reason, drain_s=drain_s)


def _offer(context: Context, arguments: dict[str, Any], *, state: str, check: bool) -> dict[str, Any]:
    ua_id, version = _text(arguments, "id"), _text(arguments, "version")
    note = _text(arguments, "note")
    if state == "published":
        return ua_publication.published(context, ua_id=ua_id, version=version, note=note, check=check)
    drain_s = int(arguments.get("drain_s") or 0)
    return ua_publication.withdrawn(
        context, ua_id=ua_id, version=version, drain_s=drain_s, reason=note, check=check
    )


def _rollout(
    context: Context, arguments: dict[str, Any], *, state: str, run: str, check: bool
) -> dict[str, Any]:
    ua_id = _text(arguments, "id")
    if state == "shown":
        return {"changed": False, **ua_rollout_control.shown(context, ua_id)}
    if state in {"paused", "stopped"}:
        control = ua_rollout_control.paused if state == "paused" else ua_rollout_control.stopped
        return control(context, ua_id=ua_id, check=check)
    check = check or bool(arguments.get("plan"))
    if state == "concluded":
        return ua_rollout.concluded(context, ua_id=ua_id, run=run, check=check)
    if arguments.get("resume"):
        return ua_rollout.resumed(context, ua_id=ua_id, run=run, check=check)
    terms, meant = _terms(context, arguments), _targets(arguments)
    return ua_rollout.opened(context, ua_id=ua_id, terms=terms, run=run, check=check, **meant)


def _targets(arguments: dict[str, Any]) -> dict[str, Any]:
    """Which VMs are meant."""
    names = text_list(arguments.get("vms") or [], name="ua_vms")
    return {"names": names, "pool": _text(arguments, "pool"), "limit": _text(arguments, "limit")}


def _terms(context: Context, arguments: dict[str, Any]) -> Terms:
    if arguments.get("resume"):
        return ua_rollout_control.kept_terms(context, _text(arguments, "id"))
    return Terms(
        version=_text(arguments, "version"),
        update=_text(arguments, "state") == "updated" or bool(arguments.get("update")),
        batch=_text(arguments, "batch"),
        order=_text(arguments, "order") or "name",
        max_failures=int(arguments.get("max_failures") or 0),
        force=bool(arguments.get("force")),
        drain_s=int(arguments.get("drain_s") or 0),
    )


def _on_guest(
    context: Context, guest: Guest, arguments: dict[str, Any], *, state: str, check: bool
) -> dict[str, Any]:
    ua_id, version = _text(arguments, "id"), _text(arguments, "version")
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


def _rolled_out(context: Context, guest: Guest, arguments: dict[str, Any], *, check: bool) -> dict[str, Any]:
    if arguments.get("plan"):
        return {"changed": False}  # 'opened' has told the plan
    ua_id, terms = _text(arguments, "id"), _terms(context, arguments)
    act = partial(
        deployment.active,
        context,
        guest,
        ua_id=ua_id,
        version=terms.version,
        update=terms.update,
        check=check,
    )
    return ua_rollout.on_vm(context, guest, act, ua_id=ua_id, terms=terms, check=check)


def _text(arguments: dict[str, Any], name: str) -> str:
    return str(arguments.get(name) or "")
