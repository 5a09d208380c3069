"""Pools as people see them: what is wanted, what there is, and what a refill would do."""

from __future__ import annotations

from collections import Counter
from typing import Any

from vmm_automation.model.pool import Warmth
from vmm_automation.operations.context import Context
from vmm_automation.operations.pool_found import FoundPool, find
from vmm_automation.operations.pool_plan import Member, plan


def listing(context: Context) -> list[dict[str, Any]]:
    """All pools of the site, by name.

    Raises:
        SiteInvalid, NotFound: one of them is wrong, or names what is not there.
    """
    return [_document(find(context, name)) for name in sorted(context.site.pools)]


def description(context: Context, name: str) -> dict[str, Any]:
    """One pool with its VMs, and what a refill would do.

    Raises:
        InvalidName, NotFound, SiteInvalid: the pool is not there or is wrong.
    """
    found = find(context, name)
    planned = plan(found.wanted, found.members)
    return {
        **_document(found),
        "members": [_member(found, member) for member in found.members],
        "steps": [step.to_document() for step in planned.steps],
        "waiting": list(planned.waiting),
    }


def _document(found: FoundPool) -> dict[str, Any]:
    definition, asked = found.definition, found.asked
    counted = Counter(_place(member) for member in found.members)
    return {
        "name": definition.name,
        "profile": definition.profile,
        "ua": definition.ua,
        "version": found.version,
        "wanted": found.wanted.levels.to_document(),
        "scaled": asked.levels is not None,
        "found": {place: counted[place] for place in (*map(str, Warmth), "in_use", "other")},
        "min": definition.least,
        "max": definition.most,
        "drained": str(asked.drain),
        "failures": asked.failures,
        "failure": asked.failure,
        "stopped": asked.failures >= definition.failures_before_stop,
    }


def _place(member: Member) -> str:
    """Where a VM counts: held by a session, at a level if a session could run on it, or elsewhere."""
    if member.busy:
        return "in_use"
    return str(member.warmth) if member.serving and not member.leaving else "other"


def _member(found: FoundPool, member: Member) -> dict[str, Any]:
    fact, row = found.facts.get(member.vm), found.phases[member.vm]
    return {
        "vm": member.vm,
        "place": _place(member),
        "phase": str(row.phase),
        "since": row.since,
        "state": str(fact.vm.state) if fact else "gone",
        "condition": str(fact.condition) if fact else None,
        "session": fact.session if fact else None,
        "version": fact.active_uas.get(found.definition.ua) if fact else None,
        "outdated": member.outdated,
    }
