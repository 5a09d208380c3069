"""The options by which somebody says who acts, and proves to be a Watcher."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def named(parameter: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option ``--as``, given to a function under a name of its own."""
    return click.option(
        "--as", parameter, metavar="NAME", default="", help="Who acts; left out, your login name."
    )


as_option = named("name")
token_file_option = click.option(
    "--token-file",
    metavar="FILE",
    default="",
    help="The Watcher's token [env: VMM_WATCHER_TOKEN, VMM_WATCHER_TOKEN_FILE].",
)
