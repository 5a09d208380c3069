"""``vmm session select`` and ``explain``: which VM, why that one, and why not another."""

from __future__ import annotations

from typing import Any

import click

from vmm_automation.cli.door import Door, Reply, operation, table
from vmm_automation.cli.identity_options import as_option, token_file_option
from vmm_automation.cli.queue_commands import priority_option
from vmm_automation.cli.terminal_option import terminal_from, terminal_option

_HEADINGS = ("VM", "VERDICT", "SCORE", "NEEDED", "FOUND", "WHY")


def add_to(group: click.Group) -> None:
    """Make both verbs commands of a noun."""

    @operation(group, "select")
    @click.option("--user", required=True, help="Who would use the UA.")
    @click.option("--ua", required=True, help="The UA, a file of the site's uas/.")
    @terminal_option
    @click.option("--version", default="", help="Only this version of the UA.")
    @click.option("--vm", default="", help="Only this VM.")
    @click.option("--avoid", multiple=True, metavar="VM", help="Not this VM; may be repeated.")
    @priority_option
    def select(door: Door, terminal: str, avoid: tuple[str, ...], **wanted: Any) -> Reply:
        """Say which VM a session would get, and why not the others. Claims nothing and changes nothing.

        Example: vmm session select --user ada --ua radicale --terminal phone
        """
        from vmm_automation.operations.session_claim import Request, considered

        request = Request(terminal=terminal_from(terminal), avoid=avoid, **wanted)
        found = considered(door.context, request, report=lambda each: _say(door, each))
        return Reply({"selection": found}, _shown(found, chosen=found["ranked"][0]["vm"]))

    @operation(group, "explain")
    @click.argument("session")
    @as_option
    @token_file_option
    def explain(door: Door, session: str, name: str, token_file: str) -> Reply:
        """Say why a session got its VM, and why not the others, ended or not. A Watcher needs 'view'.

        Example: vmm session explain s-1a2b3c4d
        """
        from vmm_automation.operations.session_listing import explanation

        viewer = door.identity(name, token_file=token_file) if name else None
        found = explanation(door.store, session, viewer=viewer)
        head = f"Session {session} of {found['user']}: {found['ua']} {found['version']} on {found['vm']}"
        return Reply({"explanation": found}, f"{head}\n{_shown(found['selection'], chosen=found['vm'])}")


def _say(door: Door, selection: dict[str, Any]) -> None:
    """The table of a selection that ends in an error; with JSON, the error's details have it all."""
    if door.output == "text":
        door.say(_shown(selection, chosen=""))


def _shown(selection: dict[str, Any], *, chosen: str) -> str:
    """The question, the table with each VM, and what the session uses on the chosen one."""
    ranked = selection.get("ranked", [])
    rows = [_fitting(choice, chosen=chosen) for choice in ranked]
    rows += [
        [each["vm"] or "(any)", each["filter"], "", each["needed"], each["found"], each["sentence"]]
        for each in [*selection.get("terminal", []), *selection.get("rejected", [])]
    ]
    lines = [_uses(choice["uses"]) for choice in ranked if choice["vm"] == chosen and "uses" in choice]
    if left_out := selection.get("left_out"):
        lines.append(f"{left_out} more are not told of")
    if moved := selection.get("moved"):
        lines.append(f"Moved from {moved['from']}, terminal {moved['terminal']}, at {moved['at']}")
    return "\n".join([table(_HEADINGS, rows, empty="No VM was considered."), *lines])


def _fitting(choice: dict[str, Any], *, chosen: str) -> list[object]:
    verdict = "chosen" if choice["vm"] == chosen else "fits"
    terms = (f"{name} {term['points']} ({term['phrase']})" for name, term in choice["terms"].items())
    return [choice["vm"], verdict, choice["score"], "", "", "; ".join(terms)]


def _uses(uses: dict[str, Any]) -> str:
    words = (f"{name.replace('_', ' ')} {value}" for name, value in uses.items() if value)
    return f"Uses {', '.join(words)}"
