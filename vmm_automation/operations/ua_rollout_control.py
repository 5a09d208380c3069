"""Rollouts under way: shown, paused, stopped; resuming one is running it (``ua_rollout.py``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from vmm_automation.errors import Conflict, LockHeld, NotFound
from vmm_automation.operations import identity
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import change
from vmm_automation.operations.ownership import is_given_up
from vmm_automation.operations.ua_rollout_plan import Terms
from vmm_automation.state import audit_objects, rollouts
from vmm_automation.state.rollouts import Rollout
from vmm_automation.state.store import Snapshot, Tx


def shown(context: Context, ua_id: str = "") -> dict[str, Any]:
    """Rollouts that did not end (of one UA), what was asked for, and what came of each VM so far.

    ``state`` is *running*, *paused* or *cut off*; a VM's outcome is *waiting* until it was worked on. A run
    without terms notes none.
    """
    with context.store.reading() as tx:
        now = context.clock.now()
        found = [each for each in rollouts.every(tx) if ua_id in ("", each.ua)]
        return {"rollouts": [_document(tx, context, each, now=now) for each in found]}


def paused(context: Context, *, ua_id: str, check: bool = False) -> dict[str, Any]:
    """Begin no other VM; those that are worked on are finished. No change if it is paused already.

    Raises:
        NotFound: the UA is not rolled out.
        NotPermitted: the site lists its operators, and this is none of them.
    """
    with rollout_change(context, ua_id, verb="pause", check=check) as (tx, found, now):
        if not found.paused_at:
            rollouts.pause(tx, ua=ua_id, by=context.actor, now=now)
    return {"changed": not found.paused_at, **shown(context, ua_id)}


def stopped(context: Context, *, ua_id: str, check: bool = False) -> dict[str, Any]:
    """Give up a rollout that was paused or cut off; what was done on VMs stays. No change if there is none.

    Raises:
        Conflict: it goes on.
        NotPermitted: the site lists its operators, and this is none of them.
    """
    with context.store.reading() as tx:
        if rollouts.get(tx, ua=ua_id) is None:
            return {"changed": False, "ua": ua_id}
    with rollout_change(context, ua_id, verb="stop", check=check) as (tx, found, now):
        if goes_on(context, found, now=now):
            raise Conflict(
                f"Cannot stop the rollout of UA '{ua_id}': '{found.holder}' works on it",
                hint=f"vmm ua rollout pause {ua_id}",
                details={"ua": ua_id, "holder": found.holder},
            )
        rollouts.end(tx, ua=ua_id)
    return {"changed": True, "ua": ua_id}


def goes_on(context: Context, rollout: Rollout, *, now: datetime) -> bool:
    """Whether a process works on it, as far as can be known here."""
    deadline = context.site.policies.claim_deadline_s
    return bool(rollout.owner) and not is_given_up(
        rollout.owner, since=rollout.began_at, now=now, deadline_s=deadline
    )


def held(context: Context, found: Rollout, *, now: datetime) -> LockHeld | None:
    """Why another may not take it over; None for one that was cut off."""
    details = {"ua": found.ua, "holder": found.holder, "since": found.began_at}
    begin = f"Cannot roll out UA '{found.ua}': "
    if found.paused_at:
        text = f"the rollout of '{found.holder}' is paused by '{found.paused_by}' since {found.paused_at}"
        return LockHeld(begin + text, hint=f"vmm ua rollout resume {found.ua}", details=details)
    if goes_on(context, found, now=now):
        text = f"'{found.holder}' rolls it out since {found.began_at}"
        return LockHeld(begin + text, hint=f"vmm ua rollout show {found.ua}", details=details)
    return None


def require_rollout(tx: Snapshot, ua_id: str, *, doing: str) -> Rollout:
    """The rollout of a UA that did not end. Raises NotFound."""
    found = rollouts.get(tx, ua=ua_id)
    if found is None:
        raise NotFound(
            f"Cannot {doing} the rollout of UA '{ua_id}': there is none",
            hint="vmm ua rollout show",
            details={"ua": ua_id},
        )
    return found


def kept_terms(context: Context, ua_id: str) -> Terms:
    """The terms of the rollout of a UA that goes on. Raises NotFound."""
    with context.store.reading() as tx:
        return terms_of(require_rollout(tx, ua_id, doing="resume"))


def terms_of(found: Rollout) -> Terms:
    """The terms that it was begun on."""
    return Terms(**{key: value for key, value in found.request.items() if key != "targets"})


@contextmanager
def rollout_change(
    context: Context, ua_id: str, *, verb: str, check: bool
) -> Iterator[tuple[Tx, Rollout, datetime]]:
    """A block that changes a rollout, with an entry that tells of it. Raises NotFound, NotPermitted."""
    identity.require_operator(context.identity, doing=f"{verb} the rollout of UA '{ua_id}'")
    with context.store.transaction(keep=not check) as tx:
        now = context.clock.now()
        found = require_rollout(tx, ua_id, doing=verb)
        with change(
            tx,
            context,
            action=f"ua.rollout.{verb}",
            object_name=f"ua:{ua_id}",
            read=audit_objects.rollout(ua_id),
            now=now,
            only_if_changed=True,
        ) as result:
            yield tx, found, now
            result["holder"] = found.holder


def _document(tx: Snapshot, context: Context, found: Rollout, *, now: datetime) -> dict[str, Any]:
    going = goes_on(context, found, now=now)
    outcomes = {each.vm: each.to_document() for each in rollouts.outcomes(tx, ua=found.ua)}
    waiting = {"outcome": "waiting", "duration_ms": 0, "reason": ""}
    return {
        "ua": found.ua,
        "state": "paused" if found.paused_at else "running" if going else "cut off",
        "holder": found.holder,
        "began_at": found.began_at,
        "paused_by": found.paused_by,
        "terms": {key: value for key, value in found.request.items() if key != "targets"},
        "vms": {vm: outcomes.get(vm, waiting) for vm in found.request.get("targets", outcomes)},
    }
