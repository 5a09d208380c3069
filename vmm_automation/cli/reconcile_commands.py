"""``vmm reconcile``: what the state wants and the VMs there are, brought together."""

from __future__ import annotations

from typing import Any

import click

from vmm_automation.cli.door import Door, Reply, operation

_holder = click.Group("vmm")


@operation(_holder, "reconcile", changes=True)
@click.option("--vm", "vms", multiple=True, metavar="VM", help="Only sessions on this VM; may be repeated.")
def command(door: Door, vms: tuple[str, ...]) -> Reply:
    """Bring sessions and their VMs together: finish or undo what was cut off, close what is overdue.

    Example: vmm reconcile --check
    """
    reply = door.playbook("reconcile", {"session_vms": list(vms)})
    lines = [_line(finding) for finding in reply.result.get("findings", [])]
    return Reply(reply.result, "\n".join(lines) or "Sessions and VMs agree", changed=reply.changed)


def _line(finding: dict[str, Any]) -> str:
    of = finding["session"] or finding["vm"]
    return f"{of}: {finding['found']}; wanted: {finding['wanted']}; {finding['action']}"
