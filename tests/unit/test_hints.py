"""What an error tells to type can be typed: the command is there, with such arguments and options."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import vmm_automation
from vmm_automation.cli.root import app

PACKAGE = Path(vmm_automation.__file__).parent
#: what stands for more than one word, or for a word that is not free; any other is "1", a name and a number
WORDS = {
    "act": "delete ann cal --generation 1",
    "mend": "update 1 1 --extend 1h",
    "option": "--add",
    "privilege": "view",
    "verb": "update",
}


def commands() -> Iterator[tuple[str, str]]:
    """Every text of the package that begins as a command line does: where it stands, and the line."""
    for file in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(file.read_text())
        parts = {
            id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                text = "".join(_word(part) for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
                text = node.value
            else:
                continue
            if text.startswith("vmm ") and text.strip() != "vmm":
                yield f"{file.relative_to(PACKAGE)}:{node.lineno}", text


def _word(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    assert isinstance(part, ast.FormattedValue)
    return WORDS.get(ast.unparse(part.value), "1")


HINTS = dict(commands())


def test_hints_are_found() -> None:
    """In plain texts and in those with values, all over the package."""
    assert len(HINTS) > 100


@pytest.mark.parametrize("place", HINTS)
def test_hint_is_a_command_line_that_parses(place: str) -> None:
    """Nothing is run."""
    command: click.Command = app
    words = shlex.split(HINTS[place])[1:]
    while isinstance(command, click.Group) and words != ["--help"]:
        member = command.get_command(click.Context(command), words[0])
        assert member, f"{HINTS[place]}: '{words[0]}' is no command"
        command, words = member, words[1:]
    try:
        command.make_context(command.name, words)
    except click.exceptions.Exit as ended:  # of --help
        assert ended.exit_code == 0
