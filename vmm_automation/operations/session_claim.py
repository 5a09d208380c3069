"""Which VM a request for a session gets: facts, selection, and the claim of the seat."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from vmm_automation.errors import Conflict, NoVmFits
from vmm_automation.model.names import check_name
from vmm_automation.model.session import Session, SessionState
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import session_change
from vmm_automation.operations.ownership import run_token
from vmm_automation.operations.reconcile import idle_limit_s, reconcile_session, require_guest
from vmm_automation.operations.session import find, touch
from vmm_automation.operations.ua_offer import offered_ua
from vmm_automation.operations.vm_facts import facts
from vmm_automation.selection.outcome import Choice, Selection
from vmm_automation.selection.select import select_vm
from vmm_automation.site import Placement
from vmm_automation.state import generations, sessions, vms
from vmm_automation.state.sessions import SeatTaken
from vmm_automation.trace import point


@dataclass(frozen=True)
class Request:
    """A request for a session; ``terminal`` is a profile's name or the profile itself."""

    user: str
    ua: str
    terminal: str | dict[str, Any]
    version: str = ""
    vm: str = ""
    avoid: Sequence[str] = field(default_factory=tuple)


def select(context: Context, request: Request) -> Selection:
    """Which VMs fit a request, best first, and why the others do not.

    Raises:
        NotFound, TerminalInvalid, SiteInvalid: the request names what does not exist or is wrong.
        Conflict: it names a version that was withdrawn.
        NoVmFits: none fits.
    """
    check_name("user", request.user)
    definition = offered_ua(context, request.ua)
    if request.version:
        definition.offered(request.version)
    if request.vm:
        context.hypervisor.vm(request.vm)
    terminal = context.site.terminal(request.terminal)
    with context.store.reading() as tx:
        last_vm = sessions.last_vm(tx, user=request.user, ua=request.ua)
    return select_vm(
        ua=definition,
        terminal=terminal,
        facts=facts(context),
        version=request.version or None,
        wanted_vm=request.vm or None,
        avoid=request.avoid,
        last_vm=last_vm,
        pack=context.site.policies.placement is Placement.PACK,
    )


def considered(
    context: Context, request: Request, *, report: Callable[[dict[str, Any]], None] | None = None
) -> dict[str, Any]:
    """The selection that a request would lead to now, as a document; nothing is claimed or changed.

    ``report`` is given the document where no VM fits, before that is raised.

    Raises:
        NotFound, TerminalInvalid, SiteInvalid: the request names what does not exist or is wrong.
        NoVmFits: none fits; ``details`` is the document.
    """
    try:
        return select(context, request).to_document()
    except NoVmFits as none:
        if report:
            report(none.details)
        raise


def claim(context: Context, request: Request, *, check: bool = False) -> dict[str, Any]:
    """Select a VM and claim its seat: in score order, so that a lost race goes to the next VM.

    A user who has an active session of the UA gets that one again, unchanged.

    Raises:
        NoVmFits: no VM fits, or every one that did was taken meanwhile.
        Conflict: the user has a session of this UA that is being opened, closed or is suspended, or whose VM
            is off or gone, or as many sessions as the site allows.
    """
    if present := _active_already(context, request, check=check):
        return {"changed": False, "session": present.to_document(), "vm": present.vm}
    selection = select(context, request)
    terminal = context.site.terminal(request.terminal)
    explanation = selection.to_document()
    with context.store.reading() as tx:
        newest = generations.newest(tx, user=request.user, ua=request.ua)
    stored = newest.number if newest else 0
    if check:
        return {"changed": True, "vm": selection.ranked[0].vm, "selection": explanation, "generation": stored}
    for choice in selection.ranked:
        try:
            session = _take(context, request, choice, terminal=terminal.name, explanation=explanation)
        except SeatTaken:
            continue
        context.progress(f"Session {session.id} is on {choice.sentence()}")
        return {
            "changed": True,
            "session": session.to_document(),
            "vm": session.vm,
            "selection": explanation,
            "generation": stored,
        }
    raise NoVmFits(
        f"Every VM that fits UA '{request.ua}' was taken meanwhile",
        hint="vmm session list",
        details=explanation,
    )


def _take(
    context: Context, request: Request, choice: Choice, *, terminal: str, explanation: dict[str, Any]
) -> Session:
    session_id = f"s-{secrets.token_hex(4)}"
    with context.store.transaction() as tx:
        now = context.clock.now()
        with session_change(tx, context, session_id, action="session.claim", now=now) as result:
            session = sessions.claim(
                tx,
                session_id=session_id,
                user=request.user,
                ua=request.ua,
                version=choice.version,
                vm=choice.vm,
                terminal=terminal,
                explanation=explanation,
                owner=run_token(),
                now=now,
                user_limit=context.site.policies.sessions_per_user,
            )
            vms.mark_dirty(tx, vm=choice.vm, reason=f"session {session.id}", now=now)
            result |= {"user": session.user, "ua": session.ua, "vm": session.vm, "fence": session.fence}
    point("session.claim.recorded")
    return session


def _active_already(context: Context, request: Request, *, check: bool) -> Session | None:
    """The user's active session of the UA, if it can be used; being asked for counts as being used.

    Where no session is closed for being idle that is not noted: asking again then changes nothing at all.
    """
    check_name("user", request.user)
    with context.store.reading() as tx:
        live = sessions.live_of_user(tx, user=request.user, ua=request.ua)
    if live is None or live.state is not SessionState.ACTIVE:
        return None
    seen = reconcile_session(context, live.id, check=check)
    require_guest(live, seen, doing="open")
    live = find(context, live.id)
    if live.reason:
        raise Conflict(
            f"Cannot open session '{live.id}': {live.reason}",
            hint="vmm reconcile",
            details={"session": live.id, "vm": live.vm},
        )
    if not check and idle_limit_s(context, live):
        touch(context, live.id)
    return live
