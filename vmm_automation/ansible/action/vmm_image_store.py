"""Stored User Images: listed, verified, restored, pruned, exported and so on. No guest takes part."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from vmm_automation.ansible.action_base import VmmAction
from vmm_automation.errors import UsageError
from vmm_automation.model.retention import Retention
from vmm_automation.model.times import read_duration
from vmm_automation.operations import image_file, image_listing, image_store, image_upkeep, volume_upkeep
from vmm_automation.operations.context import Context

Given = dict[str, Any]


class ActionModule(VmmAction):
    """``vmm_image_store: {state: restored, user: ada, ua: radicale, generation: 3}``."""

    def perform(self, context: Context, arguments: dict[str, Any], *, check: bool) -> dict[str, Any]:
        """See :mod:`vmm_automation.operations.image_store`."""
        state = str(arguments.get("state"))
        if state in _OF_MANY:
            return _OF_MANY[state](context, arguments, check)
        if state not in _OF_ONE:
            raise UsageError(f"'{state}' is not a state of stored images", hint="image_store_state=verified")
        of = _texts(arguments, "user", "ua")
        if not all(of.values()):
            raise UsageError(f"'{state}' needs a user and a UA", hint="image_store_user=ada image_store_ua=…")
        return _OF_ONE[state](context, arguments, check, of)


def _listed(context: Context, given: Given, _check: bool) -> Given:
    of = _texts(given, "user", "ua")
    volumes, orphaned = context.volumes, bool(given.get("orphaned"))
    return image_listing.listing(context.store, volumes, **of, orphaned=orphaned)


def _verified(context: Context, given: Given, _check: bool) -> Given:
    of = _texts(given, "user", "ua")
    return image_store.verify(context, **of, number=_number(given), every=bool(given.get("all")))


def _pruned(context: Context, given: Given, check: bool) -> Given:
    _require_allowed(given, "prune user images")
    counts = {key: int(given.get(f"keep_{key}") or 0) for key in ("last", "daily", "weekly")}
    retention = Retention(**counts, within=_duration(given, "within"))
    return image_upkeep.prune(context, retention=retention, **_texts(given, "user", "ua"), check=check)


def _repaired(context: Context, given: Given, check: bool) -> Given:
    remove, recent = bool(given.get("allow_destroy")), _duration(given, "recent")
    return image_upkeep.repair(context, remove=remove, recent=recent, check=check)


def _flattened(context: Context, _given: Given, check: bool) -> Given:
    return volume_upkeep.flatten(context, check=check)


def _imported(context: Context, given: Given, check: bool) -> Given:
    keys = {"key_file": _optional(given, "key"), "identity": _optional(given, "identity")}
    return image_file.import_(context, source=_file(given), **keys, check=check)


def _shown(context: Context, given: Given, _check: bool, of: dict[str, str]) -> Given:
    wanted: Given = {**of, "number": _number(given), **_texts(given, "orphan")}
    return image_listing.manifest(context.store, context.volumes, **wanted)


def _compared(context: Context, given: Given, _check: bool, of: dict[str, str]) -> Given:
    old, new = _number(given, "from"), _number(given, "to")
    wanted: Given = {**of, "old": old, "new": new, **_texts(given, "orphan")}
    return image_listing.difference(context.store, context.volumes, **wanted)


def _restored(context: Context, given: Given, check: bool, of: dict[str, str]) -> Given:
    texts = _texts(given, "orphan", "reason")
    return image_store.restore(context, **of, number=_number(given), **texts, check=check)


def _pinned(context: Context, given: Given, check: bool, of: dict[str, str]) -> Given:
    pinned = given["state"] == "pinned"
    return image_store.pin(context, **of, number=_number(given), pinned=pinned, check=check)


def _deleted(context: Context, given: Given, check: bool, of: dict[str, str]) -> Given:
    _require_allowed(given, "delete a user's data")
    orphan = _texts(given, "orphan")
    return image_store.delete(context, **of, number=_number(given), **orphan, check=check)


def _exported(context: Context, given: Given, check: bool, of: dict[str, str]) -> Given:
    wanted: Given = {**of, **_texts(given, "orphan"), "target": _file(given)}
    wanted["recipients"] = _optional(given, "recipients")
    return image_file.export(context, **wanted, number=_number(given), check=check)


_OF_MANY: dict[str, Callable[[Context, Given, bool], Given]] = {
    "listed": _listed,
    "verified": _verified,
    "pruned": _pruned,
    "repaired": _repaired,
    "flattened": _flattened,
    "imported": _imported,
}
_OF_ONE: dict[str, Callable[[Context, Given, bool, dict[str, str]], Given]] = {
    "shown": _shown,
    "compared": _compared,
    "restored": _restored,
    "pinned": _pinned,
    "unpinned": _pinned,
    "deleted": _deleted,
    "exported": _exported,
}


def _require_allowed(given: Given, doing: str) -> None:
    if not given.get("allow_destroy"):
        raise UsageError(
            f"Cannot {doing}: destruction is off unless asked for",
            hint="set image_store_allow_destroy=true (vmm: --yes)",
        )


def _texts(given: Given, *names: str) -> dict[str, str]:
    return {name: str(given.get(name) or "") for name in names}


def _number(given: Given, name: str = "generation") -> int:
    return int(given.get(name) or 0)


def _optional(given: Given, name: str) -> Path | None:
    return Path(str(given[name])) if given.get(name) else None


def _file(given: Given) -> Path:
    """On the machine that the playbook runs on; what is not absolute would depend on where that is."""
    path = Path(str(given.get("file") or "")).expanduser()
    if not path.is_absolute():
        raise UsageError(
            f"Variable 'image_store_file' must be an absolute path, not '{path}'",
            hint="-e image_store_file=/var/tmp/ada.vmmimage",
        )
    return path


def _duration(given: Given, name: str) -> timedelta:
    text = str(given.get(name) or "")
    try:
        return read_duration(text) if text else timedelta()
    except ValueError as wrong:
        raise UsageError(
            f"Variable 'image_store_{name}': {wrong}", hint=f"-e image_store_{name}=14d"
        ) from wrong
