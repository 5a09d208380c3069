"""The options by which somebody says who acts, and proves to be a Watcher."""

from __future__ import annotations

import click

as_option = click.option(
    "--as", "name", metavar="NAME", default="", help="Who acts; left out, your login name."
)
token_file_option = click.option(
    "--token-file",
    metavar="FILE",
    default="",
    help="The Watcher's token [env: VMM_WATCHER_TOKEN, VMM_WATCHER_TOKEN_FILE].",
)
