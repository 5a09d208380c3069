"""UAs on VMs: what is asked for is checked and fetched once, done on each guest, and noted in the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from vmm_automation.adapters.artifacts import fetch_artifacts
from vmm_automation.adapters.bundles import Bundle, build_bundle
from vmm_automation.adapters.kinds import kind_of
from vmm_automation.errors import Conflict, NotFound, UsageError, VmmError
from vmm_automation.model.ua import DeploymentState, UaDefinition, UaVersion
from vmm_automation.model.vm import VmState
from vmm_automation.operations import ua, ua_notes, vm_facts
from vmm_automation.operations.context import Context
from vmm_automation.operations.identity import require_operator
from vmm_automation.operations.ua_base_packages import base_package_status
from vmm_automation.operations.ua_offer import offered_ua
from vmm_automation.operations.ua_role import with_role, without_role
from vmm_automation.operations.ua_targets import select_targets
from vmm_automation.operations.vm_notes import note_rebuilt
from vmm_automation.ports import Guest
from vmm_automation.state import ledger, publications, sessions, vms
from vmm_automation.trace import point


def checked(
    context: Context,
    names: Sequence[str],
    *,
    ua_id: str,
    version: str = "",
    pool: str = "",
    limit: str = "",
    order: str = "name",
) -> dict[str, Any]:
    """Refuse a request that names a UA (empty: all), a version or VMs which are not there or do not run.

    ``targets`` of the document are the VMs meant, as :func:`ua_targets.select_targets` says, in that order.

    Raises:
        NotFound: the UA, its version, the pool or a VM does not exist.
        Conflict: a VM does not run.
    """
    if pool:
        context.site.pool(pool)
    if ua_id:
        definition = context.site.ua(ua_id)
        if version:
            definition.version(version)
    wanted = select_targets(vm_facts.facts(context), names, pool=pool, limit=limit, order=order)
    for vm in wanted:
        if vm.state is not VmState.RUNNING:
            raise Conflict(
                f"VM '{vm.name}' is {vm.state}, not running",
                hint=f"vmm vm start {vm.name}",
                details={"vm": vm.name},
            )
    return {"changed": False, "ua": ua_id, "targets": [vm.name for vm in wanted]}


def prepared(
    context: Context,
    names: Sequence[str],
    *,
    ua_id: str,
    version: str = "",
    pool: str = "",
    limit: str = "",
    order: str = "name",
) -> dict[str, Any]:
    """Check a request and bring to the controller what it delivers, once for all VMs.

    Raises:
        NotFound, Conflict: as :func:`checked`; the version was withdrawn.
        ArtifactInvalid, ToolMissing, DiskFull: as ``fetch_artifacts``.
    """
    definition = offered_ua(context, ua_id)
    wanted = definition.offered(version or None)
    document = checked(context, names, ua_id=ua_id, version=version, pool=pool, limit=limit, order=order)
    if not kind_of(wanted.kind).needs_base:
        bundle = bundle_for(context, definition, wanted)
        document["bundle"] = {"digest": bundle.digest, "size": bundle.size}
    return {**document, "version": wanted.version}


def active(
    context: Context,
    guest: Guest,
    *,
    ua_id: str,
    version: str = "",
    update: bool = False,
    again: bool = False,
    check: bool = False,
) -> dict[str, Any]:
    """Deliver a version to a guest and make it the active one; with ``update``, only where one is active.

    ``again`` brings back what was there before, be it withdrawn.

    Raises:
        Conflict: a session uses the UA there, the version was withdrawn, or (``update``) no version of it is
            active there.
    """
    definition = offered_ua(context, ua_id)
    wanted = definition.version(version) if again else definition.offered(version or None)
    bundle = bundle_for(context, definition, wanted, guest=guest)
    require_unused(context, guest, ua_id=ua_id, verb="update" if update else "install")
    change = ua.update if update else partial(ua.install, first=_nothing_known(context, guest, ua_id=ua_id))
    try:
        done = with_role(
            context,
            guest,
            definition=definition,
            version=wanted,
            install=lambda only: change(
                guest, definition=definition, version=wanted, bundle=bundle, check=only
            ),
            check=check,
        )
    except VmmError as failure:
        if not check and not isinstance(failure, Conflict | NotFound | UsageError):
            ua_notes.failed(context, guest, ua_id=ua_id, version=wanted.version, failure=failure)
        raise
    if not check:
        point("ua.install.activated")
        ua_notes.active(context, guest, ua_id=ua_id, version=wanted.version, digest=bundle.digest)
        point("ua.install.recorded")
    return per_vm(guest, done)


def _nothing_known(context: Context, guest: Guest, *, ua_id: str) -> bool:
    with context.store.reading() as tx:
        rows = ledger.for_vm(tx, vm=guest.name)
    return all(row.state is DeploymentState.REMOVED for row in rows if row.ua == ua_id)


def absent(
    context: Context,
    guest: Guest,
    *,
    ua_id: str,
    version: str = "",
    allow_destroy: bool,
    check: bool = False,
) -> dict[str, Any]:
    """Remove one version of a UA from a guest, or all; what else is there stays as it is."""
    require_operator(context.identity, doing=f"remove UA '{ua_id}'")
    if not allow_destroy:
        raise UsageError(
            f"Cannot remove UA '{ua_id}': destruction is off unless asked for",
            hint="set ua_allow_destroy=true (vmm: --yes)",
        )
    require_unused(context, guest, ua_id=ua_id, verb="remove")
    done = without_role(
        context,
        guest,
        ua_id=ua_id,
        version=version,
        remove=lambda only: ua.remove(guest, ua=ua_id, version=version or None, check=only),
        check=check,
    )
    if not check:
        ua_notes.removed(context, guest, ua_id=ua_id, version=version)
    return per_vm(guest, done)


def restored(context: Context, guest: Guest, *, check: bool = False) -> dict[str, Any]:
    """Deliver again what the ledger says is active on a guest, as after a rebuild, which this ends."""
    require_operator(context.identity, doing=f"install UAs on VM '{guest.name}'")
    with context.store.reading() as tx:
        wanted = dict(ledger.active_versions(tx).get(guest.name, {}))
        rebuilding = vms.reason(tx, vm=guest.name) == vms.REBUILDING
    results = [
        active(context, guest, ua_id=ua_id, version=version, again=True, check=check)
        for ua_id, version in sorted(wanted.items())
    ]
    if rebuilding and not check:
        note_rebuilt(context, guest.name, told={"restored": wanted})
    changed = rebuilding or any(result["changed"] for result in results)
    return {"changed": changed, "vms": {guest.name: {"restored": wanted}}}


def renewed(context: Context, guest: Guest) -> None:
    """The same on a disk that was just made anew, whose session is about to end on it."""
    with context.store.reading() as tx:
        wanted = ledger.active_versions(tx).get(guest.name, {})
    for ua_id, version in sorted(wanted.items()):
        definition = context.site.ua(ua_id)
        _renew(context, guest, definition, definition.version(version))


def _renew(context: Context, guest: Guest, definition: UaDefinition, version: UaVersion) -> None:
    bundle = bundle_for(context, definition, version, guest=guest)
    with_role(
        context,
        guest,
        definition=definition,
        version=version,
        install=lambda only: ua.install(
            guest, definition=definition, version=version, bundle=bundle, check=only
        ),
        check=False,
    )
    ua_notes.active(context, guest, ua_id=definition.id, version=version.version, digest=bundle.digest)


def bundle_for(
    context: Context, definition: UaDefinition, version: UaVersion, *, guest: Guest | None = None
) -> Bundle:
    """What a version is delivered as, its artifacts fetched and verified; some kinds need the guest."""
    status = None
    if kind_of(version.kind).needs_base and guest is not None:
        digest = context.hypervisor.vm(guest.name).base_digest
        status = base_package_status(guest, base_digest=digest[:32], directory=context.places.artifacts)
    files = fetch_artifacts(
        version,
        definition_dir=context.site.directory / "uas",
        directory=context.places.artifacts,
        progress=context.progress,
        package_status=status,
    )
    return build_bundle(definition, version, files=files, directory=context.places.bundles)


def require_unused(context: Context, guest: Guest, *, ua_id: str, verb: str) -> None:
    """Raises Conflict where a session uses the UA on the VM."""
    with context.store.reading() as tx:
        live = sessions.live_on_vm(tx, vm=guest.name)
    if live and live.ua == ua_id:
        raise Conflict(
            f"Cannot {verb} UA '{ua_id}' on VM '{guest.name}': session '{live.id}' uses it",
            hint=f"vmm session close {live.id}",
            details={"vm": guest.name, "session": live.id},
        )


def per_vm(guest: Guest, done: dict[str, Any]) -> dict[str, Any]:
    """What was done on one guest, as result documents have it."""
    shown = {key: value for key, value in done.items() if key not in {"changed", "check"}}
    return {"changed": done["changed"], "vms": {guest.name: shown}}


def catalogue(context: Context) -> list[dict[str, Any]]:
    """The UAs that the site defines, and on which VMs each version is active."""
    with context.store.reading() as tx:
        on_vms = ledger.active_versions(tx)
        gone = {ua_id: publications.withdrawals(tx, ua=ua_id) for ua_id in context.site.uas}
    return [
        {
            "id": definition.id,
            "display_name": definition.display_name,
            "versions": [
                {
                    "version": version.version,
                    "kind": version.kind,
                    "data_version": version.data_version,
                    "withdrawn": version.version in gone[definition.id],
                    "active_on": sorted(
                        vm for vm, uas in on_vms.items() if uas.get(definition.id) == version.version
                    ),
                }
                for version in definition.versions
            ],
        }
        for definition in context.site.uas.values()
    ]
