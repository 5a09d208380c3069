"""UAs on VMs: what is asked for is checked and fetched once, done on each guest, and noted in the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vmm_automation.adapters.artifacts import fetch_artifacts
from vmm_automation.adapters.bundles import Bundle, build_bundle
from vmm_automation.errors import Conflict, NotFound, UsageError, VmmError
from vmm_automation.model.ua import DeploymentState, UaDefinition, UaVersion
from vmm_automation.model.vm import VmState
from vmm_automation.operations import ua
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import vm_change
from vmm_automation.ports import Guest
from vmm_automation.state import ledger, sessions
from vmm_automation.trace import point

_ALL = ("vms", "all", "")


def checked(context: Context, names: Sequence[str], *, ua_id: str, version: str = "") -> dict[str, Any]:
    """Refuse a request that names a UA, a version or VMs which are not there or do not run.

    ``names`` may be ``vms`` for all VMs of the site.

    Raises:
        NotFound: the UA, its version or a VM does not exist.
        Conflict: a VM does not run.
    """
    definition = context.site.ua(ua_id)
    if version:
        definition.version(version)
    everything = {vm.name: vm for vm in context.hypervisor.vms()}
    wanted = list(everything) if list(names) in [[word] for word in _ALL] or not names else list(names)
    if not wanted:
        raise NotFound("The site has no VMs yet", hint="vmm vm create vm-1")
    for name in wanted:
        vm = everything.get(name) or context.hypervisor.vm(name)
        if vm.state is not VmState.RUNNING:
            raise Conflict(
                f"VM '{name}' is {vm.state}, not running", hint=f"vmm vm start {name}", details={"vm": name}
            )
    return {"changed": False, "ua": ua_id, "targets": wanted}


def prepared(context: Context, names: Sequence[str], *, ua_id: str, version: str = "") -> dict[str, Any]:
    """Check a request and bring to the controller what it delivers, once for all VMs."""
    document = checked(context, names, ua_id=ua_id, version=version)
    definition = context.site.ua(ua_id)
    wanted = definition.version(version or None)
    if wanted.kind != "deb":  # Debian packages are resolved against what the base image has
        bundle = _bundle(context, definition, wanted)
        document["bundle"] = {"digest": bundle.digest, "size": bundle.size}
    return {**document, "version": wanted.version}


def active(
    context: Context,
    guest: Guest,
    *,
    ua_id: str,
    version: str = "",
    update: bool = False,
    check: bool = False,
) -> dict[str, Any]:
    """Deliver a version to a guest and make it the active one; with ``update``, only where one is active.

    Raises:
        Conflict: a session uses the UA there, or (``update``) no version of it is active there.
    """
    definition = context.site.ua(ua_id)
    wanted = definition.version(version or None)
    bundle = _bundle(context, definition, wanted, guest=guest)
    _require_unused(context, guest, ua_id=ua_id, verb="update" if update else "install")
    change = ua.update if update else ua.install
    try:
        done = change(guest, definition=definition, version=wanted, bundle=bundle, check=check)
    except VmmError as failure:
        if not check and not isinstance(failure, Conflict | NotFound | UsageError):
            _note(context, guest, ua_id, wanted.version, DeploymentState.FAILED, reason=failure.message)
        raise
    if not check:
        point("ua.install.activated")
        _note_active(context, guest, ua_id=ua_id, version=wanted.version, digest=bundle.digest)
        point("ua.install.recorded")
    return _per_vm(guest, done)


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
    if not allow_destroy:
        raise UsageError(
            f"Cannot remove UA '{ua_id}': destruction is off unless asked for",
            hint="set ua_allow_destroy=true (vmm: --yes)",
        )
    _require_unused(context, guest, ua_id=ua_id, verb="remove")
    done = ua.remove(guest, ua=ua_id, version=version or None, check=check)
    if not check:
        _note_removed(context, guest, ua_id=ua_id, version=version)
    return _per_vm(guest, done)


def restored(context: Context, guest: Guest, *, check: bool = False) -> dict[str, Any]:
    """Deliver again what the ledger says is active on a guest, as after a rebuild."""
    with context.store.reading() as tx:
        wanted = dict(ledger.active_versions(tx).get(guest.name, {}))
    results = [
        active(context, guest, ua_id=ua_id, version=version, check=check)
        for ua_id, version in sorted(wanted.items())
    ]
    changed = any(result["changed"] for result in results)
    return {"changed": changed, "vms": {guest.name: {"restored": wanted}}}


def _bundle(
    context: Context, definition: UaDefinition, version: UaVersion, *, guest: Guest | None = None
) -> Bundle:
    status = None
    if version.kind == "deb" and guest is not None:
        digest = context.hypervisor.vm(guest.name).base_digest
        status = ua.base_package_status(guest, base_digest=digest[:32], directory=context.places.artifacts)
    files = fetch_artifacts(
        version,
        definition_dir=context.site.directory / "uas",
        directory=context.places.artifacts,
        progress=context.progress,
        package_status=status,
    )
    return build_bundle(definition, version, files=files, directory=context.places.bundles)


def _require_unused(context: Context, guest: Guest, *, ua_id: str, verb: str) -> None:
    with context.store.reading() as tx:
        live = sessions.live_on_vm(tx, vm=guest.name)
    if live and live.ua == ua_id:
        raise Conflict(
            f"Cannot {verb} UA '{ua_id}' on VM '{guest.name}': session '{live.id}' uses it",
            hint=f"vmm session close {live.id}",
            details={"vm": guest.name, "session": live.id},
        )


def _note(
    context: Context, guest: Guest, ua_id: str, version: str, state: DeploymentState, *, reason: str
) -> None:
    with context.store.transaction() as tx:
        now = context.clock.now()
        with vm_change(tx, context, guest.name, part=ua_id, action="ua.fail", now=now) as result:
            ledger.record(tx, vm=guest.name, ua=ua_id, version=version, state=state, reason=reason, now=now)
            result |= {"version": version, "status": "failed"}


def _note_removed(context: Context, guest: Guest, *, ua_id: str, version: str) -> None:
    with context.store.transaction() as tx:
        now = context.clock.now()
        found = [each for each in ledger.for_vm(tx, vm=guest.name) if each.ua == ua_id]
        gone = [each.version for each in found if version in {"", each.version}]
        with vm_change(tx, context, guest.name, part=ua_id, action="ua.absent", now=now) as result:
            for each in gone:
                removed = DeploymentState.REMOVED
                ledger.record(tx, vm=guest.name, ua=ua_id, version=each, state=removed, now=now)
            result |= {"versions": gone, "status": "ok"}


def _note_active(context: Context, guest: Guest, *, ua_id: str, version: str, digest: str) -> None:
    """One version active; another that was active is inactive now."""
    with context.store.transaction() as tx:
        now = context.clock.now()
        with vm_change(tx, context, guest.name, part=ua_id, action="ua.active", now=now) as result:
            ledger.record(
                tx,
                vm=guest.name,
                ua=ua_id,
                version=version,
                state=DeploymentState.ACTIVE,
                digest=digest,
                now=now,
            )
            result |= {"version": version, "digest": digest, "status": "ok"}


def _per_vm(guest: Guest, done: dict[str, Any]) -> dict[str, Any]:
    shown = {key: value for key, value in done.items() if key not in {"changed", "check"}}
    return {"changed": done["changed"], "vms": {guest.name: shown}}


def catalogue(context: Context) -> list[dict[str, Any]]:
    """The UAs that the site defines, and on which VMs each version is active."""
    with context.store.reading() as tx:
        on_vms = ledger.active_versions(tx)
    return [
        {
            "id": definition.id,
            "display_name": definition.display_name,
            "versions": [
                {
                    "version": version.version,
                    "kind": version.kind,
                    "data_version": version.data_version,
                    "active_on": sorted(
                        vm for vm, uas in on_vms.items() if uas.get(definition.id) == version.version
                    ),
                }
                for version in definition.versions
            ],
        }
        for definition in context.site.uas.values()
    ]
