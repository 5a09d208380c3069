"""What becomes of a captured archive: the next generation, or a save that is kept aside for a person.

A save is kept aside, and never dropped, where

- its session is a branch: another one writes that user's data;
- it may not be written: a newer session has claimed or written meanwhile, or another capture was quicker;
- it looks like the wreck of a crash: the parent's settings had content and these have none, and either the
  files are still there, all of them empty, as a file system leaves them whose writes were lost, or the VM
  was started anew during the session. A user who deletes everything on a VM that kept running is believed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from vmm_automation.errors import Conflict, NotFound
from vmm_automation.images.layers import SETTINGS
from vmm_automation.images.manifest import to_generation
from vmm_automation.model.image import FileEntry, Generation, Manifest
from vmm_automation.model.session import SessionMode
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import image_change
from vmm_automation.state import generations, orphans, sessions
from vmm_automation.state.store import Snapshot, Tx
from vmm_automation.trace import point

_MARKED = frozenset({"mark", "start_ua"})


def record(
    context: Context,
    *,
    manifest: Manifest,
    archive: str,
    omitted: Sequence[dict[str, str]] = (),
    closing: bool = False,
) -> Generation:
    """Note a captured archive in the state; that of a branch, or a wreck's, is *orphaned*, see its ``state``.

    ``omitted`` is what it lacks on purpose, for the record. With ``closing`` the session notes which
    generation it left.

    Raises:
        Conflict: the save came too late; it is kept aside, nothing is overwritten.
    """
    given = to_generation(manifest, archive)
    with context.store.transaction() as tx:
        branch = _branch(tx, manifest)
        refused = "" if branch else generations.refusal(tx, generation=given)
        why = branch or refused or _wreck(tx, manifest)
        if why:
            recorded = _keep_aside(tx, context, given, manifest, reason=why, omitted=omitted)
        else:
            recorded = _add(tx, context, given, manifest, omitted=omitted)
        if closing and not refused:
            left = manifest.parent if why else recorded.number
            sessions.set_generation(tx, session_id=manifest.session, generation=left)
    point("image.capture.recorded")
    if recorded.archive != archive:
        context.images.delete(archive)  # a repeated close: the same is kept already
    if refused:
        raise _too_late(recorded, why=refused)
    return recorded


def _add(
    tx: Tx,
    context: Context,
    generation: Generation,
    manifest: Manifest,
    *,
    omitted: Sequence[dict[str, str]],
) -> Generation:
    of, now = {"user": generation.user, "ua": generation.ua}, context.clock.now()
    with image_change(tx, context, **of, action="image.capture", now=now) as result:
        generations.add(tx, generation=generation, manifest=manifest)
        result |= {
            "number": generation.number,
            "session": generation.session,
            "digest": generation.root_digest,
            **({"omitted": list(omitted)} if omitted else {}),
        }
    return generation


def _keep_aside(
    tx: Tx,
    context: Context,
    generation: Generation,
    manifest: Manifest,
    *,
    reason: str,
    omitted: Sequence[dict[str, str]],
) -> Generation:
    if kept := orphans.same(tx, generation=generation):
        return kept
    of, now = {"user": generation.user, "ua": generation.ua}, context.clock.now()
    with image_change(tx, context, **of, action="image.orphan", now=now) as result:
        orphans.add(tx, generation=generation, manifest=manifest, reason=reason)
        told = {"archive": generation.archive, "session": generation.session, "reason": reason}
        result |= {**told, **({"omitted": list(omitted)} if omitted else {})}
    return replace(generation, state="orphaned", reason=reason)


def _branch(tx: Snapshot, manifest: Manifest) -> str:
    """Which branch from where a save is; empty if it is of none."""
    try:
        session = sessions.get(tx, session_id=manifest.session)
    except NotFound:
        return ""
    if session.mode is not SessionMode.BRANCH or session.fence != manifest.fence:
        return ""
    origin = f"from generation {manifest.parent}" if manifest.parent else "from before the first generation"
    return f"session '{session.id}' is a branch {origin}"


def _wreck(tx: Snapshot, manifest: Manifest) -> str:
    """Why a save looks like what a crash left; empty if it does not."""
    if not manifest.parent:
        return ""
    files = _settings(manifest)
    before = generations.get_manifest(tx, user=manifest.user, ua=manifest.ua, number=manifest.parent)
    if _content(files) or not _content(_settings(before)):
        return ""
    if files:
        return f"its {len(files)} files of settings are all empty, unlike in generation {manifest.parent}"
    if _was_started_anew(tx, manifest.session):
        return f"its settings are gone since the VM was started anew; generation {manifest.parent} has some"
    return ""


def _settings(manifest: Manifest) -> list[FileEntry]:
    return [entry for entry in manifest.files if entry.layer == SETTINGS and entry.kind == "file"]


def _content(files: list[FileEntry]) -> int:
    return sum(entry.size for entry in files)


def _was_started_anew(tx: Snapshot, session: str) -> bool:
    rows = tx.all(
        "SELECT action, result FROM audit_events WHERE object = :session"
        " AND action IN ('session.restart', 'session.reconcile')",
        session=session,
    )
    return any(
        row["action"] == "session.restart" or json.loads(row["result"]).get("action") in _MARKED
        for row in rows
    )


def _too_late(kept: Generation, *, why: str) -> Conflict:
    return Conflict(
        f"Save of session '{kept.session}' is no generation of user '{kept.user}', UA '{kept.ua}': {why}. "
        f"It is kept aside as '{kept.archive}'",
        hint=f"vmm image list --orphaned --user {kept.user}",
        details={"user": kept.user, "ua": kept.ua, "session": kept.session, "archive": kept.archive},
    )
