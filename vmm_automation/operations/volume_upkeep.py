"""Volumes of User Images without any guest: chains made short, what is damaged let go, what is kept aside.

A volume is a second form of a generation that the portable store has, so none is needed and any may go; but
what was kept aside is the only copy of what a session wrote, and is only ever removed by a person.
"""

from __future__ import annotations

from typing import Any

from vmm_automation.errors import Conflict, NotFound
from vmm_automation.model.session import Session
from vmm_automation.model.ua import UaDefinition
from vmm_automation.operations import user_volume
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import image_change
from vmm_automation.operations.identity import require_operator
from vmm_automation.operations.image_listing import session_of
from vmm_automation.state import generation_marks, generations, vms


def flatten(context: Context, *, check: bool = False) -> dict[str, Any]:
    """Make one layer of the volume of each newest generation that lies on too many; for a timer.

    Sessions may go on meanwhile. Takes time and room as the data of those users do.

    Raises:
        NotPermitted: the site lists its operators, and this is none of them.
    """
    require_operator(context.identity, doing="flatten volumes of user images")
    with context.store.reading() as tx:
        found = generations.list_generations(tx)
    newest = {(generation.user, generation.ua): generation for generation in found}.values()
    done = []
    for generation in newest:
        if not context.volumes.is_long(generation.archive):
            continue
        done.append({"user": generation.user, "ua": generation.ua, "generation": generation.number})
        if check or not context.volumes.flatten(generation.archive):
            continue
        of = {"user": generation.user, "ua": generation.ua}
        with (
            context.store.transaction() as tx,
            image_change(tx, context, **of, action="image.flatten", now=context.clock.now()) as result,
        ):
            result |= {"number": generation.number, "status": "ok"}
        context.progress(f"The volume of generation {generation.number} of user '{generation.user}' is flat")
    return {"changed": bool(done), "flattened": done}


def repair(context: Context, *, remove: bool = False, check: bool = False) -> dict[str, Any]:
    """Let go of layers that are damaged and of overlays whose VM is gone; list layers without a generation.

    With ``remove`` the latter go too. Reads every layer whole. A damaged one stays where the archive is not
    in the portable store: it may be all that is left. What only an overlay has is kept aside.
    """
    with context.store.reading() as tx:
        named = frozenset(generation_marks.referred(tx))
        known = vms.conditions(tx)
    if not (here := context.volumes.archives()) and not context.volumes.sessions_on():
        return {"changed": False, "damaged": [], "unnamed": [], "vms_gone": []}
    stored = frozenset(context.images.archives())
    unnamed = [archive for archive in here if archive not in named]
    damaged = [archive for archive in here if archive in named and context.volumes.prove(archive)]
    lost = sorted({vm for _, vm in context.volumes.sessions_on() if vm not in known})
    if not check:
        context.volumes.forget((*(unnamed if remove else ()), *(each for each in damaged if each in stored)))
        for vm in lost:
            user_volume.settle(context, vm)
    changed = bool((remove and unnamed) or stored.intersection(damaged) or lost)
    return {"changed": changed, "damaged": damaged, "unnamed": unnamed, "vms_gone": lost}


def aside(context: Context, name: str, *, user: str, ua: str) -> Session | None:
    """The session that wrote what is kept aside of this user and UA by this name; None if nothing is."""
    if name not in {path.stem for path in context.volumes.asides()}:
        return None
    session = session_of(context.store, name)
    return session if session and (session.user, session.ua) == (user, ua) else None


def require_aside(context: Context, name: str, *, session: Session, definition: UaDefinition) -> None:
    """Refuse to deploy what was kept aside into a session that cannot have it.

    Raises:
        NotFound: nothing of that name is kept of the session's user and UA.
        Conflict: it is of another data version; nothing converts a volume.
    """
    wrote = aside(context, name, user=session.user, ua=session.ua)
    if wrote is None:
        raise NotFound(
            f"User '{session.user}' has no volume '{name[:80]}' of UA '{session.ua}' kept aside",
            hint="vmm image list --orphaned",
            details={"user": session.user, "ua": session.ua},
        )
    versions = [definition.version(each.version).data_version for each in (wrote, session)]
    if versions[0] != versions[1]:
        raise Conflict(
            f"Volume '{name}' has data version {versions[0]}, not {versions[1]}",
            hint=f"vmm session open --user {wrote.user} --ua {wrote.ua} --version {wrote.version}",
            details={"volume": name, "session": session.id},
        )


def delete_aside(context: Context, name: str, *, user: str, ua: str, check: bool = False) -> dict[str, Any]:
    """Throw away what was kept aside.

    Raises:
        NotFound: nothing of that name is.
    """
    if not check:
        context.volumes.drop_aside(name)
    with (
        context.store.transaction(keep=not check) as tx,
        image_change(tx, context, user=user, ua=ua, action="image.delete", now=context.clock.now()) as result,
    ):
        result |= {"volume": name}
    return {"changed": True, "deleted": name, "archives": []}
