"""UA deliveries on one guest: install, update, activate, remove, start, stop and what is there.

A bundle is delivered beside the versions that are there, then one link is switched to it; the version before
stays delivered and inactive until it is removed, so going back costs one switch. Reading what a guest has
costs one script run, changing it one more and (for a version that is not there) one file; where nothing of
the UA is known to be there, and the version is small, all of it is one run. Every function with
``check`` reads only when ``check`` is true, and then returns as ``actions`` exactly what it would do.

Results are JSON-safe: ``changed``, ``check``, ``actions`` (done, or with ``check`` planned), ``ua``,
``version``, and where it says something ``previous``, the version that was active before.

Raised by all of them: GuestUnreachable where SSH does not answer; DiskFull where the guest has no space left;
TaskFailed with ``host``, ``step`` and ``stderr`` in its details where a step failed.
"""

from __future__ import annotations

from typing import Any

from vmm_automation.adapters.bundles import Bundle
from vmm_automation.errors import Conflict, NotFound, TaskFailed
from vmm_automation.model.names import check_name
from vmm_automation.model.ua import UaDefinition, UaVersion
from vmm_automation.operations import ua_scripts
from vmm_automation.operations.ua_packages import as_it_would_be
from vmm_automation.operations.ua_plans import plan_activate, plan_deactivate, plan_install, plan_remove
from vmm_automation.operations.ua_reports import (
    GuestStatus,
    UaOnGuest,
    active_before,
    changes,
    parse_status,
    raise_failure,
)
from vmm_automation.operations.ua_transfer import goes_along, room_for, send
from vmm_automation.ports import Guest
from vmm_automation.trace import point


def status(guest: Guest) -> dict[str, Any]:
    """Everything delivered to a guest: versions, which is active, what its service does; one script run."""
    return read_status(guest).to_document()


def read_status(guest: Guest) -> GuestStatus:
    """The same as a value."""
    result = guest.run(ua_scripts.status_script())
    if result.status != 0:
        raise_failure(result, vm=guest.name, ua="*", action="read")
    try:
        return parse_status(result.stdout)
    except (ValueError, LookupError) as unreadable:
        raise TaskFailed(
            f"Cannot read the UAs of VM '{guest.name}': its answer cannot be understood",
            hint=f"vmm vm rebuild {guest.name}",
            details={"host": guest.name, "task": "read", "reason": str(unreadable)},
        ) from unreadable


def install(
    guest: Guest,
    *,
    definition: UaDefinition,
    version: UaVersion,
    bundle: Bundle,
    check: bool = False,
    activate: bool = True,
    first: bool = False,
) -> dict[str, Any]:
    """Deliver a version and make it the active one (unless ``activate`` is false); no change where it is both
    already. With ``first``, nothing of the UA is known to be there: what a guest has is then found out by the
    script that changes it, and a small bundle is its input.

    A running service of another version, or of an older delivery of the same one, is stopped for the switch
    and started again; its port is then listened on when this returns. Where the definition has a probe and it
    does not hold, the version before is active again: ``details['returned']`` names it (``-`` for none).
    """
    wanted: dict[str, Any] = {"definition": definition, "version": version, "bundle": bundle}
    if first and not check and goes_along(bundle):
        return _install_at_once(guest, **wanted, activate=activate)
    return _install(guest, seen=read_status(guest), **wanted, check=check, activate=activate)


def _install(
    guest: Guest,
    *,
    seen: GuestStatus,
    definition: UaDefinition,
    version: UaVersion,
    bundle: Bundle,
    check: bool,
    activate: bool,
) -> dict[str, Any]:
    actions = plan_install(seen, definition=definition, version=version, bundle=bundle, activate=activate)
    previous = seen.ua(definition.id).active
    if check:
        actions = as_it_would_be(
            guest, actions, definition=definition, version=version.version, bundle=bundle
        )
    if check or not actions:
        return _result(definition.id, version.version, actions, check=check, previous=previous)
    if "deliver" in actions:
        send(guest, seen, ua=definition.id, version=version.version, bundle=bundle)
        point("ua.install.sent")
    script = _install_script(definition, version, bundle, activate=activate)
    done = _run(guest, script, ua=definition.id, version=version.version, action="install")
    return _result(definition.id, version.version, done, check=False, previous=previous)


def _install_at_once(
    guest: Guest, *, definition: UaDefinition, version: UaVersion, bundle: Bundle, activate: bool
) -> dict[str, Any]:
    script = _install_script(definition, version, bundle, activate=activate, room=room_for(bundle))
    naming = {"ua": definition.id, "version": version.version}
    said = _said(guest, script, **naming, action="install", stdin=bundle.path.read_bytes())
    return _result(**naming, actions=changes(said), check=False, previous=active_before(said))


def _install_script(
    definition: UaDefinition, version: UaVersion, bundle: Bundle, *, activate: bool, room: int = 0
) -> str:
    return ua_scripts.install_script(
        definition.id,
        version=version.version,
        digest=bundle.digest,
        activate=activate,
        probe=definition.probe,
        room=room,
        **_waiting(definition),
    )


def update(
    guest: Guest, *, definition: UaDefinition, version: UaVersion, bundle: Bundle, check: bool = False
) -> dict[str, Any]:
    """Install a version where another one is active; that one (``previous``) stays delivered and inactive.

    Raises:
        NotFound: no version of the UA is active on the guest.
    """
    seen = read_status(guest)
    if not seen.ua(definition.id).active:
        raise NotFound(
            f"Cannot update UA '{definition.id}' on VM '{guest.name}': no version of it is active there",
            hint=f"vmm ua install {definition.id} --vm {guest.name}",
            details={"host": guest.name, "ua": definition.id},
        )
    return _install(
        guest, seen=seen, definition=definition, version=version, bundle=bundle, check=check, activate=True
    )


def activate(
    guest: Guest, *, definition: UaDefinition, version: str, check: bool = False, probe: bool = True
) -> dict[str, Any]:
    """Switch to a version that is delivered already; a running service is started again with it. Without
    ``probe`` (the way back after an update) it is not tried out.

    Raises:
        NotFound: the version is not delivered to the guest.
    """
    check_name("version", version)
    if check:
        there = read_status(guest).ua(definition.id)
        _require_delivered(guest, there, definition=definition, version=version)
        planned = plan_activate(there, version=version, probe=probe and definition.probe is not None)
        planned = as_it_would_be(guest, planned, definition=definition, version=version)
        return _result(definition.id, version, planned, check=True, previous=there.active)
    tried = definition.probe if probe else None
    script = ua_scripts.switch_script(definition.id, version=version, probe=tried, **_waiting(definition))
    said = _said(guest, script, ua=definition.id, version=version, action="activate")
    return _result(definition.id, version, changes(said), check=False, previous=active_before(said))


def deactivate(guest: Guest, *, ua: str, check: bool = False) -> dict[str, Any]:
    """Leave no version active: its unit goes, its service is stopped; all versions stay delivered."""
    check_name("UA", ua)
    there = read_status(guest).ua(ua)
    actions = plan_deactivate(there)
    if actions and not check:
        actions = _run(guest, ua_scripts.deactivate_script(ua), ua=ua, version="", action="deactivate")
    return _result(ua, there.active or None, actions, check=check)


def remove(guest: Guest, *, ua: str, version: str | None = None, check: bool = False) -> dict[str, Any]:
    """Remove one version, or all of a UA: what was delivered and nothing else. The session account's files
    stay.

    Debian packages go when a delivery brought them and no version of any UA on the guest needs them.

    Raises:
        Conflict: its service runs, and the active version is among those to remove.
    """
    check_name("UA", ua)
    seen = read_status(guest)
    there = seen.ua(ua)
    versions = sorted(there.versions) if version is None else [check_name("version", version)]
    actions = plan_remove(seen, ua=ua, versions=versions)
    if actions and there.running and there.active in versions:
        raise Conflict(
            f"Cannot remove UA '{ua}' from VM '{guest.name}': its service runs",
            hint="vmm session list",
            details={"host": guest.name, "ua": ua, "version": there.active},
        )
    if check or not actions:
        return _result(ua, version, actions, check=check, previous=there.active)
    script = ua_scripts.remove_script(ua, versions=versions)
    done = _run(guest, script, ua=ua, version=version or "", action="remove")
    return _result(ua, version, done, check=False, previous=there.active)


def start(guest: Guest, *, definition: UaDefinition, version: str, check: bool = False) -> dict[str, Any]:
    """Start a delivered version and wait until all its endpoints' ports are listened on; no change if it runs
    already.

    A version that is delivered but inactive is activated first.

    Raises:
        NotFound: the version is not delivered to the guest.
        Conflict: another version runs, or the UA has no command.
        Timeout: a port was not listened on within ``start_deadline_s``; the service was stopped again.
        TaskFailed: the service ended; the end of its journal is in ``details['stderr']``.
    """
    check_name("version", version)
    if not definition.has_service:
        raise Conflict(
            f"Cannot start UA '{definition.id}': it has neither command nor unit to start",
            hint="set 'command' in its definition",
            details={"host": guest.name, "ua": definition.id, "version": version},
        )
    if check:
        there = read_status(guest).ua(definition.id)
        _require_delivered(guest, there, definition=definition, version=version)
        if there.running and there.active != version:
            raise Conflict(
                f"Cannot start UA '{definition.id}' {version} on VM '{guest.name}': {there.active} runs",
                hint="vmm session list",
                details={"host": guest.name, "ua": definition.id, "version": there.active},
            )
        running = there.running and there.active == version
        planned = [] if running else [*([] if there.active == version else ["switch"]), "start"]
        return _result(definition.id, version, planned, check=True)
    script = ua_scripts.start_script(definition.id, version=version, **_waiting(definition))
    done = _run(guest, script, ua=definition.id, version=version, action="start")
    return _result(definition.id, version, done, check=False)


def stop(guest: Guest, *, ua: str, check: bool = False) -> dict[str, Any]:
    """Stop a UA's service; no change if it does not run."""
    check_name("UA", ua)
    if check:
        there = read_status(guest).ua(ua)
        planned = ["stop"] if there.running else ["reset"] if there.service == "failed" else []
        return _result(ua, there.active or None, planned, check=True)
    done = _run(guest, ua_scripts.stop_script(ua), ua=ua, version="", action="stop")
    return _result(ua, None, done, check=False)


def _require_delivered(guest: Guest, there: UaOnGuest, *, definition: UaDefinition, version: str) -> None:
    if version not in there.versions:
        raise NotFound(
            f"UA '{definition.id}' {version} is not delivered to VM '{guest.name}'",
            hint=f"vmm ua install {definition.id} --vm {guest.name}",
            details={"host": guest.name, "ua": definition.id, "version": version},
        )


def _waiting(definition: UaDefinition) -> dict[str, Any]:
    return {
        "ports": [endpoint.port for endpoint in definition.endpoints],
        "deadline_s": definition.start_deadline_s,
    }


def _run(guest: Guest, script: str, *, ua: str, version: str, action: str) -> list[str]:
    return changes(_said(guest, script, ua=ua, version=version, action=action))


def _said(guest: Guest, script: str, *, ua: str, version: str, action: str, stdin: bytes = b"") -> str:
    result = guest.run(script, stdin=stdin)
    if result.status != 0:
        raise_failure(result, vm=guest.name, ua=ua, version=version, action=action)
    return result.stdout


def _result(
    ua: str, version: str | None, actions: list[str], *, check: bool, previous: str = ""
) -> dict[str, Any]:
    document: dict[str, Any] = {"ua": ua, "version": version, "changed": bool(actions), "check": check}
    document["actions"] = actions
    if previous and previous != version:
        document["previous"] = previous
    return document
