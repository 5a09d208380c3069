"""What happened to UAs on VMs, written down: the ledger and an audit entry, in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from vmm_automation.errors import VmmError
from vmm_automation.model.ua import DeploymentState
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import vm_change
from vmm_automation.ports import Guest
from vmm_automation.state import ledger
from vmm_automation.state.store import Tx

#: where a failure says that it came before the guest's script had changed anything
_BEFORE = (None, "begin", "deliver")


def failed(context: Context, guest: Guest, *, ua_id: str, version: str, failure: VmmError) -> None:
    """A delivery or an activation did not succeed; what a probe made the VM return to is active.

    What is active by the ledger stays so where the failure came before anything was done in the guest, as
    when that could not be reached.
    """
    returned = str(failure.details.get("returned", ""))
    begun = failure.details.get("step") not in _BEFORE
    with _noting(context, guest, ua_id, "ua.fail") as (tx, now, result):
        result |= {"version": version, "status": "failed", "returned": returned or None}
        untouched = not begun and ledger.active_versions(tx).get(guest.name, {}).get(ua_id) == version
        if returned == version or untouched:  # an older delivery of the same version is active
            return
        ledger.record(
            tx,
            vm=guest.name,
            ua=ua_id,
            version=version,
            state=DeploymentState.FAILED,
            reason=failure.message,
            now=now,
        )


def removed(context: Context, guest: Guest, *, ua_id: str, version: str) -> None:
    """A version (all, if empty) is no longer there."""
    with _noting(context, guest, ua_id, "ua.absent") as (tx, now, result):
        found = [each for each in ledger.for_vm(tx, vm=guest.name) if each.ua == ua_id]
        gone = [each.version for each in found if version in {"", each.version}]
        for each in gone:
            state = DeploymentState.REMOVED
            ledger.record(tx, vm=guest.name, ua=ua_id, version=each, state=state, now=now)
        result |= {"versions": gone, "status": "ok"}


def active(
    context: Context, guest: Guest, *, ua_id: str, version: str, digest: str = "", reason: str = ""
) -> None:
    """One version is active; another that was is inactive now."""
    with _noting(context, guest, ua_id, "ua.active") as (tx, now, result):
        there: dict[str, Any] = {"vm": guest.name, "ua": ua_id, "version": version, "digest": digest}
        ledger.record(tx, **there, state=DeploymentState.ACTIVE, reason=reason, now=now)
        result |= {"version": version, "digest": digest, "status": "ok"}


def delivered(context: Context, guest: Guest, *, ua_id: str, version: str, digest: str) -> None:
    """A version is there; one that is or was active stays that."""
    with _noting(context, guest, ua_id, "ua.delivered") as (tx, now, result):
        rows = {(row.ua, row.version): row for row in ledger.for_vm(tx, vm=guest.name)}
        known = rows.get((ua_id, version))
        kept = known is not None and known.state in (DeploymentState.ACTIVE, DeploymentState.INACTIVE)
        state = known.state if known and kept else DeploymentState.DELIVERED
        reason = known.reason if known and kept else ""
        there: dict[str, Any] = {"vm": guest.name, "ua": ua_id, "version": version, "digest": digest}
        ledger.record(tx, **there, state=state, reason=reason, now=now)
        result |= {"version": version, "digest": digest, "status": "ok"}


def inactive(context: Context, guest: Guest, *, ua_id: str) -> None:
    """No version is active any more."""
    with _noting(context, guest, ua_id, "ua.inactive") as (tx, now, result):
        version = ledger.active_versions(tx).get(guest.name, {}).get(ua_id)
        if version:
            state = DeploymentState.INACTIVE
            ledger.record(tx, vm=guest.name, ua=ua_id, version=version, state=state, now=now)
        result |= {"version": version, "status": "ok"}


@contextmanager
def _noting(
    context: Context, guest: Guest, ua_id: str, action: str
) -> Iterator[tuple[Tx, datetime, dict[str, Any]]]:
    with context.store.transaction() as tx:
        now = context.clock.now()
        with vm_change(tx, context, guest.name, part=ua_id, action=action, now=now) as result:
            yield tx, now, result
