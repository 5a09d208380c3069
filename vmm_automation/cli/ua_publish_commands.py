"""``vmm ua publish`` and ``withdraw``: what of the catalogue is offered."""

from __future__ import annotations

from datetime import timedelta

import click

from vmm_automation.cli.door import Door, Reply, operation, table
from vmm_automation.cli.durations import Duration


def add_to(group: click.Group) -> None:
    """Make both verbs commands of a noun."""

    @operation(group, "publish", changes=True, by_operator=True)
    @click.argument("ua")
    @click.option("--version", default="", help="Offer this version again, if it was withdrawn.")
    @click.option("--note", default="", help="What the revision is about; kept with it.")
    def publish(door: Door, ua: str, version: str, note: str) -> Reply:
        """Keep a UA as it is now as a numbered revision, with what is new in it; 'vmm ua show' lists them.

        Example: vmm ua publish radicale --note "calendars by DAV"
        """
        from vmm_automation.operations.ua_publication import published

        result = published(door.context, ua_id=ua, version=version, note=note, check=door.check)
        lines = [f"{ua} revision {result['revision']}", *(changes(each) for each in result["changelog"])]
        return Reply(result, "\n  ".join(lines), changed=result["changed"])

    @operation(group, "withdraw", changes=True, by_operator=True)
    @click.argument("ua")
    @click.option("--version", required=True, help="The version.")
    @click.option("--drain", type=Duration(), default=timedelta(), help="Close its sessions after that long.")
    @click.option("--reason", default="", help="Why; kept with it.")
    def withdraw(door: Door, ua: str, version: str, drain: timedelta, reason: str) -> Reply:
        """Offer a version no more: no session gets it and no VM, and its sessions drain. VMs keep it.

        Example: vmm ua withdraw radicale --version 3.2.3 --drain 2h --reason "CVE-2026-1234"
        """
        from vmm_automation.operations.ua_publication import withdrawn

        seconds = int(drain.total_seconds())
        result = withdrawn(
            door.context, ua_id=ua, version=version, drain_s=seconds, reason=reason, check=door.check
        )
        until = result["drain_until"]
        rows = [(each["id"], each["user"], each["vm"], each["state"], until) for each in result["sessions"]]
        text = table(("SESSION", "USER", "VM", "STATE", "UNTIL"), rows, empty="No session uses it.")
        return Reply(result, text, changed=result["changed"])


def changes(entry: dict[str, object]) -> str:
    """One line of a changelog."""
    told = entry["changes"]
    said = ": " + "; ".join(str(each) for each in told) if isinstance(told, list) and told else ""
    return f"{entry['version'] or 'all versions'} {entry['change']}{said}"
