"""The steps of a UA's life on a VM one by one: delivered, activated, deactivated, back to what was before.

All of it is an operator's (NotPermitted).
"""

from __future__ import annotations

from typing import Any

from vmm_automation.errors import Conflict, NotFound, VmmError
from vmm_automation.model.ua import UaDefinition
from vmm_automation.operations import ua, ua_notes
from vmm_automation.operations.context import Context
from vmm_automation.operations.deployment import bundle_for, per_vm, require_unused
from vmm_automation.operations.identity import require_operator
from vmm_automation.operations.ua_offer import offered_ua
from vmm_automation.operations.ua_role import with_role
from vmm_automation.ports import Guest
from vmm_automation.state import ledger


def delivered(
    context: Context, guest: Guest, *, ua_id: str, version: str = "", again: bool = False, check: bool = False
) -> dict[str, Any]:
    """Bring a version to a guest beside what is there; which one is active stays as it is.

    ``again`` brings back what was there before, be it withdrawn.

    Raises:
        Conflict: the version was withdrawn; or it is the active one, with other content, and a session uses
            it.
    """
    require_operator(context.identity, doing=f"deliver UA '{ua_id}'")
    definition = offered_ua(context, ua_id)
    wanted = definition.version(version) if again else definition.offered(version or None)
    bundle = bundle_for(context, definition, wanted, guest=guest)
    there = ua.read_status(guest).ua(ua_id)
    if there.active == wanted.version and there.versions.get(wanted.version) != bundle.digest:
        require_unused(context, guest, ua_id=ua_id, verb="deliver")
    done = with_role(
        context,
        guest,
        definition=definition,
        version=wanted,
        install=lambda only: ua.install(
            guest, definition=definition, version=wanted, bundle=bundle, check=only, activate=False
        ),
        check=check,
    )
    if not check:
        ua_notes.delivered(context, guest, ua_id=ua_id, version=wanted.version, digest=bundle.digest)
    return per_vm(guest, done)


def activated(
    context: Context, guest: Guest, *, ua_id: str, version: str = "", check: bool = False
) -> dict[str, Any]:
    """Make a version the active one that is delivered already (the newest of the site, if none is named).

    Raises:
        NotFound: it is not delivered there.
        Conflict: a session uses the UA there, or the version was withdrawn.
    """
    require_operator(context.identity, doing=f"activate UA '{ua_id}'")
    definition = offered_ua(context, ua_id)
    wanted = version or definition.offered().version
    _require_offered(definition, wanted)
    return _switched(context, guest, ua_id=ua_id, version=wanted, verb="activate", check=check)


def deactivated(context: Context, guest: Guest, *, ua_id: str, check: bool = False) -> dict[str, Any]:
    """Leave no version active on a guest; what is delivered stays.

    Raises:
        Conflict: a session uses the UA there.
    """
    require_operator(context.identity, doing=f"deactivate UA '{ua_id}'")
    require_unused(context, guest, ua_id=ua_id, verb="deactivate")
    done = ua.deactivate(guest, ua=ua_id, check=check)
    if not check:
        ua_notes.inactive(context, guest, ua_id=ua_id)
    return per_vm(guest, done)


def rolled_back(context: Context, guest: Guest, *, ua_id: str, check: bool = False) -> dict[str, Any]:
    """Go back to the version that was active before, by the ledger; asked again, nothing more is done.

    Raises:
        NotFound: no other version was active there before, or it is not delivered any more.
        Conflict: a session uses the UA there, or that version was withdrawn.
    """
    require_operator(context.identity, doing=f"roll back UA '{ua_id}'")
    with context.store.reading() as tx:
        target = ledger.way_back(tx, vm=guest.name, ua=ua_id)
        now_active = ledger.active_versions(tx).get(guest.name, {}).get(ua_id, "")
    if target is None:
        raise NotFound(
            f"Cannot roll back UA '{ua_id}' on VM '{guest.name}': no other version was active there before",
            hint=f"vmm ua status {ua_id} --vm {guest.name}",
            details={"host": guest.name, "ua": ua_id},
        )
    if target.version != now_active:
        _require_offered(offered_ua(context, ua_id), target.version)
    reason = target.reason if target.version == now_active else f"{ledger.RETURNED}{now_active or 'none'}"
    return _switched(
        context, guest, ua_id=ua_id, version=target.version, verb="roll back", check=check, reason=reason
    )


def _require_offered(definition: UaDefinition, version: str) -> None:
    """A version that the site does not define any more may still be switched to: it is there."""
    if any(each.version == version for each in definition.versions):
        definition.offered(version)


def _switched(
    context: Context, guest: Guest, *, ua_id: str, version: str, verb: str, check: bool, reason: str = ""
) -> dict[str, Any]:
    require_unused(context, guest, ua_id=ua_id, verb=verb)
    definition = context.site.ua(ua_id)
    try:
        probe = not reason  # a way back is not tried out: there is nothing better to return to
        done = ua.activate(guest, definition=definition, version=version, check=check, probe=probe)
    except VmmError as failure:
        if not check and not isinstance(failure, Conflict | NotFound):
            ua_notes.failed(context, guest, ua_id=ua_id, version=version, failure=failure)
        raise
    if not check:
        ua_notes.active(context, guest, ua_id=ua_id, version=version, reason=reason)
    return per_vm(guest, done)
