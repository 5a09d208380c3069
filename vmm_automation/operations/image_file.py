"""One generation as one file: exported, and imported after all of it is proven."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from vmm_automation.errors import ArtifactInvalid, NotFound
from vmm_automation.images import bundle
from vmm_automation.images.age import is_encrypted
from vmm_automation.images.archive import shown
from vmm_automation.images.borg import archive_name
from vmm_automation.images.cap import measured, require_within
from vmm_automation.images.manifest import to_generation
from vmm_automation.model.image import Generation, Manifest
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import image_change
from vmm_automation.operations.identity import require_operator
from vmm_automation.operations.image_listing import require_one
from vmm_automation.operations.image_store import check_names, spool
from vmm_automation.state import generation_marks, generations, orphans
from vmm_automation.trace import point

_IMPORTED = "imported"


def export(
    context: Context,
    *,
    user: str,
    ua: str,
    target: Path,
    number: int = 0,
    orphan: str = "",
    recipients: Path | None = None,
    check: bool = False,
) -> dict[str, Any]:
    """Write a generation (0: the newest), read whole and proven, as a new file, encrypted for ``recipients``.

    With ``orphan`` the save of that archive, which was kept aside, instead of a generation. Nothing is done
    where the file is there and holds the same already, which an encrypted one does not tell. The entry in the
    audit chain comes before the file: there is no copy of a user's data that no entry tells of.

    Raises:
        NotFound: there is no such generation or save, or no such directory.
        UsageError: both are wanted.
        Conflict: there is something else of that name.
        ArtifactInvalid: the stored generation is damaged.
    """
    check_names(user=user, ua=ua)
    require_one(number, orphan)
    wanted, recorded = _stored(context, user=user, ua=ua, number=number, orphan=orphan)
    told = {"generation": wanted.to_document(), "path": shown(str(target))}
    if _holds(context, target, recorded):
        return {"changed": False, **told}
    bundle.require_free(target)
    with spool(context) as private:
        tar, stored = context.images.read(wanted.archive, into=private / "stored")
        if stored.files != recorded.files:
            raise ArtifactInvalid(
                f"Archive '{wanted.archive}' of user '{user}', UA '{ua}' is not what was recorded",
                hint="vmm image verify --all",
                details={"archive": wanted.archive},
            )
        _note_export(context, wanted, target, check=check)
        if not check:
            point("image.export.recorded")
            bundle.write(
                target,
                tar=tar,
                manifest=recorded,
                key_file=context.image_key,
                spool=private,
                recipients=recipients,
            )
    return {"changed": True, **told}


def _stored(context: Context, *, user: str, ua: str, number: int, orphan: str) -> tuple[Generation, Manifest]:
    of = {"user": user, "ua": ua}
    with context.store.reading() as tx:
        if orphan:
            return orphans.get(tx, **of, archive=orphan)
        wanted = generations.get(tx, **of, number=number or None)
        return wanted, generations.get_manifest(tx, **of, number=wanted.number)


def _holds(context: Context, target: Path, manifest: Manifest) -> bool:
    """Whether a file is what an export of this manifest would write."""
    if not target.is_file() or is_encrypted(target):
        return False
    with spool(context) as private:
        try:
            return bundle.read(target, key_file=context.image_key, spool=private)[1] == manifest
        except ArtifactInvalid:
            return False


def _note_export(context: Context, generation: Generation, target: Path, *, check: bool) -> None:
    of = {"user": generation.user, "ua": generation.ua}
    with (
        context.store.transaction(keep=not check) as tx,
        image_change(tx, context, **of, action="image.export", now=context.clock.now()) as result,
    ):
        aside = generation.state == "orphaned"
        which = {"orphan": generation.archive} if aside else {"number": generation.number}
        result |= {**which, "digest": generation.root_digest, "path": shown(str(target))}


def import_(
    context: Context,
    *,
    source: Path,
    key_file: Path | None = None,
    identity: Path | None = None,
    check: bool = False,
) -> dict[str, Any]:
    """Make a file's content the newest generation of its user and UA; nothing where it is that already.

    ``key_file`` is the key of the image store that the file was exported from, unless it is this one's;
    ``identity`` is a file with the age identity that it is encrypted for, if it is.

    Raises:
        NotFound: there is no such file.
        ArtifactInvalid: it is no such file, was cut or altered, or is signed with another key.
        ImageTooLarge: it is beyond what the UA's definition allows, where the site has one.
        Conflict: a session of that user and UA is running, whose end would overwrite it.
        NotPermitted: the site lists its operators, and this is none of them.
    """
    require_operator(context.identity, doing="import a user image")
    with spool(context) as private:
        key = key_file or context.image_key
        tar, manifest = bundle.read(source, key_file=key, spool=private, identity=identity)
        check_names(user=manifest.user, ua=manifest.ua)
        generation, manifest, newest = _next(context, manifest)
        if newest and newest.root_digest == manifest.root_digest:
            return {"changed": False, "generation": newest.to_document()}
        _require_within_cap(context, manifest)
        if not check:
            context.images.write(generation.archive, tar=tar, manifest=manifest)
            point("image.import.stored")
        return {"changed": True, "generation": _record(context, generation, manifest, check=check)}


def _require_within_cap(context: Context, manifest: Manifest) -> None:
    try:
        definition = context.site.ua(manifest.ua)
    except NotFound:  # it may come to the site later
        return
    doing = f"import the image of user '{manifest.user}', UA '{manifest.ua}'"
    require_within(measured(manifest.files), definition, doing=doing)


def _next(context: Context, manifest: Manifest) -> tuple[Generation, Manifest, Generation | None]:
    """The generation that an import would be, checked before anything is stored."""
    of = {"user": manifest.user, "ua": manifest.ua}
    with context.store.reading() as tx:
        number, newest = generations.next_number(tx, **of), generations.newest(tx, **of)
        mine = replace(
            manifest,
            generation=number,
            parent=number - 1,
            session="",
            fence=generations.newest_fence(tx, **of),
        )
        archive = archive_name(**of, number=number, session=_IMPORTED)
        generation = to_generation(mine, archive)
        generations.require_addable(tx, generation=generation)
    origin = f"imported: it was generation {manifest.generation}, captured {manifest.captured_at}"
    return replace(generation, reason=origin), mine, newest


def _record(context: Context, generation: Generation, manifest: Manifest, *, check: bool) -> dict[str, Any]:
    of = {"user": generation.user, "ua": generation.ua}
    with (
        context.store.transaction(keep=not check) as tx,
        image_change(tx, context, **of, action="image.import", now=context.clock.now()) as result,
    ):
        generations.add(tx, generation=generation, manifest=manifest)
        generation_marks.set_reason(tx, **of, number=generation.number, reason=generation.reason)
        result |= {"number": generation.number, "digest": generation.root_digest, "reason": generation.reason}
    return generation.to_document()
