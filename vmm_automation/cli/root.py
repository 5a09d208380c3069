"""The command tree, loaded noun by noun at first use, and the one place where errors become exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise, takewhile

import click

from vmm_automation import __version__
from vmm_automation.cli.text import printable
from vmm_automation.errors import VmmError

_NOUNS = {
    "vm": "VMs: create, list, show, start, stop, rebuild, delete.",
    "ua": "Applications (UAs) on VMs: list, install, update, remove.",
    "pool": "Pools of VMs kept at hand: list, show, scale, drain, refill.",
    "session": "Sessions: select, open, queue, cancel, list, show, explain, touch, suspend, resume, close.",
    "watcher": "Watchers of a session, and the suspend right.",
    "reconcile": "Bring sessions and their VMs together: what was cut off, restarted or overdue.",
    "image": "User Image Files: capture, deploy, list, verify, diff, restore, pin, prune.",
    "audit": "What was done by whom, and proof that the record is whole.",
    "state": "The state: check, backup, export, import, migrate.",
    "playbook": "Run any playbook of the project.",
    "doctor": "Check this controller and its site; changes nothing.",
}
_USAGE = 2
_CRASHED = 1
_CONFUSED = 141  # as a shell reports a program that wrote to a closed pipe


class _Nouns(click.Group):
    """Members are imported when they are asked for: a pipeline pays the start-up each time."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All nouns, in the order a newcomer meets them."""
        del ctx
        return list(_NOUNS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One noun's group."""
        del ctx
        if cmd_name not in _NOUNS:
            return None
        command: click.Command = import_module(f"vmm_automation.cli.{cmd_name}_commands").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the nouns without importing any."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(_NOUNS.items()))


@click.command(
    cls=_Nouns,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: vmm vm create vm-1 vm-2",
)
@click.version_option(__version__, prog_name="vmm")
def app() -> None:
    """Manage VMs, the applications in them, sessions, Watchers and users' data."""


def run(arguments: Sequence[str]) -> int:
    """Run a command line; returns the exit status (``docs/exit-codes.md``)."""
    try:
        app.main(args=list(arguments), prog_name="vmm", standalone_mode=False)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.exceptions.NoArgsIsHelpError as bare:
        print(bare.format_message(), file=sys.stderr)
        return _USAGE
    except click.UsageError as wrong:
        path = wrong.ctx.command_path if wrong.ctx else "vmm"
        error = VmmError(wrong.format_message(), hint=f"{path} --help")
        return _report(error, arguments, exit_code=_USAGE, kind="UsageError")
    except (click.Abort, KeyboardInterrupt):
        error = VmmError("Ended by the keyboard", hint="run the same command again")
        return _report(error, arguments, exit_code=14, kind="Canceled")
    except VmmError as failure:
        return _report(failure, arguments, exit_code=failure.exit_code, kind=type(failure).__name__)
    except BrokenPipeError:
        sys.stderr.close()
        return _CONFUSED
    return 0


def _report(failure: VmmError, arguments: Sequence[str], *, exit_code: int, kind: str) -> int:
    sys.stdout.flush()
    print(printable(f"Error: {failure.message}"), file=sys.stderr)
    if failure.hint:
        print(printable(f"Hint: {failure.hint}"), file=sys.stderr)
    if _wants_json(arguments):
        error = {**failure.to_document(), "class": kind, "exit_code": exit_code}
        print(json.dumps({"command": _command(arguments), "status": "error", "error": error}, indent=2))
    return exit_code


def _command(arguments: Sequence[str]) -> str:
    """Those words of a command line, right or wrong, that name the command."""
    words: list[str] = []
    member: click.Command | None = app
    for word in arguments:
        member = member.get_command(click.Context(member), word) if isinstance(member, click.Group) else None
        if member is None:
            break
        words.append(word)
    return " ".join(words)


def _wants_json(arguments: Sequence[str]) -> bool:
    ours = list(takewhile(lambda word: word != "--", arguments))  # what follows is Ansible's
    return "--output=json" in ours or ("--output", "json") in pairwise(ours)
