"""``vmm ua``: applications on VMs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from vmm_automation.cli.door import Door, Reply, fields, operation, table
from vmm_automation.cli.ua_publish_commands import add_to, changes


@click.group("ua")
def command() -> None:
    """Applications (UAs) on VMs: publish, deliver, activate, install, update, go back, remove, compare.

    Example: vmm ua install radicale
    """


add_to(command)
_ua = click.argument("ua")
_vms = click.option("--vm", "vms", multiple=True, metavar="NAME", help="Only this VM; may be repeated.")
_batch = click.option("--batch", default="", metavar="N,…", help="How many VMs at a time (1,10%,50%).")
_limit = click.option(
    "--max-failures", type=click.IntRange(min=0), default=0, help="Begin no other VM after so many failures."
)
_force = click.option("--force", is_flag=True, help="VMs in a session of another UA too.")
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


@operation(command, "validate")
@click.argument("ua", default="")
def validate(door: Door, ua: str) -> Reply:
    """Check a UA definition (all, if none is named) and list every error with its place; nothing is touched.

    Example: vmm ua validate radicale
    """
    from vmm_automation.operations.ua_catalogue import validated

    result = validated(door.context, ua)
    return Reply(result, "\n".join(f"{name}: valid" for name in result["valid"]))


@operation(command, "show")
@_ua
def show(door: Door, ua: str) -> Reply:
    """Show a UA: its definition, versions, published revisions, and the VMs that have it.

    Example: vmm ua show radicale
    """
    from vmm_automation.operations.ua_catalogue import shown

    result = shown(door.context, ua)
    return Reply(result, _shown(result))


@operation(command, "install", changes=True)
@_ua
@_version
@_vms
@_batch
@_limit
@_force
def install(door: Door, ua: str, version: str, vms: tuple[str, ...], **rollout: Any) -> Reply:
    """Deliver a version of a UA to VMs (all, if none is named) and make it the active one there.

    Example: vmm ua install radicale --version 3.2.3 --vm vm-1
    """
    more = {f"ua_{name}": value for name, value in rollout.items()}
    return _told(door, "ua_install", ua, version, vms, more)


@operation(command, "update", changes=True)
@_ua
@_version
@_vms
@_batch
@_limit
@_force
def update(door: Door, ua: str, version: str, vms: tuple[str, ...], **rollout: Any) -> Reply:
    """Bring VMs that have a UA to another version; the old one stays there, inactive.

    Example: vmm ua update radicale --vm vm-2
    """
    more = {f"ua_{name}": value for name, value in rollout.items()}
    return _told(door, "ua_update", ua, version, vms, more)


@operation(command, "deliver", changes=True)
@_ua
@_version
@_vms
def deliver(door: Door, ua: str, version: str, vms: tuple[str, ...]) -> Reply:
    """Bring a version of a UA to VMs beside what is there; which one is active stays as it is.

    Example: vmm ua deliver radicale --version 3.5.4
    """
    return _told(door, "ua_deliver", ua, version, vms)


@operation(command, "activate", changes=True)
@_ua
@_version
@_vms
def activate(door: Door, ua: str, version: str, vms: tuple[str, ...]) -> Reply:
    """Make a version the active one that is delivered already: nothing is sent.

    Example: vmm ua activate radicale --version 3.5.4 --vm vm-1
    """
    return _told(door, "ua_activate", ua, version, vms)


@operation(command, "deactivate", changes=True)
@_ua
@_vms
def deactivate(door: Door, ua: str, vms: tuple[str, ...]) -> Reply:
    """Leave no version of a UA active; what is delivered stays on the VMs.

    Example: vmm ua deactivate radicale --vm vm-1
    """
    return _told(door, "ua_deactivate", ua, "", vms)


@operation(command, "rollback", changes=True)
@_ua
@_vms
def rollback(door: Door, ua: str, vms: tuple[str, ...]) -> Reply:
    """Go back to the version that was active before, by the ledger; a second time nothing more is done.

    Example: vmm ua rollback radicale
    """
    return _told(door, "ua_rollback", ua, "", vms)


@operation(command, "status", changes=True)
@click.argument("ua", default="")
@_vms
@click.option("--repair", is_flag=True, help="Deliver and activate again where VM and ledger differ.")
def status(door: Door, ua: str, vms: tuple[str, ...], repair: bool) -> Reply:
    """Read back what VMs have of a UA (all, if none is named) and say where the ledger differs: drifted.

    Example: vmm ua status radicale --repair
    """
    variables = {"ua_id": ua, "ua_vms": list(vms) or "vms", "ua_repair": repair}
    reply = door.playbook("ua_status", variables)
    headings = ("VM", "UA", "VERSION", "LEDGER", "GUEST", "DRIFTED")
    text = table(headings, list(_status_rows(reply.result)), empty="Nothing is delivered.")
    return Reply(reply.result, text, changed=reply.changed)


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


def _shown(result: dict[str, Any]) -> str:
    ua = result["ua"]
    ports = ", ".join(f"{each['name']} {each['protocol']} {each['port']}" for each in ua["endpoints"])
    probe = ua["probe"]["kind"] if ua["probe"] else ""
    lines = [fields({"id": ua["id"], "name": ua["display_name"], "endpoints": ports, "probe": probe})]
    for version in ua["versions"]:
        sources = [each["source"] for each in version["artifacts"]] + list(version["packages"])
        pairs = {
            "version": version["version"],
            "  kind": version["kind"] + (", withdrawn" if version["withdrawn"] else ""),
            "  licence": version["licence"],
            "  from": ", ".join(sources),
            "  changes": "; ".join(version["changes"]),
            "  active on": ", ".join(version["active_on"]),
        }
        lines.append(fields(pairs))
    for revision in result["revisions"]:
        head = f"revision {revision['revision']}, {revision['published_at']}, {revision['published_by']}"
        log = [changes(each) for each in revision["changelog"]]
        lines.append("\n  ".join([f"{head}: {revision['note']}".rstrip(": "), *log]))
    rows = [(row["vm"], row["version"], row["state"], row["reason"]) for row in result["deployments"]]
    lines.append(table(("VM", "VERSION", "STATE", "REASON"), rows, empty="It is on no VM."))
    return "\n\n".join(lines)


def _status_rows(result: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    for vm, told in result.get("vms", {}).items():
        for ua, found in told["uas"].items():
            for version, state in found["versions"].items():
                yield vm, ua, version, state["ledger"], state["guest"], state["drift"]


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
        f"{name}: {ua} {vm.get('version') or ''} "
        f"{vm.get('reason') or ', '.join(vm['actions']) or 'unchanged'}"
        for name, vm in reply.result.get("vms", {}).items()
    ]
    return Reply(reply.result, "\n".join(lines), changed=reply.changed)
