#!/usr/bin/env python3
"""Writes docs/commands.md from the commands themselves; ``--check`` only tells whether it is up to date.

Example: scripts/command_docs.py --check
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from vmm_automation.cli.root import app

TOP = Path(__file__).resolve().parents[1]
TARGET = TOP / "docs" / "commands.md"
HEAD = """\
# Commands

Every command takes `--site DIR` (or `VMM_SITE`; else the site that comes with the project) and
`--output text|json`; every one that changes something takes `--check` too, which only tells what would be
done. With `--output json` there is exactly one document on standard output,
`{"command", "status", "changed", "check", "result"}` or `{"command", "status", "error"}`; progress and prose
are on standard error. Exit codes: [exit-codes.md](exit-codes.md).

*Written by `scripts/command_docs.py` from the commands' own help; change it there.*
"""
#: told once, at the top
SHARED = {"site", "output", "check"}


def leaves(command: click.Command, *words: str) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with the words that name it."""
    if not isinstance(command, click.Group):
        yield " ".join(words), command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        member = command.get_command(context, name)
        if member:
            yield from leaves(member, *words, name)


def section(path: str, command: click.Command) -> str:
    """The Markdown of one command."""
    usage = " ".join(command.collect_usage_pieces(click.Context(command, info_name=path)))
    text, _, example = (command.help or "").partition("Example: ")
    options = [
        parameter
        for parameter in command.params
        if isinstance(parameter, click.Option) and parameter.name not in SHARED
    ]
    lines = [f"### `{path}`", "", " ".join(text.split()), "", "```", f"{path} {usage}".strip(), "```", ""]
    if options:
        lines += ["| option | meaning |", "|---|---|", *[_row(option) for option in options], ""]
    return "\n".join([*lines, f"Example: `{example.strip()}`", ""])


def _row(option: click.Option) -> str:
    metavar = option.make_metavar(click.Context(click.Command("vmm"))).replace("|", "\\|")
    kind = "" if option.is_flag else f" {metavar}"
    notes = [
        option.help or "",
        "Required." if option.required else "",
        "May be repeated." if option.multiple else "",
    ]
    if option.show_default:
        notes.append(f"Default: {option.default}.")
    meaning = " ".join(dict.fromkeys(note for note in notes if note))
    names = ", ".join(option.opts)
    return f"| `{names}{kind}` | {meaning} |"


def document() -> str:
    """All of docs/commands.md."""
    parts = [HEAD]
    noun = ""
    for path, command in leaves(app, "vmm"):
        if path.split()[1] != noun:
            noun = path.split()[1]
            parts.append(f"## {noun}\n")
        parts.append(section(path, command))
    return "\n".join(parts)


def main() -> int:
    """Write, or with ``--check`` compare; status 1 if the file is not as it should be."""
    text = document()
    if "--check" not in sys.argv:
        TARGET.write_text(text, encoding="utf-8")
        return 0
    if TARGET.is_file() and TARGET.read_text(encoding="utf-8") == text:
        return 0
    print("Not up to date: docs/commands.md. Run scripts/command_docs.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
