"""``vmm ua rollout``: a rollout that is under way; and the options that begin one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import click

from vmm_automation.cli.door import Door, Reply, fields, operation, table
from vmm_automation.cli.durations import Duration

_vms = click.option("--vm", "vms", multiple=True, metavar="NAME", help="Only this VM; may be repeated.")
_pool = click.option("--pool", default="", metavar="NAME", help="Only VMs of this pool (that run).")
_limit = click.option("--limit", default="", metavar="PATTERN", help="Only VMs that match (vm-1?,!vm-13).")
drain = click.option(
    "--drain", type=Duration(), default=timedelta(), help="Wait that long for a VM's session to end."
)
_terms = (
    click.option("--batch", default="", metavar="N,…", help="How many VMs at a time (1,10%,50%)."),
    click.option("--order", default="name", help="name, oldest, newest, or label:WORD (those first)."),
    click.option(
        "--max-failures",
        type=click.IntRange(min=0),
        default=0,
        help="Begin no other VM after so many failures.",
    ),
    drain,
    click.option("--force", is_flag=True, help="VMs in a session of another UA too (after --drain)."),
    click.option("--plan", is_flag=True, help="Only say what would be done on which VM, without asking any."),
)


def targets(function: Callable[..., Reply]) -> Callable[..., Reply]:
    """The options that say which VMs are meant: ``vms``, ``pool`` and ``limit``."""
    return _vms(_pool(_limit(function)))


def meant(options: dict[str, Any]) -> dict[str, Any]:
    """The role's variables for these options, which are taken from ``options``."""
    named = {"ua_vms": list(options.pop("vms")) or "vms"}
    return {**named, **{f"ua_{key}": options.pop(key) for key in ("pool", "limit")}}


def from_where(options: dict[str, Any]) -> str:
    """The same for a person who is asked."""
    parts = [", ".join(options["vms"]) or "all VMs"]
    parts += [f"of pool '{options['pool']}'"] if options["pool"] else []
    parts += [f"that match '{options['limit']}'"] if options["limit"] else []
    return " ".join(parts)


def terms(function: Callable[..., Reply]) -> Callable[..., Reply]:
    """The options that say how a rollout goes about it."""
    for option in reversed(_terms):
        function = option(function)
    return function


def variables(rollout: dict[str, Any]) -> dict[str, Any]:
    """The role's variables for these options."""
    longest: timedelta = rollout.pop("drain")
    named = {f"ua_{key}": each for key, each in rollout.items()}
    return {**named, "ua_drain_s": int(longest.total_seconds())}


def _plan_table(result: dict[str, Any]) -> str:
    """The plan of a rollout for a person."""
    keys = ("vm", "batch", "active", "version", "does", "why")
    rows = [[step[key] for key in keys] for step in result["plan"]]
    return table([key.upper() for key in keys], rows, empty="There is nothing to do.")


def told(door: Door, playbook: str, asked: dict[str, Any]) -> Reply:
    """Run a playbook of UAs, and tell a person what came of each VM."""
    reply = door.playbook(playbook, asked)
    if asked.get("ua_plan"):
        return Reply(reply.result, _plan_table(reply.result))
    lines = [
        f"{name}: {vm.get('ua') or asked['ua_id']} {vm.get('version') or ''} "
        f"{vm.get('reason') or ', '.join(vm['actions']) or 'unchanged'}"
        for name, vm in reply.result.get("vms", {}).items()
    ]
    return Reply(reply.result, "\n".join(lines), changed=reply.changed)


@click.group("rollout")
def command() -> None:
    """An installation or update of a UA on many VMs: show, pause, resume, stop.

    Example: vmm ua rollout show
    """


@operation(command, "show")
@click.argument("ua", default="")
def show(door: Door, ua: str) -> Reply:
    """Show rollouts that did not end: the terms, and what came of each VM so far.

    Example: vmm ua rollout show radicale
    """
    from vmm_automation.operations.ua_rollout_control import shown

    return _shown(shown(door.context, ua))


@operation(command, "pause", changes=True, by_operator=True)
@click.argument("ua")
def pause(door: Door, ua: str) -> Reply:
    """Begin no other VM; those that are worked on are finished. The run then ends as a partial one.

    Example: vmm ua rollout pause radicale
    """
    from vmm_automation.operations.ua_rollout_control import paused

    return _shown(paused(door.context, ua_id=ua, check=door.check))


@operation(command, "resume", changes=True, by_operator=True)
@click.argument("ua")
def resume(door: Door, ua: str) -> Reply:
    """Go on with a rollout that was paused or cut off: the VMs that are not done, on the same terms.

    Example: vmm ua rollout resume radicale
    """
    return told(door, "ua_rollout_resume", {"ua_id": ua})


@operation(command, "stop", changes=True, by_operator=True)
@click.argument("ua")
def stop(door: Door, ua: str) -> Reply:
    """Give up a rollout that was paused or cut off; what was done on VMs stays.

    Example: vmm ua rollout stop radicale
    """
    from vmm_automation.operations.ua_rollout_control import stopped

    result = stopped(door.context, ua_id=ua, check=door.check)
    return Reply(result, f"No rollout of UA '{ua}' is under way", changed=result["changed"])


def _shown(result: dict[str, Any]) -> Reply:
    parts = []
    for each in result["rollouts"]:
        head = {key: each[key] for key in ("ua", "state", "holder", "began_at", "paused_by")}
        rows = [(vm, told["outcome"], told["reason"]) for vm, told in each["vms"].items()]
        parts.append(f"{fields(head)}\n{table(('VM', 'OUTCOME', 'REASON'), rows, empty='No VM.')}")
    return Reply(
        result, "\n\n".join(parts) or "No rollout is under way.", changed=result.get("changed", False)
    )
