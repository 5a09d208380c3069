"""``vmm audit``: who did what, and the proof that nobody changed the record of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vmm_automation.cli.door import Door, Reply, operation, table

_HASH_SHOWN = 12


@click.group("audit")
def command() -> None:
    """The audit chain: every change with who made it, from where, and its result.

    Example: vmm audit log --object s-1a2b3c4d
    """


@operation(command, "log")
@click.option("--object", "object_name", default="", metavar="NAME", help="Only of a session, VM or user.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many, the newest.")
def log(door: Door, object_name: str, limit: int) -> Reply:
    """List what was done, oldest first.

    Example: vmm audit log --object s-1a2b3c4d --limit 20
    """
    from vmm_automation.operations import audit_log

    found = audit_log.read(door.store, object_name=object_name, limit=limit)
    rows = [
        (
            event["seq"],
            event["at"][:19] + "Z",
            event["actor"],
            event["from"].get("door") if isinstance(event["from"], dict) else "",
            event["action"],
            event["object"],
            event["hash"][:_HASH_SHOWN],
        )
        for event in found["events"]
    ]
    headings = ("SEQ", "AT", "ACTOR", "DOOR", "ACTION", "OBJECT", "HASH")
    return Reply(found, table(headings, rows, empty="Nothing was done yet."))


@operation(command, "verify")
@click.option("--head", "anchor", default="", metavar="HASH", help="A hash told by an earlier result.")
@click.option("--file", type=click.Path(path_type=Path), help="An export, instead of the state.")
def verify(door: Door, anchor: str, file: Path | None) -> Reply:
    """Prove that no entry was changed, moved or removed; with --head, that none was cut off since then.

    Example: vmm audit verify --file audit.jsonl
    """
    from vmm_automation.operations import audit_log

    found = (
        audit_log.verify_file(file, anchor=anchor) if file else audit_log.verify(door.store, anchor=anchor)
    )
    return Reply(found, f"{found['events']} entries, nothing was changed; the end is {_end(found)}")


@operation(command, "export")
@click.argument("file", type=click.Path(path_type=Path))
def export(door: Door, file: Path) -> Reply:
    """Write all entries into a new file that can be verified anywhere, without the state.

    Example: vmm audit export audit.jsonl
    """
    from vmm_automation.operations import audit_log

    done = audit_log.export(door.store, file)
    return Reply(done, f"{done['events']} entries are in '{file}'; the end is {_end(done)}")


def _end(found: dict[str, Any]) -> str:
    return f"{found['head']['seq']} {found['head']['hash']}"
