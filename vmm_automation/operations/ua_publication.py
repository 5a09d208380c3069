"""Publishing a UA as a revision with its changelog, and withdrawing a version from those who would get it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from vmm_automation.model.session import Session
from vmm_automation.model.times import to_text
from vmm_automation.operations import identity
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import ua_change
from vmm_automation.operations.ua_catalogue import validated
from vmm_automation.operations.ua_offer import changelog_of, revision_of
from vmm_automation.state import publications, sessions
from vmm_automation.state.publications import Withdrawal
from vmm_automation.state.store import Snapshot


def published(
    context: Context, *, ua_id: str, version: str = "", note: str = "", check: bool = False
) -> dict[str, Any]:
    """Keep a UA as it is now as a revision, with what is new in it; no change where nothing is.

    ``version`` is offered again if it was withdrawn.

    Raises:
        SiteInvalid: the definition, or an archive that it names, is not as it should be.
        NotFound: there is no such UA or version.
        NotPermitted: the site lists its operators, and this is none of them.
    """
    identity.require_operator(context.identity, doing=f"publish UA '{ua_id}'")
    definition = context.site.ua(ua_id)
    if version:
        definition.version(version)
    validated(context, ua_id)
    with context.store.transaction(keep=not check) as tx:
        now = context.clock.now()
        before = publications.revisions(tx, ua=ua_id)
        made = revision_of(context, definition, before, note=note, now=now)
        again = version if version in publications.withdrawals(tx, ua=ua_id) else ""
        changelog = changelog_of(before[-1] if before else None, made, again=again)
        if changelog:
            with ua_change(tx, context, ua_id, action="ua.publish", now=now) as result:
                publications.offer(tx, ua=ua_id, version=again)
                publications.add(tx, made)
                result.update({"revision": made.number, "note": note, "offered": again or None})
        shown = made if changelog else before[-1]
    return {"changed": bool(changelog), "ua": ua_id, "revision": shown.number, "changelog": changelog}


def withdrawn(
    context: Context, *, ua_id: str, version: str, drain_s: int = 0, reason: str = "", check: bool = False
) -> dict[str, Any]:
    """Offer a version no more: no session gets it, no VM. ``sessions`` are those that have it now.

    They go on for ``drain_s`` seconds, 0 for as long as they will; then ``vmm reconcile`` closes them. A
    second withdrawal only brings the end nearer. VMs keep the version until they are updated.

    Raises:
        NotFound: there is no such UA or version.
        NotPermitted: the site lists its operators, and this is none of them.
    """
    identity.require_operator(context.identity, doing=f"withdraw UA '{ua_id}' {version}")
    context.site.ua(ua_id).version(version)
    with context.store.transaction(keep=not check) as tx:
        now = context.clock.now()
        known = publications.withdrawals(tx, ua=ua_id).get(version)
        until = to_text(now + timedelta(seconds=drain_s)) if drain_s else ""
        if known:
            until = min(filter(None, (known.drain_until, until)), default="")
        made = known or Withdrawal(ua_id, version, to_text(now), context.actor, reason, until)
        made = replace(made, drain_until=until, reason=reason or made.reason)
        if made != known:
            with ua_change(tx, context, ua_id, action="ua.withdraw", now=now) as result:
                publications.withdraw(tx, made)
                result.update({"version": version, "drain_until": until or None})
        live = _in_use(tx, ua_id, version)
    return {"changed": made != known, **made.to_document(), "sessions": [_shown(each) for each in live]}


def _in_use(tx: Snapshot, ua_id: str, version: str) -> list[Session]:
    live = sessions.list_sessions(tx, live_only=True)
    return [each for each in live if (each.ua, each.version) == (ua_id, version)]


def _shown(session: Session) -> dict[str, str]:
    return {"id": session.id, "user": session.user, "vm": session.vm, "state": str(session.state)}
