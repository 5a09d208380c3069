"""``vmm pool``: VMs kept at hand for a UA."""

from __future__ import annotations

from typing import Any

import click

from vmm_automation.cli.door import Door, Reply, fields, operation, table
from vmm_automation.errors import UsageError


@click.group("pool")
def command() -> None:
    """Pools of VMs that are kept at hand: list, show, scale, drain, refill.

    Example: vmm pool refill
    """


_name = click.argument("name")
_PLACES = ("ready", "parked", "cold", "in_use", "other")


@operation(command, "list")
def list_(door: Door) -> Reply:
    """List the pools of the site: what is wanted, and what there is.

    Example: vmm pool list --output json
    """
    from vmm_automation.operations.pool_listing import listing

    pools = listing(door.context)
    headings = ("NAME", "UA", "READY", "PARKED", "COLD", "IN USE", "OTHER", "MAX", "STATUS")
    rows = [
        [pool["name"], f"{pool['ua']} {pool['version']}", *_counts(pool), pool["max"], _status(pool)]
        for pool in pools
    ]
    empty = "No pools. Define one: pools/NAME.yml of the site, see docs/pools.md"
    return Reply({"pools": pools}, table(headings, rows, empty=empty))


@operation(command, "show")
@_name
def show(door: Door, name: str) -> Reply:
    """Show one pool with its VMs, and what a refill would do.

    Example: vmm pool show calendars
    """
    from vmm_automation.operations.pool_listing import description

    pool = description(door.context, name)
    shown = {key: pool[key] for key in ("name", "profile", "ua", "version", "min", "max", "failure")}
    levels = dict(zip(_PLACES, _counts(pool), strict=True))
    headings = ("VM", "PLACE", "PHASE", "STATE", "CONDITION", "SESSION", "VERSION", "OUTDATED")
    rows = [[_cell(member[heading.lower()]) for heading in headings] for member in pool["members"]]
    steps = "\n".join(_step(step) for step in pool["steps"]) or "Nothing to do"
    text = fields({**shown, **levels, "status": _status(pool)})
    return Reply({"pool": pool}, f"{text}\n{table(headings, rows, empty='No VMs.')}\n{steps}")


@operation(command, "scale", changes=True, by_operator=True)
@_name
@click.option("--ready", type=click.IntRange(0), help="How many are to be ready without a session.")
@click.option("--parked", type=click.IntRange(0), help="How many are to be parked.")
@click.option("--cold", type=click.IntRange(0), help="How many are to be cold.")
@click.option("--reset", is_flag=True, help="As the pool's definition says again.")
def scale(door: Door, name: str, reset: bool, **levels: int | None) -> Reply:
    """Ask for other levels than the pool's definition, within its min and max; the next refill acts on it.

    Example: vmm pool scale calendars --ready 3 --parked 1
    """
    from vmm_automation.operations.pool import scaled

    done = scaled(door.context, name, **levels, reset=reset, check=door.check)
    wanted = ", ".join(f"{count} {level}" for level, count in done["levels"].items())
    return Reply(done, f"{name}: {wanted}", changed=done["changed"])


@operation(command, "drain", changes=True, by_operator=True)
@_name
@click.option("--delete", is_flag=True, help="Delete its VMs, those in sessions after their sessions.")
@click.option("--undo", is_flag=True, help="Give out VMs again.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def drain(door: Door, name: str, delete: bool, undo: bool, yes: bool) -> Reply:
    """Give out no VM of a pool any more; sessions on its VMs go on.

    Example: vmm pool drain calendars --delete --yes
    """
    if delete and undo:
        raise UsageError("Either --delete or --undo", hint=f"vmm pool drain {name} --undo")
    if delete:
        door.confirm(f"Delete the VMs of pool {name} with their disks?", yes=yes)
    variables = {"pool_names": [name], "pool_delete": delete, "pool_allow_destroy": delete}
    reply = door.playbook("pool_undrain" if undo else "pool_drain", variables)
    lines = [f"{name}: {'gives out VMs' if undo else 'drained'}"]
    lines += [f"{vm}: delete" for vm in reply.result.get("deleted", [])]
    return Reply(reply.result, "\n".join(lines), changed=reply.changed)


@operation(command, "refill", changes=True)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--reset", is_flag=True, help="Go on with a pool that was stopped after repeated failures.")
def refill(door: Door, names: tuple[str, ...], reset: bool) -> Reply:
    """Bring pools (all, if none is named) to what is wanted: make, install, park, replace, remove.

    Example: vmm pool refill --check
    """
    reply = door.playbook("pool_refill", {"pool_names": list(names), "pool_reset": reset})
    lines = [
        f"{name}: {_step(step)}"
        for name, pool in reply.result.get("pools", {}).items()
        for step in pool["steps"]
    ]
    return Reply(reply.result, "\n".join(lines) or "Pools are as wanted", changed=reply.changed)


def _counts(pool: dict[str, Any]) -> list[str]:
    """For each place what there is, and where levels are wanted, of how many."""
    found, wanted = pool["found"], pool["wanted"]
    return [f"{found[place]}/{wanted[place]}" if place in wanted else str(found[place]) for place in _PLACES]


def _status(pool: dict[str, Any]) -> str:
    words = ["stopped"] if pool["stopped"] else []
    words += ["drained"] if pool["drained"] else []
    words += ["scaled"] if pool["scaled"] else []
    return ", ".join(words) or "ok"


def _step(step: dict[str, Any]) -> str:
    what = step["vm"] or f"a {step['warmth']} VM"
    return f"{step['action']} {what}" + (f" ({step['reason']})" if step["reason"] else "")


def _cell(value: object) -> object:
    return ("yes" if value else "") if isinstance(value, bool) else value
