"""Which VM a request for a session gets: facts, selection, and the claim of the seat."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from vmm_automation.errors import NoVmFits
from vmm_automation.model.names import check_name
from vmm_automation.model.session import Session, SessionState
from vmm_automation.model.vm import VmCondition, VmFacts
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import session_change
from vmm_automation.operations.ownership import run_token
from vmm_automation.selection.outcome import Choice, Selection
from vmm_automation.selection.select import select_vm
from vmm_automation.state import generations, ledger, sessions, vms
from vmm_automation.state.sessions import SeatTaken


@dataclass(frozen=True)
class Request:
    """A request for a session; ``terminal`` is a profile's name or the profile itself."""

    user: str
    ua: str
    terminal: str | dict[str, Any]
    version: str = ""
    vm: str = ""
    avoid: Sequence[str] = field(default_factory=tuple)


def facts(context: Context) -> list[VmFacts]:
    """All VMs of the site with what the state store knows of them."""
    observed = context.hypervisor.vms()
    with context.store.reading() as tx:
        conditions = vms.conditions(tx)
        active = ledger.active_versions(tx)
        live = {session.vm: session.id for session in sessions.list_sessions(tx, live_only=True)}
    return [
        VmFacts(
            vm=vm,
            condition=conditions.get(vm.name, VmCondition.DIRTY),
            session=live.get(vm.name),
            active_uas=dict(active.get(vm.name, {})),
        )
        for vm in observed
    ]


def select(context: Context, request: Request) -> Selection:
    """Which VMs fit a request, best first, and why the others do not.

    Raises:
        NotFound, TerminalInvalid, SiteInvalid: the request names what does not exist or is wrong.
        NoVmFits: none fits.
    """
    check_name("user", request.user)
    definition = context.site.ua(request.ua)
    if request.version:
        definition.version(request.version)
    if request.vm:
        context.hypervisor.vm(request.vm)
    terminal = context.site.terminal(request.terminal)
    with context.store.reading() as tx:
        history = sessions.list_sessions(tx, live_only=False)
    mine = [session for session in history if session.user == request.user and session.ua == request.ua]
    return select_vm(
        ua=definition,
        terminal=terminal,
        facts=facts(context),
        version=request.version or None,
        wanted_vm=request.vm or None,
        avoid=request.avoid,
        last_vm=max(mine, key=lambda session: session.created_at).vm if mine else None,
    )


def claim(context: Context, request: Request, *, check: bool = False) -> dict[str, Any]:
    """Select a VM and claim its seat: in score order, so that a lost race goes to the next VM.

    A user who has an active session of the UA gets that one again, unchanged.

    Raises:
        NoVmFits: no VM fits, or every one that did was taken meanwhile.
        Conflict: the user has a session of this UA that is being opened, closed or is suspended.
    """
    if present := _active_already(context, request):
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
            )
            vms.mark_dirty(tx, vm=choice.vm, reason=f"session {session.id}", now=now)
            result |= {"user": session.user, "ua": session.ua, "vm": session.vm, "fence": session.fence}
    return session


def _active_already(context: Context, request: Request) -> Session | None:
    check_name("user", request.user)
    with context.store.reading() as tx:
        live = sessions.live_of_user(tx, user=request.user, ua=request.ua)
    return live if live and live.state is SessionState.ACTIVE else None
