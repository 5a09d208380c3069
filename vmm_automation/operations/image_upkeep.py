"""Keeping the store of User Images in order: a retention thins it out, repair compares it with the state."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import groupby
from typing import Any

from vmm_automation.errors import ArtifactInvalid
from vmm_automation.model.image import Generation
from vmm_automation.model.retention import Retention
from vmm_automation.operations import branch_upkeep, volume_upkeep
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import image_change
from vmm_automation.operations.identity import require_operator
from vmm_automation.operations.image_store import check_names, drop_archives, prove
from vmm_automation.state import generation_marks, generations, orphans
from vmm_automation.trace import point

#: an archive that no generation names may be of a capture that is about to name it
RECENT = timedelta(hours=1)


def prune(
    context: Context, *, retention: Retention, user: str = "", ua: str = "", check: bool = False
) -> dict[str, Any]:
    """Delete the generations, and saves of branches, that a retention does not keep; of one user, UA, or all.

    Kept besides: the newest, what is pinned, and the newest that is good, which is read whole before
    anything older is deleted. Of a user without any good generation nothing is deleted. The same holds for
    the saves of each branch; other saves that were kept aside are left alone.

    Raises:
        UsageError: the retention says nothing.
        NotPermitted: the site lists its operators, and this is none of them.
    """
    require_operator(context.identity, doing="prune user images")
    check_names(user=user, ua=ua)
    retention.require_a_rule()
    now = context.clock.now()
    with context.store.reading() as tx:
        found = generations.list_generations(tx, user=user or None, ua=ua or None)
        saves = orphans.list_branches(tx, user=user or None, ua=ua or None)
    results = []
    for _of, group in groupby(found, key=lambda generation: (generation.user, generation.ua)):
        mine = list(group)
        kept = retention.kept(mine, now=now)
        if len(kept) < len(mine):
            kept = _with_last_good(context, mine, kept)
        results.append(_thin_out(context, mine, kept=kept, check=check))
    branches = branch_upkeep.prune(
        context, saves, retention=retention, keep_good=_with_last_good, now=now, check=check
    )
    every = [*results, *branches]
    gone = tuple(sorted(name for result in every for name in result.pop("archives")))
    if not check:
        drop_archives(context, gone)
    return {
        "changed": any(result["pruned"] for result in every),
        "images": results,
        "branches": branches,
    }


def repair(
    context: Context, *, remove: bool = False, recent: timedelta = RECENT, check: bool = False
) -> dict[str, Any]:
    """Mark generations whose archive is not in the store, and list archives that no generation names.

    With ``remove`` the latter are deleted, unless they were stored within ``recent``. A generation whose
    archive is there again loses its mark. Volumes: see :func:`volume_upkeep.repair`.

    Raises:
        NotPermitted: the site lists its operators, and this is none of them.
    """
    require_operator(context.identity, doing="repair user images")
    volumes = volume_upkeep.repair(context, remove=remove, check=check)
    changed = volumes.pop("changed")
    since = context.images.stored_since()
    with context.store.reading() as tx:
        found = generations.list_generations(tx)
        named = frozenset(generation_marks.referred(tx))
    wrong = [one for one in found if (one.archive not in since) != (one.state == "missing")]
    for generation in wrong:
        _mark(context, generation, missing=generation.archive not in since, check=check)
        point("image.repair.marked")
    limit = context.clock.now() - recent
    unnamed = {name: stored <= limit for name, stored in since.items() if name not in named}
    removed = tuple(name for name, old in unnamed.items() if old and remove)
    if not check:
        drop_archives(context, removed)
    return {
        "changed": bool(wrong or removed or changed),
        "volumes": volumes,
        "missing": [one.to_document() for one in found if one.archive not in since],
        "found_again": [one.to_document() for one in wrong if one.state == "missing"],
        "unnamed": sorted(unnamed),
        "recent": sorted(name for name, old in unnamed.items() if not old),
        "removed": sorted(removed),
    }


def _with_last_good(context: Context, mine: Sequence[Generation], kept: dict[int, str]) -> dict[int, str]:
    for generation in reversed(mine):
        try:
            prove(context, generation)
        except ArtifactInvalid as damaged:
            context.progress(damaged.message)
            continue
        return {generation.number: "newest that is good", **kept}
    return {**{generation.number: "none is good" for generation in mine}, **kept}


def _thin_out(
    context: Context, mine: Sequence[Generation], *, kept: dict[int, str], check: bool
) -> dict[str, Any]:
    of = {"user": mine[0].user, "ua": mine[0].ua}
    numbers = [generation.number for generation in mine if generation.number not in kept]
    gone: tuple[str, ...] = ()
    if numbers:
        with (
            context.store.transaction(keep=not check) as tx,
            image_change(tx, context, **of, action="image.prune", now=context.clock.now()) as result,
        ):
            gone = generation_marks.remove(tx, **of, numbers=numbers)
            result |= {"pruned": numbers}
    kept_numbers = {str(number): kept[number] for number in sorted(kept)}
    return {**of, "kept": kept_numbers, "pruned": numbers, "archives": gone}


def _mark(context: Context, generation: Generation, *, missing: bool, check: bool) -> None:
    of = {"user": generation.user, "ua": generation.ua}
    with (
        context.store.transaction(keep=not check) as tx,
        image_change(tx, context, **of, action="image.repair", now=context.clock.now()) as result,
    ):
        generation_marks.set_missing(tx, **of, number=generation.number, missing=missing)
        result |= {"number": generation.number, "missing": missing}
