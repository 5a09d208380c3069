"""One generation on its way: from the store into a guest, and from a guest into the store and the state."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from vmm_automation.adapters.private_directory import private_directory
from vmm_automation.errors import Conflict, NotFound
from vmm_automation.images.archive import ArchivePolicy
from vmm_automation.images.omitted import documents, sentence
from vmm_automation.model.image import Generation
from vmm_automation.model.session import Session, SessionMode
from vmm_automation.model.ua import Converter, UaDefinition
from vmm_automation.operations import user_image, user_image_hooks, user_volume, write_back
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import image_change
from vmm_automation.operations.user_image_fetch import Base
from vmm_automation.operations.user_image_scripts import SessionAccount
from vmm_automation.ports import Guest
from vmm_automation.state import generations, sessions
from vmm_automation.state.store import Snapshot
from vmm_automation.trace import point


def bring_in(
    context: Context,
    guest: Guest,
    *,
    session: Session,
    generation: Generation | None,
    definition: UaDefinition,
) -> None:
    """Give a session that begins on a VM its user's data, on a volume where its UA or the site wants that.

    A generation that has a layer comes by that, whatever its size; another, or one to be converted, by files.

    Raises:
        Conflict: nothing converts the generation.
        ArtifactInvalid, TaskFailed, DiskFull, GuestUnreachable: the data are not there.
    """
    if user_volume.is_wanted(context, definition):
        as_it_is = generation and not _converters(generation, session=session, definition=definition)
        archive = generation.archive if generation and as_it_is else ""
        there = user_volume.bring_up(context, guest, session=session, archive=archive, definition=definition)
        if there and generation:
            _note_deployed(context, guest, session=session, generation=generation, by="volume")
            return
    if generation:
        deploy_into(context, guest, session=session, generation=generation, definition=definition)


def deploy_into(
    context: Context,
    guest: Guest,
    *,
    session: Session,
    generation: Generation,
    definition: UaDefinition,
    once_read: Callable[[], None] = lambda: None,
) -> None:
    """Put a stored generation into the session's guest, converted to the data version of its UA version.

    ``once_read`` is called when it is read and proven, before anything is sent.

    Raises:
        Conflict: nothing converts it.
        ArtifactInvalid, TaskFailed, DiskFull, GuestUnreachable: the guest's home is as it was.
    """
    converters = _converters(generation, session=session, definition=definition)
    on_volume = user_volume.is_open(context, session.id, vm=guest.name)
    with _spool(context) as spool:
        tar, manifest = context.images.read(generation.archive, into=spool)
        point("image.deploy.read")
        once_read()
        user_image.deploy(
            guest,
            tar=tar,
            manifest=manifest,
            ua=definition,
            session=session.id,
            converters=converters,
            archive="" if on_volume else generation.archive,  # without: no stamps, see base_of
            account=user_volume.account(on_volume=on_volume),
            policy=ArchivePolicy(home=SessionAccount().home),
        )
    point("image.deploy.unpacked")
    newer = definition.version(session.version).data_version
    converted = f"{generation.data_version} to {newer}" if converters else ""
    _note_deployed(context, guest, session=session, generation=generation, converted=converted)


def _converters(
    generation: Generation, *, session: Session, definition: UaDefinition
) -> tuple[Converter, ...]:
    """What brings a generation to the data version of the session's version of the UA.

    Raises:
        Conflict: nothing does.
    """
    version = definition.version(session.version)
    older, newer = generation.data_version, version.data_version
    found = user_image_hooks.converters_between(definition, older=older, newer=newer)
    if found is None:
        why = "nothing converts it" if older < newer else "data are never taken back"
        raise Conflict(
            f"Cannot deploy generation {generation.number} of user '{session.user}' to UA '{definition.id}' "
            f"{version.version}: its data version is {older}, not {newer}, and {why}",
            hint=f"vmm session open --user {session.user} --ua {definition.id} "
            f"--version {generation.ua_version}",
            details={"generation": generation.number, "version": version.version},
        )
    return found


def _note_deployed(
    context: Context,
    guest: Guest,
    *,
    session: Session,
    generation: Generation,
    converted: str = "",
    by: str = "files",
) -> None:
    of = {"user": session.user, "ua": session.ua}
    with (
        context.store.transaction() as tx,
        image_change(tx, context, **of, action="image.deploy", now=context.clock.now()) as result,
    ):
        told = {"number": generation.number, "session": session.id, "vm": guest.name, "by": by}
        result.update({**told, "converted": converted} if converted else told)
        sessions.set_deployed(tx, session_id=session.id, generation=generation.number)
    point("image.deploy.recorded")
    how = f", converted from data version {converted}" if converted else ""
    how += ", by its volume" if by == "volume" else ""
    context.progress(f"Generation {generation.number} of user '{session.user}' is on VM '{guest.name}'{how}")


def capture_from(
    context: Context,
    guest: Guest,
    *,
    session: Session,
    definition: UaDefinition,
    closing: bool = False,
    changed_only: bool = False,
) -> dict[str, Any]:
    """Capture the data of a session and record them as the next generation, or as orphaned.

    Returns ``generation`` (and ``orphaned``) and what was ``omitted``; nothing with ``changed_only`` where
    the one before has the same content.

    Raises:
        TaskFailed, ArtifactInvalid, DiskFull, GuestUnreachable: nothing is recorded.
        Conflict: a newer generation was written meanwhile; the save is kept aside.
    """
    with context.store.reading() as tx:
        before = base_generation(tx, session)
    parent = parent_of(session, before)
    origin = user_image.Origin(session.user, session.version, session.id, session.fence, parent)
    omitted: list[dict[str, str]] = []
    with _spool(context) as spool:
        manifest, archive = user_image.capture(
            guest,
            origin,
            ua=definition,
            spool=spool,
            images=context.images,
            clock=context.clock,
            unless=before.root_digest if before and changed_only else "",
            base=base_of(context, before, session=session) if before else None,
            last=closing,
            on_omitted=lambda found: omitted.extend(documents(found)),
        )
    if not archive:
        context.progress(f"Session '{session.id}': the data are still those of generation {parent}")
        return {}
    point("image.capture.stored")
    generation = write_back.record(
        context, manifest=manifest, archive=archive, omitted=omitted, closing=closing
    )
    told = _told(context, generation, consistency=manifest.consistency)
    if omitted:
        context.progress(f"Left out: {sentence(omitted)}")
    return {**told, "omitted": omitted}


def base_generation(tx: Snapshot, session: Session) -> Generation | None:
    """What a session's data are a change of: the newest generation, or what was deployed to a branch.

    None where there is none (any more).
    """
    if session.mode is SessionMode.WRITER:
        return generations.newest(tx, user=session.user, ua=session.ua)
    try:
        return generations.get(tx, user=session.user, ua=session.ua, number=session.deployed)
    except NotFound:
        return None


def parent_of(session: Session, before: Generation | None) -> int:
    """The number of that generation; 0 for none. A branch has one though it was pruned meanwhile."""
    if session.mode is SessionMode.WRITER:
        return before.number if before else 0
    return session.deployed


def base_of(context: Context, newest: Generation, *, session: Session) -> Base:
    """The archive that what has changed may be told from; read without its proof, which the outcome has.

    Not for a session on a volume: the stamps are of inodes, and another volume in the same place, an older
    layer or one that was kept aside, has the same numbers. There all of the data is read each time.
    """
    with context.store.reading() as tx:
        manifest = generations.get_manifest(tx, user=newest.user, ua=newest.ua, number=newest.number)
    stamped = not user_volume.is_open(context, session.id, vm=session.vm)

    def read(into: Path) -> Path:
        return context.images.extract(newest.archive, into=into)

    return Base(newest.archive, manifest, read, stamped=stamped)


def _told(context: Context, generation: Generation, *, consistency: str) -> dict[str, Any]:
    """Say what came of a save; its part of the result document."""
    if generation.state == "orphaned":
        context.progress(
            f"The save of session '{generation.session}' is kept aside as '{generation.archive}', "
            f"and the newest generation stays the newest: {generation.reason}"
        )
        return {"generation": None, "orphaned": generation.to_document()}
    context.progress(
        f"Generation {generation.number} of user '{generation.user}' is stored: "
        f"{generation.file_count} paths, {generation.size} bytes, {consistency}"
    )
    return {"generation": generation.to_document()}


def _spool(context: Context) -> AbstractContextManager[Path]:
    return private_directory(context.places.runs, prefix="image-")
