"""``vmm state``: whether the state is whole, saving it, and moving it between engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vmm_automation.cli.door import Door, Reply, fields, operation
from vmm_automation.errors import StateUnusable

_File = click.Path(path_type=Path, dir_okay=False)


@click.group("state")
def command() -> None:
    """The state: check it, save it, and move it between SQLite and PostgreSQL.

    Example: vmm state check
    """


@operation(command, "check")
def check(door: Door) -> Reply:
    """Read all of the state and check it. Exit status 8 if something is wrong.

    Example: vmm state check --output json
    """
    from vmm_automation.operations.state_check import check_state

    with door.store as store:
        found = check_state(store)
    problems = found["problems"]
    if problems:
        listed = "".join(f"\n  {problem}" for problem in problems)
        raise StateUnusable(
            f"State '{found['state']}' has {len(problems)} problems:{listed}",
            hint="vmm state export state.jsonl",
            details=found,
        )
    return Reply(found, f"State {found['state']} is whole: {sum(found['rows'].values())} rows")


@operation(command, "backup")
@click.argument("file", type=_File)
def backup(door: Door, file: Path) -> Reply:
    """Save the state to a new FILE while work goes on: a SQLite file, or an export from PostgreSQL.

    Example: vmm state backup /var/backups/vmm-state.db
    """
    from vmm_automation.operations.state_transfer import back_up

    with door.store as store:
        return _told(back_up(store, path=file))


@operation(command, "export")
@click.argument("file", type=_File)
def export(door: Door, file: Path) -> Reply:
    """Write all of the state to a new FILE that an empty state of either engine can be filled from.

    Example: vmm state export /var/backups/vmm-state.jsonl
    """
    from vmm_automation.operations.state_transfer import export_state

    with door.store as store:
        return _told(export_state(store, path=file))


@operation(command, "import", changes=True)
@click.argument("file", type=_File)
def import_(door: Door, file: Path) -> Reply:
    """Fill an empty state from an export; nothing is kept of a FILE that was cut or altered.

    Example: vmm state import /var/backups/vmm-state.jsonl
    """
    from vmm_automation.operations.state_transfer import import_state

    with door.store as store:
        return _told(import_state(store, path=file, check=door.check), changed=True)


@operation(command, "migrate", changes=True)
def migrate(door: Door) -> Reply:
    """Bring an older state up to this version's schema, as any other command does by itself.

    Example: vmm state migrate --check
    """
    from vmm_automation.operations import state_transfer
    from vmm_automation.places import Places
    from vmm_automation.state.open import find_url

    found = state_transfer.migrate(Places.from_environment(), find_url(door.site), check=door.check)
    return _told(found, changed=found["from"] != found["to"])


def _told(found: dict[str, Any], *, changed: bool = False) -> Reply:
    return Reply(found, fields(found), changed=changed)
