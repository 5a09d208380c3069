"""``vmm ua``: applications on VMs."""

from __future__ import annotations

from typing import Any

import click

from vmm_automation.cli.door import Door, Reply, operation, table


@click.group("ua")
def command() -> None:
    """Applications (UAs) on VMs: list, install, update, remove.

    Example: vmm ua install radicale
    """


_ua = click.argument("ua")
_vms = click.option("--vm", "vms", multiple=True, metavar="NAME", help="Only this VM; may be repeated.")
_version = click.option("--version", default="", help="The version; the newest if left out.")


@operation(command, "list")
def list_(door: Door) -> Reply:
    """List the UAs of the site, their versions, and where which is active.

    Example: vmm ua list
    """
    from vmm_automation.operations.deployment import catalogue

    uas = catalogue(door.context)
    rows = [
        (ua["id"], version["version"], version["kind"], ", ".join(version["active_on"]))
        for ua in uas
        for version in ua["versions"]
    ]
    return Reply(
        {"uas": uas}, table(("UA", "VERSION", "KIND", "ACTIVE ON"), rows, empty="The site defines no UAs.")
    )


@operation(command, "install", changes=True)
@_ua
@_version
@_vms
def install(door: Door, ua: str, version: str, vms: tuple[str, ...]) -> Reply:
    """Deliver a version of a UA to VMs (all, if none is named) and make it the active one there.

    Example: vmm ua install radicale --version 3.2.3 --vm vm-1
    """
    return _told(door, "ua_install", ua, version, vms)


@operation(command, "update", changes=True)
@_ua
@_version
@_vms
def update(door: Door, ua: str, version: str, vms: tuple[str, ...]) -> Reply:
    """Bring VMs that have a UA to another version; the old one stays there, inactive.

    Example: vmm ua update radicale --vm vm-2
    """
    return _told(door, "ua_update", ua, version, vms)


@operation(command, "remove", changes=True)
@_ua
@click.option("--version", default="", help="Only this version; all if left out.")
@_vms
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(door: Door, ua: str, version: str, vms: tuple[str, ...], yes: bool) -> Reply:
    """Remove a UA from VMs (all, if none is named); users' stored images stay.

    Example: vmm ua remove radicale --vm vm-1 --yes
    """
    door.confirm(f"Remove UA '{ua}' from {', '.join(vms) or 'all VMs'}?", yes=yes)
    return _told(door, "ua_remove", ua, version, vms, {"ua_allow_destroy": True})


def _told(
    door: Door,
    playbook: str,
    ua: str,
    version: str,
    vms: tuple[str, ...],
    more: dict[str, Any] | None = None,
) -> Reply:
    variables = {"ua_id": ua, "ua_version": version, "ua_vms": list(vms) or "vms", **(more or {})}
    reply = door.playbook(playbook, variables)
    lines = [
        f"{name}: {ua} {vm.get('version') or ''} {', '.join(vm['actions']) or 'unchanged'}"
        for name, vm in reply.result.get("vms", {}).items()
    ]
    return Reply(reply.result, "\n".join(lines), changed=reply.changed)
