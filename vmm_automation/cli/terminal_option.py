"""The terminal of a request, as a command takes it: a name, a file, or standard input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

terminal_option = click.option(
    "--terminal", default="desktop", show_default=True, help="A file of the site's terminals/, a path, or -."
)


def terminal_from(value: str) -> str | dict[str, Any]:
    """A profile's name, or the profile itself from a file or standard input.

    Raises:
        NotFound: there is no such file.
        TerminalInvalid: what was read is not a mapping.
    """
    if value != "-" and "/" not in value and not value.endswith((".yml", ".yaml", ".json")):
        return value
    from vmm_automation.errors import NotFound, TerminalInvalid
    from vmm_automation.schema.yaml_text import MAX_BYTES, decode_mapping, read_mapping

    try:
        if value == "-":
            mapping, errors = decode_mapping(sys.stdin.buffer.read(MAX_BYTES + 1), where="standard input")
        else:
            mapping, errors = read_mapping(Path(value), where=value)
    except FileNotFoundError as absent:
        raise NotFound(
            f"Terminal profile '{value}' does not exist", hint=f"ls {Path(value).parent}"
        ) from absent
    if mapping is None:
        raise TerminalInvalid(
            f"Terminal profile '{value}' cannot be used: {'; '.join(errors)}",
            hint="vmm session open --help",
            details={"errors": errors},
        )
    return dict(mapping)
