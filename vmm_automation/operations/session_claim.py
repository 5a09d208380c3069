"""Which VM a request for a session gets: facts, selection, and the claim of the seat."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from vmm_automation.errors import Conflict, NoVmFits
from vmm_automation.model.names import check_name
from vmm_automation.model.policies import SecondSession
from vmm_automation.model.pool import Warmth
from vmm_automation.model.session import Session, SessionState
from vmm_automation.model.vm import VmFacts
from vmm_automation.model.waiting import Place
from vmm_automation.operations import clean_snapshot, seat_lookup, second_session
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import session_change
from vmm_automation.operations.ownership import run_token
from vmm_automation.operations.queue_places import ahead_of, drop_gone
from vmm_automation.operations.reconcile import idle_limit_s, reconcile_session, require_guest
from vmm_automation.operations.session import find, touch
from vmm_automation.operations.ua_offer import offered_in, offered_ua
from vmm_automation.operations.vm_facts import Observed, known, observed
from vmm_automation.selection.outcome import Choice, Selection
from vmm_automation.selection.select import select_vm
from vmm_automation.selection.turns import if_all_were_free, kept
from vmm_automation.site import Placement
from vmm_automation.state import generations, sessions, vms
from vmm_automation.state.sessions import SeatTaken
from vmm_automation.state.store import Snapshot, Tx
from vmm_automation.trace import point

Served = Callable[[Tx, Session, datetime], None]
_RACES = 8


@dataclass(frozen=True)
class Request:
    """A request for a session; ``terminal`` is a profile's name or the profile itself.

    ``number`` is what a request that waits has drawn: it stands before all that came later.
    """

    user: str
    ua: str
    terminal: str | dict[str, Any]
    version: str = ""
    vm: str = ""
    avoid: Sequence[str] = field(default_factory=tuple)
    priority: int = 0
    number: int | None = None

    @property
    def place(self) -> Place:
        """Where it stands in the queue, waiting or not."""
        return Place.of(self.priority, self.number)


def select(context: Context, request: Request) -> Selection:
    """Which VMs fit a request, best first, and why the others do not.

    VMs that are kept for requests ahead of this one in the queue do not fit.

    Raises:
        NotFound, TerminalInvalid, SiteInvalid: the request names what does not exist or is wrong.
        Conflict: it names a version that was withdrawn.
        NoVmFits: none fits.
    """
    _require_sound(context, request)
    found = observed(context)
    with context.store.reading() as tx:
        return _selection(tx, context, request, found)


def fits_once_free(context: Context, request: Request) -> bool:
    """Whether some VM would fit if all were clean and held by nobody: then waiting may help."""
    found = observed(context)
    with context.store.reading() as tx:
        try:
            _selection(tx, context, request, found, arranged=if_all_were_free)
        except NoVmFits:
            return False
    return True


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


def claim(
    context: Context, request: Request, *, check: bool = False, served: Served | None = None
) -> dict[str, Any]:
    """Select a VM and claim its seat: in score order, so that a lost race goes to the next VM.

    Nothing is taken from requests that stand before this one in the queue. ``served`` is called in the
    transaction of the claim. A user who has an active session of the UA gets that one again, unchanged,
    unless site or UA allow a second one.
    ``warmth`` of the document is what the VM is: one that is not *ready* is to be started before anything is
    done in its guest.

    Raises:
        NoVmFits: no VM fits, or every one that did was taken meanwhile.
        Conflict: the user has a session of this UA that is being opened, closed or is suspended, or whose VM
            is off or gone, or as many sessions as the site allows.
    """
    if present := _active_already(context, request, check=check):
        return {"changed": False, "session": present.to_document(), "vm": present.vm}
    _require_sound(context, request)
    if not check and (done := _claim_by_seats(context, request, served)):
        return done
    found = observed(context)
    if not check:
        seat_lookup.learn_all(context, found)
    with context.store.reading() as tx:
        selection = _selection(tx, context, request, found)
        stored = _stored(tx, request)
    if check:
        explanation = selection.to_document()
        return {"changed": True, "vm": selection.best.vm, "selection": explanation, "generation": stored}
    with context.store.transaction() as tx:
        now = context.clock.now()
        drop_gone(tx, context, now=now)
        if ahead_of(tx, context, request.place):  # who came meanwhile is not overtaken either
            selection = _selection(tx, context, request, found)
        session, choice = _take_best(tx, context, request, selection, now=now)
        if served:
            served(tx, session, now)
    return _claimed(context, session, choice, stored=stored)


def _claim_by_seats(context: Context, request: Request, served: Served | None) -> dict[str, Any] | None:
    """On a large site, for a request of any VM that nobody is ahead of; None: look at all VMs."""
    if request.version or request.vm or request.avoid:
        return None
    ua, terminal = offered_ua(context, request.ua), context.site.terminal(request.terminal)
    for _ in range(_RACES):
        selection = seat_lookup.selection(context, user=request.user, ua=ua, terminal=terminal)
        if selection is None:
            return None
        explanation, choice = selection.to_document(most=seat_lookup.TOLD), selection.best
        taken: Session | None = None
        with suppress(SeatTaken), context.store.transaction() as tx:
            now = context.clock.now()
            drop_gone(tx, context, now=now)
            if ahead_of(tx, context, request.place):
                return None
            taken = _take(tx, context, request, choice, explanation=explanation, now=now)
            if served:
                served(tx, taken, now)
            stored = _stored(tx, request)
        if taken:
            return _claimed(context, taken, choice, stored=stored)
    return None


def _stored(tx: Snapshot, request: Request) -> int:
    newest = generations.newest(tx, user=request.user, ua=request.ua)
    return newest.number if newest else 0


def _claimed(context: Context, session: Session, choice: Choice, *, stored: int) -> dict[str, Any]:
    point("session.claim.recorded")
    context.progress(f"Session {session.id} is on {choice.sentence()}")
    second_session.say(context, second_session.told(session))
    return {
        "changed": True,
        "session": session.to_document(),
        "vm": session.vm,
        "warmth": str(choice.warmth),
        "snapshot": clean_snapshot.ensure(context, session.vm) if choice.warmth is Warmth.READY else None,
        "selection": session.explanation,
        "generation": stored,
    }


def _require_sound(context: Context, request: Request) -> None:
    check_name("user", request.user)
    definition = offered_ua(context, request.ua)
    if request.version:
        definition.offered(request.version)
    if request.vm:
        context.hypervisor.vm(request.vm)
    context.site.terminal(request.terminal)


def _selection(
    tx: Snapshot,
    context: Context,
    request: Request,
    found: Observed,
    *,
    arranged: Callable[[list[VmFacts]], list[VmFacts]] | None = None,
) -> Selection:
    """Over what the state says in ``tx``; those ahead come first, unless the VMs are ``arranged``."""
    facts, pack = known(tx, found), context.site.policies.placement is Placement.PACK
    ahead = () if arranged else ahead_of(tx, context, request.place)
    facts = arranged(facts) if arranged else kept(facts, ahead, pack=pack)
    return select_vm(
        ua=offered_in(tx, context.site.ua(request.ua)),
        terminal=context.site.terminal(request.terminal),
        facts=facts,
        version=request.version or None,
        wanted_vm=request.vm or None,
        avoid=request.avoid,
        last_vm=sessions.last_vm(tx, user=request.user, ua=request.ua),
        pack=pack,
    )


def _take_best(
    tx: Tx, context: Context, request: Request, selection: Selection, *, now: datetime
) -> tuple[Session, Choice]:
    for choice in selection.ranked:
        explanation = seat_lookup.explanation(context, selection, chosen=choice.vm)
        with suppress(SeatTaken):
            return _take(tx, context, request, choice, explanation=explanation, now=now), choice
    raise NoVmFits(
        f"Every VM that fits UA '{request.ua}' was taken meanwhile",
        hint="vmm session list",
        details=selection.to_document(),
    )


def _take(
    tx: Tx,
    context: Context,
    request: Request,
    choice: Choice,
    *,
    explanation: dict[str, Any],
    now: datetime,
) -> Session:
    session_id = f"s-{secrets.token_hex(4)}"
    with session_change(tx, context, session_id, action="session.claim", now=now) as result:
        session = sessions.claim(
            tx,
            session_id=session_id,
            user=request.user,
            ua=request.ua,
            version=choice.version,
            vm=choice.vm,
            terminal=context.site.terminal(request.terminal).name,
            explanation=explanation,
            owner=run_token(),
            now=now,
            user_limit=context.site.policies.sessions_per_user,
            second=second_session.policy(context, request.ua),
        )
        vms.mark_dirty(tx, vm=choice.vm, reason=f"session {session.id}", now=now)
        result |= {"user": session.user, "ua": session.ua, "vm": session.vm, "fence": session.fence}
        result |= {"mode": str(session.mode)}
    return session


def _active_already(context: Context, request: Request, *, check: bool) -> Session | None:
    """The user's active session of the UA, if it can be used; being asked for counts as being used.

    Where no session is closed for being idle that is not noted: asking again then changes nothing at all.
    """
    check_name("user", request.user)
    if second_session.policy(context, request.ua) is not SecondSession.EXCLUSIVE:
        return None
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
