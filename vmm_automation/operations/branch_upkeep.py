"""Saves of branches, thinned out as generations are; what a person has to decide on stays.

The last save of each branch is never removed, whether somebody has merged an earlier one or not: it is all
that there is of what that session wrote last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from typing import Any

from vmm_automation.model.image import Generation
from vmm_automation.model.retention import Retention
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import image_change
from vmm_automation.state import generation_marks, orphans

#: adds the newest one that is good to those that are kept by number
KeepGood = Callable[[Context, Sequence[Generation], dict[int, str]], dict[int, str]]


def prune(
    context: Context,
    saves: Sequence[Generation],
    *,
    retention: Retention,
    keep_good: KeepGood,
    now: datetime,
    check: bool,
) -> list[dict[str, Any]]:
    """What becomes of the saves of each branch; ``saves`` by branch, oldest first."""
    results = []
    for _branch, group in groupby(saves, key=lambda save: (save.user, save.ua, save.session)):
        # all saves of a branch have the number that the generation after its origin would have had
        mine = [replace(save, number=place) for place, save in enumerate(group, start=1)]
        kept = retention.kept(mine, now=now)
        if len(kept) < len(mine):
            kept = keep_good(context, mine, kept)
        results.append(_thin_out(context, mine, kept=kept, check=check))
    return results


def _thin_out(
    context: Context, mine: Sequence[Generation], *, kept: dict[int, str], check: bool
) -> dict[str, Any]:
    of, session = {"user": mine[0].user, "ua": mine[0].ua}, mine[0].session
    old = [save.archive for save in mine if save.number not in kept]
    gone: tuple[str, ...] = ()
    if old:
        with (
            context.store.transaction(keep=not check) as tx,
            image_change(tx, context, **of, action="image.prune", now=context.clock.now()) as result,
        ):
            for archive in old:
                orphans.get(tx, **of, archive=archive)  # unless it became a generation meanwhile
                orphans.remove(tx, archive=archive)
            gone = tuple(sorted(set(old) - set(generation_marks.referred(tx))))
            result |= {"branch": session, "pruned": old}
    told = {save.archive: kept[save.number] for save in mine if save.number in kept}
    return {**of, "session": session, "kept": told, "pruned": old, "archives": gone}
