"""Stored User Images: restored, verified, pruned, pinned, unpinned, flattened. No guest takes part."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from vmm_automation.ansible.action_base import VmmAction
from vmm_automation.errors import UsageError
from vmm_automation.model.retention import Retention
from vmm_automation.model.times import read_duration
from vmm_automation.operations import image_store, image_upkeep, volume_upkeep
from vmm_automation.operations.context import Context


class ActionModule(VmmAction):
    """``vmm_image_store: {state: restored, user: ada, ua: radicale, generation: 3}``."""

    def perform(self, context: Context, arguments: dict[str, Any], *, check: bool) -> dict[str, Any]:
        """See :mod:`vmm_automation.operations.image_store`."""
        state = str(arguments.get("state"))
        of = {key: str(arguments.get(key) or "") for key in ("user", "ua")}
        number = int(arguments.get("generation") or 0)
        if state == "verified":
            return image_store.verify(context, **of, number=number, every=bool(arguments.get("all")))
        if state == "pruned":
            return image_upkeep.prune(context, retention=_retention(arguments), **of, check=check)
        if state == "flattened":
            return volume_upkeep.flatten(context, check=check)
        if not (of["user"] and of["ua"]):
            raise UsageError(f"'{state}' needs a user and a UA", hint="image_store_user=ada image_store_ua=…")
        if state == "restored":
            texts = {key: str(arguments.get(key) or "") for key in ("orphan", "reason")}
            return image_store.restore(context, **of, number=number, **texts, check=check)
        if state in ("pinned", "unpinned"):
            return image_store.pin(context, **of, number=number, pinned=state == "pinned", check=check)
        raise UsageError(f"'{state}' is not a state of stored images", hint="image_store_state=verified")


def _retention(arguments: dict[str, Any]) -> Retention:
    counts = {key: int(arguments.get(f"keep_{key}") or 0) for key in ("last", "daily", "weekly")}
    text = str(arguments.get("within") or "")
    try:
        return Retention(**counts, within=read_duration(text) if text else timedelta())
    except ValueError as wrong:
        raise UsageError(
            f"Variable 'image_store_within': {wrong}", hint="-e image_store_within=14d"
        ) from wrong
