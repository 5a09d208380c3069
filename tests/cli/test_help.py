"""The help of the whole command tree."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest

from vmm_automation.cli.root import app

_EXAMPLE = re.compile(r"Example: (vmm .*?)(?:\n\s*\n|\Z)", re.DOTALL)


def tree(command: click.Command, *words: str) -> Iterator[tuple[str, click.Command]]:
    yield " ".join(words), command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            member = command.get_command(context, name)
            assert member is not None
            yield from tree(member, *words, name)


TREE = dict(tree(app, "vmm"))


def help_of(path: str) -> str:
    command = TREE[path]
    return command.get_help(click.Context(command, info_name=path, max_content_width=200))


@pytest.mark.parametrize("path", TREE)
def test_help_ends_with_an_example_that_parses(path: str) -> None:
    """What the help tells to type is accepted by the parser: the command exists, and so do its options."""
    found = _EXAMPLE.search(help_of(path))
    assert found, f"{path} has no example"
    words = shlex.split(found[1])
    command: click.Command = app
    context = click.Context(app, info_name="vmm")
    rest = words[1:]
    while isinstance(command, click.Group):
        member = command.get_command(context, rest[0])
        assert member, f"{rest[0]} is not a command"
        command, rest = member, rest[1:]
    command.make_context(command.name, rest)  # parses, runs nothing
    if not isinstance(TREE[path], click.Group):
        assert found[1].startswith(path)


@pytest.mark.parametrize("path", [path for path, command in TREE.items() if path != "vmm"])
def test_every_command_has_a_summary(path: str) -> None:
    """Each command says in one sentence what it does."""
    summary = TREE[path].get_short_help_str(200)
    assert summary[:1].isupper()
    assert summary.endswith((".", "..."))


LEAVES = [path for path, command in TREE.items() if not isinstance(command, click.Group)]
READING = {"diff", "list", "validate", "show", "history", "doctor", "log", "verify", "check", "backup"}
READING |= {"export", "explain", "select", "queue", "preview"}
#: hands a user's data out, and leaves an entry
NOT_READING = {"vmm image export"}


@pytest.mark.parametrize("path", LEAVES)
def test_every_command_has_the_options_that_all_have(path: str) -> None:
    """Site and output can be told to every command, a dry run to every one that changes something."""
    options = {name for parameter in TREE[path].params for name in parameter.opts}
    assert {"--site", "--output"} <= options
    reading = path.split()[-1] in READING and path not in NOT_READING
    assert ("--check" in options) == (not reading)


@pytest.mark.parametrize("path", LEAVES)
def test_every_option_says_what_it_is(path: str) -> None:
    """No option without help, but those whose choices say it all."""
    for parameter in TREE[path].params:
        if isinstance(parameter, click.Option):
            assert parameter.help or isinstance(parameter.type, click.Choice), parameter.name
