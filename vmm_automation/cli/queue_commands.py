"""``vmm session queue`` and ``cancel``: the requests that wait for a VM."""

from __future__ import annotations

from typing import Any

import click

from vmm_automation.cli.door import Door, Reply, operation, table
from vmm_automation.cli.identity_options import as_option

_WAIT_S = 600
_KEYS = ("position", "request", "priority", "user", "ua", "terminal", "waited_s", "deadline_at")

wait_option = click.option(
    "--wait",
    "wait_s",
    type=click.IntRange(0, 7 * 86400),
    is_flag=False,
    flag_value=_WAIT_S,
    default=0,
    metavar="[SECONDS]",
    help=f"Wait for a VM if none is free; {_WAIT_S} seconds where no number follows.",
)
priority_option = click.option(
    "--priority", type=click.IntRange(0, 9), default=0, help="The larger is served first; by default 0."
)


def add_to(group: click.Group) -> None:
    """Make both verbs commands of a noun."""

    @operation(group, "queue")
    def queue(door: Door) -> Reply:
        """List the requests that wait for a VM, in the order in which they are served.

        Example: vmm session queue
        """
        from vmm_automation.adapters.clock import SystemClock
        from vmm_automation.operations.session_queue import queue

        found = queue(door.store, SystemClock())
        rows = [[request[key] for key in _KEYS] for request in found]
        headings = [key.removesuffix("_at").upper() for key in _KEYS]
        return Reply({"queue": found}, table(headings, rows, empty="No request waits."))

    @operation(group, "cancel", changes=True)
    @click.argument("request")
    @as_option
    def cancel(door: Door, request: str, name: str) -> Reply:
        """Take a waiting request out of the queue; the command that waits ends with exit code 14.

        Example: vmm session cancel r-1a2b3c4d
        """
        from vmm_automation.operations.session_queue import cancel

        done: dict[str, Any] = cancel(door.acting(name), request, check=door.check)
        text = f"Request {request} of {done['request']['user']} waits no longer"
        return Reply({"request": done["request"]}, text, changed=done["changed"])
