"""``vmm playbook``: any playbook of the project, with Ansible's own switches."""

from __future__ import annotations

import json

import click

from vmm_automation.cli.door import Door, Reply, operation
from vmm_automation.errors import UsageError


@click.group("playbook")
def command() -> None:
    """Run any playbook of the project.

    Example: vmm playbook run vm_start -e '{"vm_names": ["vm-1"]}'
    """


@operation(command, "run", changes=True)
@click.argument("name")
@click.option("-e", "variables", multiple=True, metavar="KEY=VALUE", help="A variable, or several as JSON.")
@click.option("--limit", "-l", default="", help="Only these hosts, as a pattern of Ansible.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(door: Door, name: str, variables: tuple[str, ...], limit: str, arguments: tuple[str, ...]) -> Reply:
    """Run a playbook by name; what follows -- goes to ansible-playbook unchanged.

    Example: vmm playbook run vm_start -e '{"vm_names": ["vm-1"]}'
    """
    values = dict(pair for text in variables for pair in _pairs(text).items())
    reply = door.playbook(name, values, limit=limit, extra_arguments=arguments)
    return Reply(reply.result, json.dumps(reply.result, indent=2), changed=reply.changed)


def _pairs(text: str) -> dict[str, object]:
    if text.startswith("{"):
        try:
            values = json.loads(text)
        except ValueError as wrong:
            raise UsageError(f"'{text}' is not JSON: {wrong}", hint="-e KEY=VALUE") from wrong
        return dict(values)
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise UsageError(f"'{text}' is not a variable", hint="-e KEY=VALUE")
    return {key: value}
