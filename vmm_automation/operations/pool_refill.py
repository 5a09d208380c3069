"""Refilling pools: what is planned is done, each VM a member before it is made and until it is gone.

A run is three parts: :func:`refilled` works on the VMs from outside, :func:`installed` in each guest that
lacks the UA, :func:`settled` saves and switches off, and judges. One run at a time refills a pool; one that
was cut off is taken over, and what it left half-made is finished or removed by the plan of the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from vmm_automation.errors import (
    Conflict,
    LockHeld,
    NotFound,
    Partial,
    TaskFailed,
    VmmError,
    error_from_document,
)
from vmm_automation.model.pool import PoolDefinition
from vmm_automation.model.vm import VmCondition
from vmm_automation.operations import cleaning, deployment, vm_lock
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import pool_change
from vmm_automation.operations.ownership import is_given_up, run_token
from vmm_automation.operations.pool_acts import TAKEN, PoolRun
from vmm_automation.operations.pool_found import FoundPool, find, note_failure
from vmm_automation.operations.pool_hands import VmHands
from vmm_automation.operations.pool_plan import Act, plan
from vmm_automation.operations.ua_offer import offered_ua
from vmm_automation.ports import Guest, PoolHands
from vmm_automation.state import pools, vms
from vmm_automation.state.pools import Drain, Phase, Pool
from vmm_automation.trace import point


def refilled(
    context: Context,
    names: Sequence[str] = (),
    *,
    reset: bool = False,
    run: str = "",
    check: bool = False,
    hands: PoolHands | None = None,
) -> dict[str, Any]:
    """Bring pools (all, if none is named) to what is wanted, but for what is done in guests and after it.

    ``prepare`` of the document are the VMs whose guest lacks something; ``errors`` the pools that could not
    be worked on, which holds up no other. ``reset`` forgets the failures for which a pool was stopped.

    Raises:
        NotFound, SiteInvalid: a pool is not there or is wrong, or there is none.
    """
    wanted = [context.site.pool(name).name for name in names] or sorted(context.site.pools)
    if not wanted:
        raise NotFound("The site has no pool", hint=f"ls {context.site.directory / 'pools'}")
    document: dict[str, Any] = {"changed": False, "pools": {}, "prepare": [], "errors": {}}
    for name in wanted:
        try:
            done = refill_one(context, name, reset=reset, run=run, check=check, hands=hands)
        except VmmError as failure:
            document["errors"][name] = failure.to_document()
            continue
        document["changed"] = document["changed"] or bool(done["steps"])
        document["prepare"] += done.pop("prepare")
        document["pools"][name] = done
    return document


def refill_one(
    context: Context,
    name: str,
    *,
    run: str,
    check: bool,
    hands: PoolHands | None,
    reset: bool = False,
    drain: Drain | None = None,
) -> dict[str, Any]:
    """The same for one pool: its steps, those that could not be done, and who has to wait.

    ``drain`` is taken for what was asked: a dry run of draining has not kept it. No failure stops that.

    Raises:
        LockHeld: another run refills it.
        Conflict: it was stopped after repeated failures, or wants a version that was withdrawn.
    """
    asked = _begin(context, name, owner=run or run_token(), reset=reset, check=check)
    found = find(context, name)
    wanted = replace(found.wanted, drain=drain) if drain else found.wanted
    if not drain:
        _require_not_stopped(asked, limit=found.definition.failures_before_stop)
    planned = plan(wanted, found.members)
    working = PoolRun(context, found, hands or VmHands(context), planned)
    if not check:
        if planned.of(Act.CREATE, Act.PREPARE):
            _fetch(context, found)
        working.act()
    return {
        "steps": [step.to_document() for step in planned.steps],
        "waiting": list(planned.waiting),
        "made": working.made,
        "failed": {vm: failure.message for vm, failure in working.failed.items()},
        "skipped": sorted(working.skipped),
        "prepare": working.prepare,
    }


def installed(context: Context, guest: Guest, *, check: bool = False) -> dict[str, Any]:
    """Bring a member's guest to what the pool wants: its UA active, nobody's data on it.

    A failure is told in the document and counted, so that it holds up no other VM.
    """
    definition = _pool_of(context, guest.name)
    pool, told = definition.name, {"action": "prepare"}
    if check:
        return {"changed": True, "vms": {guest.name: told}}
    with context.store.transaction() as tx:
        now = context.clock.now()
        was_clean = vms.condition(tx, vm=guest.name) is VmCondition.CLEAN
        with pool_change(tx, context, pool, action="install", now=now) as result:
            kept = pools.reserve(tx, vm=guest.name, reason=f"pool '{pool}': install", now=now)
            result |= {"vm": guest.name, "status": "ok" if kept else TAKEN}
    if not kept:
        return {"changed": False, "vms": {guest.name: {"action": "none", "reason": TAKEN}}}
    point("pool.install.reserved")
    try:
        with vm_lock.held(context, guest.name):
            deployment.active(context, guest, ua_id=definition.ua, version=definition.version)
        if not was_clean:
            cleaning.clean(context, guest, reserved=True)
    except VmmError as failure:
        note_failure(context, pool, vm=guest.name, failure=failure)
        return {"changed": True, "vms": {guest.name: {**told, "error": failure.to_document()}}}
    point("pool.install.installed")
    _note_ready(context, pool, vm=guest.name, was_clean=was_clean)
    return {"changed": True, "vms": {guest.name: told}}


def _pool_of(context: Context, vm: str) -> PoolDefinition:
    with context.store.reading() as tx:
        found = [member.pool for member in pools.members(tx) if member.vm == vm]
    if not found:
        raise NotFound(f"VM '{vm}' is in no pool", hint="vmm pool list", details={"vm": vm})
    return context.site.pool(found[0])


def _note_ready(context: Context, pool: str, *, vm: str, was_clean: bool) -> None:
    with context.store.transaction() as tx:
        now = context.clock.now()
        with pool_change(tx, context, pool, action="ready", now=now) as result:
            if pools.release(tx, vm=vm) and was_clean:
                vms.mark_clean(tx, vm=vm, reason=f"prepared for pool '{pool}'", now=now)
            pools.move_to(tx, vm=vm, phase=Phase.MEMBER, now=now)
            pools.note_success(tx, pool=pool)
            result |= {"vm": vm}


def settled(
    context: Context,
    names: Sequence[str] = (),
    *,
    done: Mapping[str, Any] | None = None,
    run: str = "",
    check: bool = False,
    hands: PoolHands | None = None,
) -> dict[str, Any]:
    """Save and switch off what is to be parked or cold, end this run of each pool, and judge it.

    ``done`` is the document of :func:`refilled`.

    Raises:
        Partial: several pools are not what is wanted; ``details['pools']`` has each one's failure.
        VmmError: the failure of the one pool that is not.
    """
    told: Mapping[str, Any] = done or {}
    failures = {name: error_from_document(error) for name, error in told.get("errors", {}).items()}
    owner, changed = run or run_token(), False
    for name in [] if check else [*names] or sorted(context.site.pools):
        with context.store.reading() as tx:
            ours = pools.get(tx, pool=name).owner == owner
        if ours:
            try:
                changed = _settle(context, name, hands=hands or VmHands(context)) or changed
            except VmmError as error:
                failures.setdefault(name, error)
            finally:
                end(context, name, run=owner)
            failed = told.get("pools", {}).get(name, {}).get("failed", {})
            if name not in failures and (failure := _left(context, name, failed=failed)):
                failures[name] = failure
    if len(failures) > 1:
        first = next(iter(failures.values()))
        raise Partial(
            f"{len(failures)} pools are not what is wanted ({', '.join(failures)}); first: {first.message}",
            hint=first.hint,
            details={"pools": {name: failure.to_document() for name, failure in failures.items()}},
        )
    for failure in failures.values():
        raise failure
    return {"changed": changed}


def end(context: Context, pool: str, *, run: str = "") -> None:
    """Let others refill the pool, if it was this run that did."""
    with context.store.transaction() as tx:
        pools.end(tx, pool=pool, owner=run or run_token())


def _begin(context: Context, name: str, *, owner: str, reset: bool, check: bool) -> Pool:
    with context.store.transaction(keep=not check) as tx:
        now = context.clock.now()
        asked = pools.get(tx, pool=name)
        if asked.owner and asked.owner != owner and not _is_given_up(context, asked, now=now):
            raise LockHeld(
                f"Cannot refill pool '{name}': another run refills it since {asked.began_at}",
                hint=f"vmm pool show {name}",
                details={"pool": name, "holder": asked.owner, "since": asked.began_at},
            )
        pools.begin(tx, pool=name, owner=owner, now=now)
        if reset and asked.failures:
            with pool_change(tx, context, name, action="reset", now=now) as result:
                pools.note_success(tx, pool=name)
                result |= {"failures": asked.failures}
        return pools.get(tx, pool=name)


def _fetch(context: Context, found: FoundPool) -> None:
    """What is delivered, once for all VMs, before any is made."""
    ua = offered_ua(context, found.definition.ua)
    wanted = ua.offered(found.version)
    if wanted.kind != "deb":  # Debian packages are resolved against what the base image has
        deployment.bundle_for(context, ua, wanted)


def _is_given_up(context: Context, asked: Pool, *, now: datetime) -> bool:
    deadline_s = context.site.policies.claim_deadline_s
    return is_given_up(asked.owner, since=asked.began_at, now=now, deadline_s=deadline_s)


def _require_not_stopped(asked: Pool, *, limit: int) -> None:
    if asked.failures >= limit:
        raise Conflict(
            f"Cannot refill pool '{asked.name}': it was stopped after {asked.failures} failures in a row, "
            f"the last: {asked.failure}",
            hint=f"vmm pool refill {asked.name} --reset",
            details={"pool": asked.name, "failures": asked.failures, "failure": asked.failure},
        )


def _settle(context: Context, name: str, *, hands: PoolHands) -> bool:
    found = find(context, name)
    planned = plan(found.wanted, found.members)
    working = PoolRun(context, found, hands, planned)
    working.put_away()
    after = find(context, name)
    if after.asked.failures and not plan(after.wanted, after.members).steps:
        with context.store.transaction() as tx:
            now = context.clock.now()
            with pool_change(tx, context, name, action="full", now=now) as result:
                pools.note_success(tx, pool=name)
                result |= {"failures": after.asked.failures}
    return bool(planned.of(Act.PARK, Act.STOP))


def _left(context: Context, name: str, *, failed: Mapping[str, str]) -> VmmError | None:
    """What this run could not do: on the VMs that ``failed`` from outside, or in a guest."""
    with context.store.reading() as tx:
        asked = pools.get(tx, pool=name)
    limit = context.site.pool(name).failures_before_stop
    if not asked.failures and not failed:
        return None
    stopped = f"; it is stopped after {asked.failures} failures" if asked.failures >= limit else ""
    return TaskFailed(
        f"Pool '{name}' is not what is wanted: {asked.failure or next(iter(failed.values()))}{stopped}",
        hint=f"vmm pool refill {name}{' --reset' if stopped else ''}",
        details={"pool": name, "failures": asked.failures, "vms": dict(failed)},
    )
