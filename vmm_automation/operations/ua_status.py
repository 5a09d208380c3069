"""What guests really have of UAs, beside what the ledger says; one script run per guest tells all."""

from __future__ import annotations

from typing import Any

from vmm_automation.model.ua import Deployment, DeploymentState
from vmm_automation.operations import ua, ua_notes
from vmm_automation.operations.context import Context
from vmm_automation.operations.deployment import active
from vmm_automation.operations.identity import require_operator
from vmm_automation.operations.ua_drift import VersionCompared, compared, repairs
from vmm_automation.operations.ua_lifecycle import deactivated, delivered
from vmm_automation.operations.ua_reports import GuestStatus
from vmm_automation.ports import Guest
from vmm_automation.state import ledger

_Compared = dict[str, list[VersionCompared]]


def told(
    context: Context, guest: Guest, *, ua_id: str = "", repair: bool = False, check: bool = False
) -> dict[str, Any]:
    """What a guest has of a UA (of all, if none is named), by ledger and by the guest itself.

    With ``repair`` differences are mended: what the ledger says is delivered or activated again, and what
    nobody recorded is deactivated where it is active, and recorded.

    Raises:
        NotFound: what is to be delivered again is not in the catalogue any more.
        Conflict: a session uses a UA that is to be mended.
        NotPermitted: to be mended, where the site lists its operators and this is none of them.
    """
    if repair:
        require_operator(context.identity, doing=f"repair UAs on VM '{guest.name}'")
    seen = ua.read_status(guest)
    found = _compare(context, guest, seen, ua_id=ua_id)
    actions: list[str] = []
    if repair:
        for name, versions in found.items():
            for verb, version in repairs(versions):
                _mend(context, guest, seen, name, verb=verb, version=version, check=check)
                actions.append(f"{verb} {name} {version}")
        if actions and not check:
            seen = ua.read_status(guest)
            found = _compare(context, guest, seen, ua_id=ua_id)
    document = {
        "drifted": any(each.drift for versions in found.values() for each in versions),
        "uas": {name: _document(versions, seen, name) for name, versions in found.items()},
        "actions": actions,
    }
    return {"changed": bool(actions), "vms": {guest.name: document}}


def _compare(context: Context, guest: Guest, seen: GuestStatus, *, ua_id: str) -> _Compared:
    with context.store.reading() as tx:
        rows = ledger.for_vm(tx, vm=guest.name)
    recorded: dict[str, list[Deployment]] = {}
    for row in rows:
        recorded.setdefault(row.ua, []).append(row)
    standing = {row.ua for row in rows if row.state is not DeploymentState.REMOVED}
    names = [ua_id] if ua_id else sorted(standing | set(seen.uas))
    return {name: compared(recorded.get(name, []), seen.ua(name)) for name in names}


def _mend(
    context: Context, guest: Guest, seen: GuestStatus, name: str, *, verb: str, version: str, check: bool
) -> None:
    if verb == "activate":
        active(context, guest, ua_id=name, version=version, again=True, check=check)
    elif verb == "deliver":
        delivered(context, guest, ua_id=name, version=version, again=True, check=check)
    elif verb == "deactivate":
        deactivated(context, guest, ua_id=name, check=check)
    elif not check:
        digest = seen.ua(name).versions[version]
        ua_notes.delivered(context, guest, ua_id=name, version=version, digest=digest)


def _document(versions: list[VersionCompared], seen: GuestStatus, name: str) -> dict[str, Any]:
    there = seen.ua(name)
    return {
        "active": there.active or None,
        "service": there.service or None,
        "unfinished": there.unfinished,
        "versions": {each.version: each.to_document() for each in versions},
    }
