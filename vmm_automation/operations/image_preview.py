"""What a capture would add, change and drop, what it would leave out, and by which rule; nothing is stored.

No hook of the UA runs and nothing is made to stand still, so a program that writes meanwhile may be seen
half-way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, Final

from vmm_automation.adapters.private_directory import private_directory
from vmm_automation.errors import ArtifactInvalid, Conflict, ImageTooLarge
from vmm_automation.images.archive import shown
from vmm_automation.images.cap import measured, verdict
from vmm_automation.images.comparison import compare
from vmm_automation.images.layers import ancestors, declared, layer_of, outermost
from vmm_automation.model.image import FileEntry, Manifest
from vmm_automation.model.session import Session, SessionState
from vmm_automation.model.ua import CaptureRules, UaDefinition
from vmm_automation.operations import second_session, user_image, user_volume
from vmm_automation.operations.context import Context
from vmm_automation.operations.image_transfer import base_generation, base_of, parent_of
from vmm_automation.operations.session import find
from vmm_automation.operations.user_image_answers import names, succeeded
from vmm_automation.operations.user_image_fetch import Base
from vmm_automation.operations.user_image_scripts import SessionAccount, preview_script
from vmm_automation.ports import Guest

_KINDS: Final = {"f": "file", "d": "directory", "l": "symlink", "s": "socket", "p": "named pipe"}
_DATALESS: Final = ("s", "p")


def preview(context: Context, guest: Guest, session_id: str) -> dict[str, Any]:
    """The difference that a capture would make to the generation before, and what it would not take.

    ``refused`` says why a capture would fail as a whole; there are no ``changes`` then. ``cap`` has what it
    would hold beside what the UA allows, None where that is not known.

    Raises:
        Conflict: the session is not active, not on this VM, or read-only.
        TaskFailed, GuestUnreachable: the guest could not be read.
    """
    session = find(context, session_id)
    if session.state is not SessionState.ACTIVE or session.vm != guest.name:
        raise Conflict(
            f"Session '{session_id}' is {session.state} on VM '{session.vm}', not active on '{guest.name}'",
            hint=f"vmm session show {session_id}",
            details={"session": session_id, "state": str(session.state), "vm": session.vm},
        )
    second_session.require_stored(session, doing="capture")
    definition = replace(context.site.ua(session.ua), capture=CaptureRules(freeze_s=0))
    with context.store.reading() as tx:
        before = base_generation(tx, session)
    base = base_of(context, before, session=session) if before else None
    old = base.manifest.files if base else ()
    refused, after, without, cap = "", None, [], None
    with user_volume.undisturbed(context, guest, session_id):
        try:
            after = _captured(context, guest, session, definition, base=base)
            cap = verdict(measured(after.files), definition)
            without = _left_out(guest, definition, {entry.path for entry in after.files})
        except (ArtifactInvalid, ImageTooLarge) as wrong:
            refused, cap = wrong.message, wrong.details.get("cap")
    return {
        "changed": False,
        "session": session_id,
        "parent": parent_of(session, before),
        "refused": refused,
        "cap": cap,
        "changes": _changes(definition, old, after.files) if after else [],
        "left_out": without,
    }


def left_out(
    definition: UaDefinition, found: Iterable[tuple[str, str]], *, taken: set[str]
) -> list[dict[str, str]]:
    """Of paths with their kinds those that a capture does not take, the topmost of each, and why."""
    layers = declared(definition.user_data)
    on_the_way = {above for path in layers for above in ancestors(path)}
    without = {
        path: kind for path, kind in found if path not in taken and path not in on_the_way and path != "."
    }
    return [
        {"path": shown(path), "kind": _KINDS.get(kind, "device"), "why": _why(definition, layers, path, kind)}
        for path, kind in sorted(without.items())
        if not any(above in without for above in ancestors(path))
    ]


def _captured(
    context: Context, guest: Guest, session: Session, definition: UaDefinition, *, base: Base | None
) -> Manifest:
    parent = base.manifest.generation if base else 0
    origin = user_image.Origin(session.user, session.version, session.id, session.fence, parent)
    with private_directory(context.places.runs, prefix="image-") as spool:
        manifest, _name = user_image.capture(
            guest, origin, ua=definition, spool=spool, images=None, clock=context.clock, base=base
        )
    return manifest


def _changes(
    definition: UaDefinition, before: tuple[FileEntry, ...], after: tuple[FileEntry, ...]
) -> list[dict[str, str]]:
    rules = declared(definition.user_data)
    return [
        {"layer": layer, "change": change, "path": path, "why": _rule(rules, path)}
        for layer, kinds in compare(before, after).items()
        for change, paths in kinds.items()
        for path in paths
    ]


def _rule(rules: dict[str, str], path: str) -> str:
    for above in [path, *reversed(ancestors(path))]:
        if above in rules:
            return f"'{above}' is declared as {rules[above]}"
    return "it is declared no more"


def _left_out(guest: Guest, definition: UaDefinition, taken: set[str]) -> list[dict[str, str]]:
    layers = declared(definition.user_data)
    beside = sorted({".", *(above for path in layers for above in ancestors(path))})
    script = preview_script(SessionAccount(), paths=outermost(layers), beside=beside)
    doing = "look through the user's home"
    told = names(guest, succeeded(guest, guest.run(script), doing=doing).stdout, doing=doing)
    pairs = [item.partition(" ") for item in told]
    return left_out(definition, ((path.removeprefix("./"), kind) for kind, _, path in pairs), taken=taken)


def _why(definition: UaDefinition, layers: dict[str, str], path: str, kind: str) -> str:
    if not layer_of(layers, path):
        return "no settings or exceptions are declared there"
    if kind in _DATALESS:
        return f"{_KINDS[kind]}s are never kept, they hold no data"
    parts = path.split("/")
    tails = ["/".join(parts[start:]) for start in range(len(parts))]
    for pattern in definition.user_data.exclude:
        if any(fnmatchcase(tail, pattern) for tail in tails):
            return f"excluded by '{pattern}'"
    return "excluded, or not readable as the session account"
