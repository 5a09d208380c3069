"""What every command shares: its options, how it runs a playbook, and how its reply is shown."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vmm_automation.cli.identity_options import named
from vmm_automation.cli.text import cell, printable
from vmm_automation.errors import UsageError
from vmm_automation.places import Places

if TYPE_CHECKING:
    from vmm_automation.operations.context import Context
    from vmm_automation.operations.identity import Identity
    from vmm_automation.state.store import Engine


@dataclass(frozen=True)
class Reply:
    """What a command answers: the result document, and the same as text for a person."""

    result: dict[str, Any]
    text: str
    changed: bool = False


@dataclass(frozen=True)
class Door:
    """One invocation of a command: which site, how to answer, and whether only to say what would be done.

    ``actor`` is who acts, if somebody was named.
    """

    command: str
    site: Path
    output: str = "text"
    check: bool = False
    actor: str = ""

    def say(self, line: str) -> None:
        """Progress for a person, on standard error."""
        print(printable(line), file=sys.stderr, flush=True)

    @property
    def context(self) -> Context:
        """The site opened for direct operations."""
        return self.acting(self.actor)

    def acting(self, name: str = "", *, token_file: str | None = None) -> Context:
        """The site opened for what somebody does; ``token_file`` unlike None: a Watcher may be acting."""
        from vmm_automation.operations.context import open_context

        token = _token(token_file)
        return open_context(self.site, actor=name, token=token, progress=self.say, door="cli")

    def identity(self, name: str = "", *, token_file: str | None = None) -> Identity:
        """Who acts, for operations that need nothing else of the site than what it says of people."""
        from vmm_automation.operations.actor import os_user
        from vmm_automation.operations.identity import access_of, identify

        access = access_of(self.site)
        return identify(name, login=os_user(), door="cli", access=access, token=_token(token_file))

    @property
    def store(self) -> Engine:
        """The state store alone, for commands that need nothing else: much quicker than the whole site."""
        from vmm_automation.state.open import find_url, open_store

        return open_store(Places.from_environment(), find_url(self.site))

    def _audit_head(self) -> dict[str, Any] | None:
        if self.check:
            return None  # nothing was kept, and asking could create the state
        from vmm_automation.state import audit

        with self.store as store, store.reading() as tx:
            return audit.head(tx).to_document()

    def playbook(self, name: str, variables: Mapping[str, Any], **switches: Any) -> Reply:
        """Run one of the project's playbooks and take its result document; the text is left to the caller."""
        from vmm_automation.cli.playbook_run import run_named
        from vmm_automation.model.names import check_name

        who = {"vmm_actor": check_name("person", self.actor)} if self.actor else {}
        variables = {**who, **variables}
        outcome = run_named(name, variables, site=self.site, check=self.check, say=self.say, **switches)
        return Reply(outcome.result, "", changed=outcome.changed)

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask before destruction; a pipeline without a terminal must say ``--yes``.

        Raises:
            UsageError: there is nobody to ask, or the answer was no.
        """
        if yes or self.check:
            return
        if not sys.stdin.isatty():
            raise UsageError(f"{question} needs to be confirmed", hint="add --yes")
        if not click.confirm(question, default=False, err=True):
            raise UsageError("Nothing was done")

    def show(self, reply: Reply, *, changes: bool = False) -> None:
        """Print the reply: one JSON document, or text.

        A command that ``changes`` something also tells the end of the audit chain, for whoever keeps the
        answer: :func:`vmm_automation.operations.audit_log.verify` takes it as its anchor.
        """
        if self.output == "json":
            result = {key: value for key, value in reply.result.items() if key != "changed"}  # told beside it
            if changes and "audit" not in result:  # of a playbook's, it is
                result["audit"] = self._audit_head()
            document = {
                "command": self.command,
                "status": "ok",
                "changed": reply.changed,
                "check": self.check,
                "result": result,
            }
            print(json.dumps(document, indent=2, default=str))
        elif reply.text:
            print(printable(reply.text))


def _token(file: str | None) -> str:
    if file is None:
        return ""
    from vmm_automation.operations.tokens import presented

    return presented(os.environ, file)


def site_directory(value: str | None) -> Path:
    """The site that a command works on: the option, ``VMM_SITE``, or the one for this machine."""
    named = value or os.environ.get("VMM_SITE")
    if named:
        return Path(named).absolute()
    from vmm_automation.content import default_site

    return default_site()


def operation(
    group: click.Group, name: str, *, changes: bool = False, by_operator: bool = False
) -> Callable[[Callable[..., Reply]], click.Command]:
    """Make a function ``(door, **options) -> Reply`` a command with the options that all commands have.

    What is done ``by_operator`` has ``--as`` besides: the door's ``context`` and ``playbook`` act for whom it
    names.
    """

    def decorate(function: Callable[..., Reply]) -> click.Command:
        @functools.wraps(function)
        def body(
            *arguments: Any,
            site: str | None,
            output: str,
            check: bool = False,
            actor: str = "",
            **options: Any,
        ) -> None:
            command = click.get_current_context().command_path.removeprefix("vmm ")
            door = Door(command, site_directory(site), output, check=check, actor=actor)
            door.show(function(door, *arguments, **options), changes=changes)

        decorated: Callable[..., Any] = body
        if changes:
            decorated = click.option(
                "--check", "-C", is_flag=True, help="Only say what would be done; change nothing."
            )(decorated)
        if by_operator:
            decorated = named("actor")(decorated)
        choice = click.Choice(["text", "json"])
        decorated = click.option("--output", type=choice, default="text", help="How to answer.")(decorated)
        decorated = click.option("--site", metavar="DIR", help="Site directory [env: VMM_SITE].")(decorated)
        return group.command(name)(decorated)

    return decorate


def table(headings: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> str:
    """Aligned columns, or a sentence where there is nothing to list."""
    if not rows:
        return empty
    cells = [list(headings), *[[cell(value) for value in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in cells]
    return "\n".join(line.rstrip() for line in lines)


def fields(pairs: Mapping[str, object]) -> str:
    """One ``name  value`` line for each entry."""
    width = max(len(name) for name in pairs)
    return "\n".join(f"{name.ljust(width)}  {cell(value)}" for name, value in pairs.items())
