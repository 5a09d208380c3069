"""``vmm ua``: applications on VMs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from vmm_automation.cli import ua_publish_commands, ua_rollout_commands
from vmm_automation.cli.door import Door, Reply, fields, operation, table
from vmm_automation.cli.ua_publish_commands import changes
from vmm_automation.cli.ua_rollout_commands import drain, from_where, meant, targets, terms, told, variables


@click.group("ua")
def command() -> None:
    """Applications (UAs) on VMs: publish, deliver, activate, install, update, go back, remove, compare.

    Example: vmm ua install radicale
    """


_ua = click.argument("ua")
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


@operation(command, "install", changes=True, by_operator=True)
@_ua
@_version
@targets
@terms
def install(door: Door, ua: str, version: str, **options: Any) -> Reply:
    """Deliver a version of a UA to VMs (all, if none is named) and make it the active one there.

    Example: vmm ua install radicale --version 3.2.3 --vm vm-1
    """
    asked = _wanted(ua, version, options) | variables(options)
    return told(door, "ua_install", asked)


@operation(command, "update", changes=True, by_operator=True)
@_ua
@_version
@targets
@terms
def update(door: Door, ua: str, version: str, **options: Any) -> Reply:
    """Bring VMs that have a UA to another version; the old one stays there, inactive.

    Example: vmm ua update radicale --vm vm-2
    """
    asked = _wanted(ua, version, options) | variables(options)
    return told(door, "ua_update", asked)


@operation(command, "deliver", changes=True, by_operator=True)
@_ua
@_version
@targets
def deliver(door: Door, ua: str, version: str, **options: Any) -> Reply:
    """Bring a version of a UA to VMs beside what is there; which one is active stays as it is.

    Example: vmm ua deliver radicale --version 3.5.4
    """
    return told(door, "ua_deliver", _wanted(ua, version, options))


@operation(command, "activate", changes=True, by_operator=True)
@_ua
@_version
@targets
def activate(door: Door, ua: str, version: str, **options: Any) -> Reply:
    """Make a version the active one that is delivered already: nothing is sent.

    Example: vmm ua activate radicale --version 3.5.4 --vm vm-1
    """
    return told(door, "ua_activate", _wanted(ua, version, options))


@operation(command, "deactivate", changes=True, by_operator=True)
@_ua
@targets
def deactivate(door: Door, ua: str, **options: Any) -> Reply:
    """Leave no version of a UA active; what is delivered stays on the VMs.

    Example: vmm ua deactivate radicale --vm vm-1
    """
    return told(door, "ua_deactivate", _wanted(ua, "", options))


@operation(command, "rollback", changes=True, by_operator=True)
@_ua
@targets
def rollback(door: Door, ua: str, **options: Any) -> Reply:
    """Go back to the version that was active before, by the ledger; a second time nothing more is done.

    Example: vmm ua rollback radicale
    """
    return told(door, "ua_rollback", _wanted(ua, "", options))


@operation(command, "status", changes=True, by_operator=True)
@click.argument("ua", default="")
@targets
@click.option("--repair", is_flag=True, help="Deliver and activate again where VM and ledger differ.")
def status(door: Door, ua: str, repair: bool, **options: Any) -> Reply:
    """Read back what VMs have of a UA (all, if none is named) and say where the ledger differs: drifted.

    Example: vmm ua status radicale --repair
    """
    reply = door.playbook("ua_status", {**_wanted(ua, "", options), "ua_repair": repair})
    headings = ("VM", "UA", "VERSION", "LEDGER", "GUEST", "DRIFTED")
    text = table(headings, list(_status_rows(reply.result)), empty="Nothing is delivered.")
    return Reply(reply.result, text, changed=reply.changed)


@operation(command, "remove", changes=True, by_operator=True)
@_ua
@click.option("--version", default="", help="Only this version; all if left out.")
@targets
@drain
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(door: Door, ua: str, version: str, yes: bool, **options: Any) -> Reply:
    """Remove a UA from VMs (all, if none is named); users' stored images stay.

    Example: vmm ua remove radicale --vm vm-1 --yes
    """
    door.confirm(f"Remove UA '{ua}' from {from_where(options)}?", yes=yes)
    asked = _wanted(ua, version, options) | variables(options)
    return told(door, "ua_remove", {**asked, "ua_allow_destroy": True})


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
    for vm, each in result.get("vms", {}).items():
        for ua, found in each["uas"].items():
            for version, state in found["versions"].items():
                yield vm, ua, version, state["ledger"], state["guest"], state["drift"]


def _wanted(ua: str, version: str, options: dict[str, Any]) -> dict[str, Any]:
    return {"ua_id": ua, "ua_version": version, **meant(options)}


ua_publish_commands.add_to(command)
command.add_command(ua_rollout_commands.command)
