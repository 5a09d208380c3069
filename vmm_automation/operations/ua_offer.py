"""UAs as they are offered: published with a changelog per revision, and versions withdrawn again.

The site's file says what a version is; the state says since when it is offered as it is, and whether it
still is. Publishing is a record: what the site defines can be used without it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

from vmm_automation.model.times import to_text
from vmm_automation.model.ua import UaDefinition
from vmm_automation.operations.context import Context
from vmm_automation.state import publications
from vmm_automation.state.publications import Revision
from vmm_automation.state.store import Snapshot


def offered_ua(context: Context, ua_id: str) -> UaDefinition:
    """A UA of the site, with the versions marked that were withdrawn.

    Raises:
        InvalidName, NotFound, SiteInvalid: as :meth:`Site.ua`.
    """
    definition = context.site.ua(ua_id)
    with context.store.reading() as tx:
        return offered_in(tx, definition)


def offered_in(tx: Snapshot, definition: UaDefinition) -> UaDefinition:
    """The same of a definition, by what the state says in ``tx``."""
    gone = publications.withdrawals(tx, ua=definition.id)
    if not gone:
        return definition
    return replace(
        definition,
        versions=tuple(replace(each, withdrawn=each.version in gone) for each in definition.versions),
    )


def offer(context: Context, ua_id: str) -> dict[str, Any]:
    """The publication of a UA: its revisions with their changelogs, and what was withdrawn."""
    definition = context.site.ua(ua_id)
    with context.store.reading() as tx:
        found = publications.revisions(tx, ua=ua_id)
        gone = publications.withdrawals(tx, ua=ua_id)
    last = found[-1] if found else None
    now = revision_of(context, definition, found, note="", now=context.clock.now())
    log = [
        {
            "revision": each.number,
            "published_at": each.published_at,
            "published_by": each.published_by,
            "note": each.note,
            "changelog": changelog_of(before, each),
        }
        for before, each in zip([None, *found], found, strict=False)
    ]
    return {
        "revisions": log,
        "unpublished": changelog_of(last, now),
        "withdrawn": [each.to_document() for each in gone.values()],
    }


def revision_of(
    context: Context, definition: UaDefinition, before: list[Revision], *, note: str, now: datetime
) -> Revision:
    """What would be published now."""
    return Revision(
        ua=definition.id,
        number=before[-1].number + 1 if before else 1,
        published_at=to_text(now),
        published_by=context.actor,
        note=note,
        common=_digest({key: value for key, value in _stated(definition).items() if key != "versions"}),
        versions={
            each.version: {
                "digest": _digest(_stated(each)),
                "kind": each.kind,
                "changes": list(each.changes),
            }
            for each in definition.versions
        },
    )


def changelog_of(before: Revision | None, after: Revision, *, again: str = "") -> list[dict[str, Any]]:
    """What a revision has that the one before had not; an entry without a version is about all of them."""
    old = before.versions if before else {}
    found: list[dict[str, Any]] = []
    if before and before.common != after.common:
        found.append({"version": None, "change": "changed", "changes": []})
    for version, stated in after.versions.items():
        known = old.get(version)
        if known is None or known["digest"] != stated["digest"]:
            change = "changed" if known else "added"
            found.append({"version": version, "change": change, "changes": stated["changes"]})
        elif version == again:
            found.append({"version": version, "change": "offered again", "changes": stated["changes"]})
    gone = [version for version in old if version not in after.versions]
    return found + [{"version": version, "change": "dropped", "changes": []} for version in gone]


def _stated(value: Any) -> dict[str, Any]:
    """What departs from the defaults: a key that a later release adds does not change what was published."""
    return {
        each.name: getattr(value, each.name)
        for each in fields(value)
        if getattr(value, each.name) != each.default
    }


def _digest(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True, default=_stated).encode()).hexdigest()
