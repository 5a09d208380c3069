"""Stored User Images: verify, restore, pin, delete; no guest takes part in any of it.

What is read of an archive is compared with the manifest beside it and with the digest that the state keeps.
Rows go before archives: an archive that no row names is found by repair, a row without archive never comes
to be. What changes them is an operator's (NotPermitted).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from vmm_automation.adapters.private_directory import private_directory
from vmm_automation.errors import ArtifactInvalid, ImageDamaged, UsageError
from vmm_automation.images.manifest import to_generation
from vmm_automation.model.image import Generation, Manifest
from vmm_automation.model.names import check_name
from vmm_automation.model.times import to_text
from vmm_automation.operations import volume_upkeep
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import image_change
from vmm_automation.operations.identity import require_operator
from vmm_automation.operations.image_listing import require_manifest
from vmm_automation.state import generation_marks, generations, orphans
from vmm_automation.state.store import Tx
from vmm_automation.trace import point

_TEXT_LIMIT = 200


def verify(
    context: Context, *, user: str = "", ua: str = "", number: int = 0, every: bool = False
) -> dict[str, Any]:
    """Read generations whole and prove them: the newest of each user and UA, one, or ``every`` one.

    Raises:
        NotFound: there is no such generation.
        ImageDamaged: at least one is damaged or missing; ``details['generations']`` has all results.
    """
    check_names(user=user, ua=ua)
    if number and not (user and ua):
        raise UsageError(
            "A generation's number needs its user and UA", hint="vmm image verify USER UA --generation 1"
        )
    wanted = _wanted(context, user=user, ua=ua, number=number, every=every)
    stored = frozenset(context.images.archives())
    results = [_verdict(context, generation, stored=stored) for generation in wanted]
    bad = [result for result in results if result["status"] != "good"]
    if bad:
        first = bad[0]
        raise ImageDamaged(
            f"Of {len(results)} generations {len(bad)} are damaged or missing, first generation "
            f"{first['number']} of user '{first['user']}', UA '{first['ua']}': {first['why']}",
            hint=f"vmm image list --user {first['user']} --ua {first['ua']}",
            details={"generations": results},
        )
    return {"changed": False, "generations": results}


def restore(
    context: Context,
    *,
    user: str,
    ua: str,
    number: int = 0,
    orphan: str = "",
    reason: str = "",
    check: bool = False,
) -> dict[str, Any]:
    """Make a generation, or a save that was kept aside, the newest again: a new generation of its content.

    Nothing is copied: both name one archive. Where the newest has that content already, nothing is done.

    Raises:
        NotFound: there is no such generation.
        ArtifactInvalid: its archive is damaged or missing.
        Conflict: a session of that user and UA is running, whose end would overwrite it; or ``orphan`` is a
            volume.
    """
    require_operator(context.identity, doing="restore user images")
    check_names(user=user, ua=ua)
    check_text(reason, kind="reason")
    if bool(number) == bool(orphan):
        raise UsageError("Restore needs one generation", hint=f"vmm image restore {user} {ua} --generation 1")
    require_manifest(context.store, context.volumes, orphan, user=user, ua=ua)
    source, manifest, newest = _source(context, user=user, ua=ua, number=number, orphan=orphan)
    if newest and newest.archive == source.archive:
        return {"changed": False, "generation": newest.to_document()}
    prove(context, source)
    what = f"generation {number}" if number else f"the orphaned save '{orphan}'"
    why = f"restored from {what}" + (f": {reason}" if reason else "")
    with context.store.transaction(keep=not check) as tx:
        made = _become_newest(tx, context, source, manifest, reason=why)
    return {"changed": True, "generation": made.to_document()}


def pin(
    context: Context, *, user: str, ua: str, number: int, pinned: bool, check: bool = False
) -> dict[str, Any]:
    """Keep a generation whatever a retention says, or no longer.

    Raises:
        NotFound: there is no such generation.
    """
    require_operator(context.identity, doing="pin user images")
    check_names(user=user, ua=ua)
    of = {"user": user, "ua": ua}
    with context.store.transaction(keep=not check) as tx:
        before = generations.get(tx, **of, number=number)
        if before.pinned == pinned:
            return {"changed": False, "generation": before.to_document()}
        action, now = "image.pin" if pinned else "image.unpin", context.clock.now()
        with image_change(tx, context, **of, action=action, now=now) as result:
            generation_marks.set_pinned(tx, **of, number=number, pinned=pinned)
            result |= {"number": number}
    return {"changed": True, "generation": replace(before, pinned=pinned).to_document()}


def delete(
    context: Context, *, user: str, ua: str, number: int = 0, orphan: str = "", check: bool = False
) -> dict[str, Any]:
    """Delete one generation, or one save that was kept aside, and its archive where nothing else names it.

    Nothing is done where the generation was there once and is gone.

    Raises:
        NotFound: there never was such a generation, or there is no such save.
        Conflict: it is the newest generation, or pinned.
    """
    require_operator(context.identity, doing="delete user images")
    check_names(user=user, ua=ua)
    if bool(number) == bool(orphan):
        raise UsageError("Delete needs one generation", hint=f"vmm image delete {user} {ua} --generation 1")
    of = {"user": user, "ua": ua}
    if orphan and volume_upkeep.aside(context, orphan, **of):
        return volume_upkeep.delete_aside(context, orphan, **of, check=check)
    with context.store.reading() as tx:
        if number and generation_marks.is_gone(tx, **of, number=number):
            return {"changed": False, "deleted": number, "archives": []}
    with (
        context.store.transaction(keep=not check) as tx,
        image_change(tx, context, **of, action="image.delete", now=context.clock.now()) as result,
    ):
        if number:
            gone = generation_marks.remove(tx, **of, numbers=[number])
        else:
            orphans.get(tx, **of, archive=orphan)
            orphans.remove(tx, archive=orphan)
            gone = () if orphan in generation_marks.referred(tx) else (orphan,)
        result.update({"number": number} if number else {"orphan": orphan})
    if not check:
        drop_archives(context, gone)
    return {"changed": True, "deleted": number or orphan, "archives": list(gone)}


def drop_archives(context: Context, names: tuple[str, ...]) -> None:
    """Take archives out of the store and give their space back; one that is gone already is no matter."""
    if not names:
        return
    point("image.drop.recorded")
    stored = frozenset(context.images.archives())
    for name in names:
        if name in stored:
            context.images.delete(name)
    context.volumes.forget(names)
    point("image.drop.dropped")
    context.images.compact()


def prove(context: Context, generation: Generation) -> Manifest:
    """Read a generation's archive whole and compare it with its manifest and the state.

    Raises:
        ArtifactInvalid: it is absent, damaged, or another than what was stored.
    """
    with spool(context) as into:
        _tar, manifest = context.images.read(generation.archive, into=into)
    if manifest.root_digest != generation.root_digest:
        raise ArtifactInvalid(
            f"Generation {generation.number} of user '{generation.user}', UA '{generation.ua}' has content "
            "with another root digest than was recorded",
            hint="vmm image verify --all",
            details={"archive": generation.archive},
        )
    return manifest


def spool(context: Context) -> AbstractContextManager[Path]:
    """A private directory for a user's data on the way; gone afterwards."""
    return private_directory(context.places.runs, prefix="image-")


def check_names(*, user: str, ua: str) -> None:
    """Refuse what cannot be a user or a UA; empty stands for all.

    Raises:
        InvalidName: which, and by what rule.
    """
    for kind, name in (("user", user), ("UA", ua)):
        if name:
            check_name(kind, name)


def check_text(text: str, *, kind: str) -> None:
    """Refuse a text that a terminal or the log could not show.

    Raises:
        UsageError: it is too long or not printable.
    """
    if len(text) > _TEXT_LIMIT or not text.isprintable():
        raise UsageError(
            f"The {kind} must be printable text of at most {_TEXT_LIMIT} characters",
            hint="vmm image --help",
            details={"kind": kind},
        )


def _wanted(context: Context, *, user: str, ua: str, number: int, every: bool) -> list[Generation]:
    with context.store.reading() as tx:
        if number or (user and ua and not every):
            return [generations.get(tx, user=user, ua=ua, number=number or None)]
        found = generations.list_generations(tx, user=user or None, ua=ua or None)
    newest = {(generation.user, generation.ua): generation for generation in found}
    return found if every else list(newest.values())


def _verdict(context: Context, generation: Generation, *, stored: frozenset[str]) -> dict[str, Any]:
    status, why = "good", ""
    if generation.archive not in stored:
        status, why = "missing", f"its archive '{generation.archive}' is not in the store"
    else:
        try:
            prove(context, generation)
        except ArtifactInvalid as damaged:
            status, why = "damaged", damaged.message
    if status == "good" and (wrong := context.volumes.prove(generation.archive)):
        status, why = "damaged", f"{wrong}; its files are good, and 'vmm image repair' leaves it to these"
    context.progress(f"Generation {generation.number} of user '{generation.user}': {status}")
    keys = ("user", "ua", "number", "archive", "file_count", "size", "root_digest")
    known = generation.to_document()
    return {**{key: known[key] for key in keys}, "status": status, "why": why}


def _become_newest(
    tx: Tx, context: Context, source: Generation, manifest: Manifest, *, reason: str
) -> Generation:
    of, now = {"user": source.user, "ua": source.ua}, context.clock.now()
    aside = source.state == "orphaned"
    with image_change(tx, context, **of, action="image.restore", now=now) as result:
        if aside:  # either may have been removed meanwhile, and its archive with it
            orphans.get(tx, **of, archive=source.archive)
        else:
            generations.get(tx, user=source.user, ua=source.ua, number=source.number)
        manifest = replace(
            manifest,
            generation=generations.next_number(tx, **of),
            parent=manifest.parent if aside else source.number,
            session="",
            fence=generations.newest_fence(tx, **of),
            captured_at=to_text(now),
        )
        made = generations.add(tx, generation=to_generation(manifest, source.archive), manifest=manifest)
        generation_marks.set_reason(tx, **of, number=made.number, reason=reason)
        orphans.remove(tx, archive=source.archive)
        result |= {
            "number": made.number,
            "from": source.archive,
            "digest": made.root_digest,
            "reason": reason,
        }
    return replace(made, reason=reason)


def _source(
    context: Context, *, user: str, ua: str, number: int, orphan: str
) -> tuple[Generation, Manifest, Generation | None]:
    """What is to be restored, its manifest, and what is the newest now."""
    of = {"user": user, "ua": ua}
    with context.store.reading() as tx:
        newest = generations.newest(tx, **of)
        if orphan and newest and newest.archive == orphan:
            return newest, generations.get_manifest(tx, user=user, ua=ua), newest
        if orphan:
            return *orphans.get(tx, **of, archive=orphan), newest
        source = generations.get(tx, **of, number=number)
        return source, generations.get_manifest(tx, **of, number=number), newest
