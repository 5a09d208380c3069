"""What is asked of a pool beyond its definition: other levels, or to give out no VM any more.

Both are an operator's to ask (NotPermitted); a refill acts on it, whoever runs it.
"""

from __future__ import annotations

from typing import Any

from vmm_automation.errors import TaskFailed, UsageError
from vmm_automation.model.pool import Levels, PoolDefinition, Warmth
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import pool_change
from vmm_automation.operations.identity import require_operator
from vmm_automation.operations.pool_refill import end, refill_one
from vmm_automation.ports import PoolHands
from vmm_automation.state import pools
from vmm_automation.state.pools import Drain


def scaled(
    context: Context,
    name: str,
    *,
    ready: int | None = None,
    parked: int | None = None,
    cold: int | None = None,
    reset: bool = False,
    check: bool = False,
) -> dict[str, Any]:
    """Ask for other levels; one that is left out (None) stays as it is. ``reset``: the definition's again.

    The next refill acts on it.

    Raises:
        NotFound, SiteInvalid: the pool is not there or is wrong.
        UsageError: nothing was asked, or what no refill could or may reach.
    """
    require_operator(context.identity, doing=f"scale pool '{name}'")
    definition = context.site.pool(name)
    asked = {Warmth.READY: ready, Warmth.PARKED: parked, Warmth.COLD: cold}
    stated = {str(level): count for level, count in asked.items() if count is not None}
    if bool(stated) == reset or any(count < 0 for count in stated.values()):
        raise UsageError(
            f"Cannot scale pool '{name}': say how many, 0 or more, or that the definition holds again",
            hint=f"vmm pool scale {name} --ready 2",
        )
    with context.store.transaction(keep=not check) as tx:
        now = context.clock.now()
        before = pools.get(tx, pool=name).levels
        present = before or definition.levels
        levels = definition.levels if reset else Levels(**{**present.to_document(), **stated})
        _require_allowed(context, definition, levels)
        changed = levels != present or (reset and before is not None)
        if changed:
            with pool_change(tx, context, name, action="scale", now=now) as told:
                pools.set_levels(tx, pool=name, levels=None if reset else levels)
                told.update(levels.to_document())
    return {"changed": changed, "pool": name, "levels": levels.to_document()}


def _require_allowed(context: Context, definition: PoolDefinition, levels: Levels) -> None:
    if definition.least <= levels.total <= definition.most:
        return
    name = definition.name
    raise UsageError(
        f"Cannot scale pool '{name}' to {levels.total} VMs: its definition allows "
        f"{definition.least} to {definition.most}",
        hint=f"$EDITOR {context.site.directory / 'pools' / name}.yml",
        details={"pool": name, "min": definition.least, "max": definition.most},
    )


def drained(
    context: Context,
    name: str,
    *,
    drain: Drain,
    allow_destroy: bool = False,
    run: str = "",
    check: bool = False,
    hands: PoolHands | None = None,
) -> dict[str, Any]:
    """Give out no VM of the pool any more (or, ``Drain.NO``, again); sessions on its VMs go on.

    With ``Drain.DELETE`` its VMs without a session are deleted now, the others by the first refill after
    their sessions.

    Raises:
        NotFound, SiteInvalid: the pool is not there or is wrong.
        UsageError: VMs are to be deleted, and that was not allowed.
        LockHeld: another run refills it, so that nothing is deleted; it is drained nevertheless.
        TaskFailed: VMs could not be deleted; the next refill tries again.
    """
    require_operator(context.identity, doing=f"drain pool '{name}'")
    context.site.pool(name)
    if drain is Drain.DELETE and not allow_destroy:
        raise UsageError(
            f"Cannot delete the VMs of pool '{name}': destruction is off unless asked for",
            hint="set pool_allow_destroy=true (vmm: --yes)",
        )
    with context.store.transaction(keep=not check) as tx:
        now = context.clock.now()
        changed = pools.get(tx, pool=name).drain is not drain
        if changed:
            with pool_change(tx, context, name, action="drain", now=now) as result:
                pools.set_drain(tx, pool=name, drain=drain)
                result |= {"drain": str(drain)}
    document = {"changed": changed, "pool": name, "drain": str(drain), "deleted": []}
    if drain is Drain.DELETE:
        document["deleted"] = _deleted(context, name, run=run, check=check, hands=hands)
        document["changed"] = changed or bool(document["deleted"])
    return document


def _deleted(context: Context, name: str, *, run: str, check: bool, hands: PoolHands | None) -> list[str]:
    """Delete what no session or rollout has; a dry run tells what it would be."""
    try:
        done = refill_one(context, name, drain=Drain.DELETE, run=run, check=check, hands=hands)
    finally:
        if not check:
            end(context, name, run=run)
    left = {*done["failed"], *done["skipped"]}
    deleted = [step["vm"] for step in done["steps"] if step["vm"] not in left]
    if done["failed"]:
        names, first = ", ".join(done["failed"]), next(iter(done["failed"].values()))
        raise TaskFailed(
            f"Cannot delete VMs of pool '{name}' ({names}): {first}",
            hint=f"vmm pool refill {name}",
            details={"pool": name, "deleted": deleted, "vms": done["failed"]},
        )
    return deleted
