"""Compares what the state wants with the VMs there are, and brings them together.

The state is the intent, and the VM follows it: a session that is suspended has its VM paused, one that is
active has it running and its port forwarded, and one that was cut off is given up or closed. Each mutating
command begins with this for what it touches, and ``vmm reconcile`` does it for the whole site. What needs a
guest (starting a UA anew, closing) is named for the caller, which has the connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from vmm_automation.errors import Conflict, NotFound, SiteInvalid, VmmError
from vmm_automation.model.names import check_name
from vmm_automation.model.session import Session, SessionState
from vmm_automation.model.times import from_text
from vmm_automation.model.vm import VmCondition, VmState
from vmm_automation.operations import forwards, lease_end, reconcile_plan
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import session_change, vm_change
from vmm_automation.operations.follow import IN_USE, follow
from vmm_automation.operations.ownership import is_given_up
from vmm_automation.operations.reconcile_plan import IN_GUEST, Action, Finding, Judged, Seen, plan
from vmm_automation.operations.session_abandon import abandon, find
from vmm_automation.operations.session_move_undo import STOPPED, undo
from vmm_automation.operations.vm_facts import facts
from vmm_automation.state import moves, pools, publications, sessions
from vmm_automation.state.store import Snapshot
from vmm_automation.trace import point

_CUT_OFF = "the run that opened it was cut off"


def reconcile(context: Context, *, vms: Sequence[str] = (), check: bool = False) -> dict[str, Any]:
    """Bring all sessions and their VMs together, or those on some VMs; says what is left for the guests.

    One thing that cannot be done holds up no other: ``failures`` has the errors. ``abandoned``: sessions
    given up; ``restarted``, ``to_close``: those with work in their guest; ``dirty``: VMs to be cleaned.

    Raises:
        NotFound: a VM of ``vms`` does not exist.
    """
    names = {check_name("VM", name) for name in vms}
    for name in names:
        context.hypervisor.vm(name)
    seen = {vm.name: Seen(vm, forwards.of_sessions(context, vm)) for vm in context.hypervisor.vms()}
    with context.store.reading() as tx:
        live = {session.vm: session for session in sessions.list_sessions(tx, live_only=True)}
        known = {*live, *seen} - set(
            moves.held_vms(tx)
        )  # a VM that a session is on its way to is not its own
        found: list[Finding] = []
        for name in sorted(known & (names or known)):
            session, its = live.get(name), seen.get(name, Seen(None))
            judged = _judge(tx, context, session) if session else Judged()
            found += plan(session, its, judged) if session else reconcile_plan.leftovers(name, its)
    point("reconcile.planned")
    failures = [] if check else _act_on_all(context, found)
    return _document(context, found, failures, vms=names)


def reconcile_session(context: Context, session_id: str, *, check: bool = False) -> Seen:
    """The same for one session, as the first step of whatever is done with it; returns its VM as it was seen.

    Raises:
        NotFound: there is no such session.
        VmmError: its VM could not be brought to what the state wants.
    """
    session = find(context, session_id)
    seen = observe(context, session.vm)
    with context.store.reading() as tx:
        session = sessions.get(tx, session_id=session_id)
        judged = _judge(tx, context, session, limits=False)
    if not check and session.live:
        for finding in plan(session, seen, judged):
            _act(context, finding)
    return seen


def observe(context: Context, name: str) -> Seen:
    """A VM and its forwards."""
    try:
        vm = context.hypervisor.vm(name)
    except NotFound:
        return Seen(None)
    return Seen(vm, forwards.of_sessions(context, vm))


def require_guest(session: Session, seen: Seen, *, doing: str) -> None:
    """Refuse what needs a guest in memory where there is none.

    Raises:
        Conflict: the VM is off or gone.
    """
    reason = reconcile_plan.obstacle(session, seen)
    if session.live and reason:
        raise Conflict(
            f"Cannot {doing} session '{session.id}': {reason}",
            hint=reconcile_plan.hint(session, seen),
            details={"session": session.id, "vm": session.vm},
        )


def is_to_be_closed(tx: Snapshot, context: Context, session: Session) -> bool:
    """Whether its closing was cut off, or a limit of time has passed, so that reconciling closes it."""
    judged = _judge(tx, context, session)
    return bool(judged.overdue) or (judged.given_up and session.state is SessionState.CLOSING)


def _judge(tx: Snapshot, context: Context, session: Session, *, limits: bool = True) -> Judged:
    now, policies = context.clock.now(), context.site.policies
    working = session.state in {SessionState.STARTING, SessionState.CLOSING}
    return Judged(
        given_up=working
        and is_given_up(
            session.owner, since=session.changed_at, now=now, deadline_s=policies.claim_deadline_s
        ),
        moving=working and moves.get(tx, session_id=session.id) is not None,
        lease_over=lease_end.is_due(tx, context, session, now=now),
        overdue=(_overdue(context, session, now=now) or _drained(tx, session, now=now))
        if limits and not working
        else "",
    )


def idle_limit_s(context: Context, session: Session) -> int:
    """After how many seconds without use a session is closed; 0 for never."""
    return _limits(context, session)[0]


def _limits(context: Context, session: Session) -> tuple[int, int]:
    """Idle and maximum time: the UA's own, or the site's."""
    idle_s, max_s = context.site.policies.session_idle_s, context.site.policies.session_max_s
    with suppress(NotFound, SiteInvalid):  # of a UA that the site does not have any more
        definition = context.site.ua(session.ua)
        idle_s = idle_s if definition.session_idle_s is None else definition.session_idle_s
        max_s = max_s if definition.session_max_s is None else definition.session_max_s
    return idle_s, max_s


def _overdue(context: Context, session: Session, *, now: datetime) -> str:
    """Which limit a session has passed. A suspended one cannot be used, so it is not idle."""
    idle_s, max_s = _limits(context, session)
    age = (now - from_text(session.created_at)).total_seconds()
    idle = (now - from_text(session.seen_at or session.created_at)).total_seconds()
    if max_s and age >= max_s:
        return f"open for longer than {max_s} s"
    if idle_s and idle >= idle_s and session.state is SessionState.ACTIVE:
        return f"not used for {idle_s} s"
    return ""


def _drained(tx: Snapshot, session: Session, *, now: datetime) -> str:
    """Why a session's version should not be in use any more."""
    drained = publications.is_drained(tx, ua=session.ua, version=session.version, now=now)
    return f"{session.ua} {session.version} was withdrawn" if drained else ""


def _act_on_all(context: Context, found: list[Finding]) -> list[dict[str, Any]]:
    failures = []
    for finding in found:
        try:
            _act(context, finding)
        except VmmError as failure:
            failures.append({**finding.to_document(), "error": failure.to_document()})
    return failures


def _act(context: Context, finding: Finding) -> None:
    if finding.action is Action.NONE or finding.action in IN_GUEST:
        return
    if finding.action is Action.ABANDON:
        with suppress(Conflict):  # it moves meanwhile
            abandon(context, finding.session, reason=_CUT_OFF)
    elif finding.action is Action.UNDO_MOVE:
        undo(context, finding.session, reason=finding.found)
    elif finding.action is Action.END_SUSPENSION:
        lease_end.resume_due(context, finding.session)
    elif finding.action is Action.MARK:
        _note(context, finding, reason=finding.wanted)
    elif finding.action is Action.FORWARD:
        _forward_again(context, finding)
    elif finding.action is Action.UNFORWARD:
        _unforward(context, finding)
    else:
        session = find(context, finding.session)
        follow(context, intent=session, before=session)
        point("reconcile.acted")
        _note(context, finding)
    point("reconcile.noted")


def _forward_again(context: Context, finding: Finding) -> None:
    there = context.hypervisor.forwards(finding.vm) or {}
    session = find(context, finding.session)  # looked up last: the state follows what is forwarded
    if session.state not in IN_USE or session.vm != finding.vm or session.port in there:
        return  # another run was faster
    told = STOPPED if session.reason == STOPPED else reconcile_plan.started_anew(session)
    _note(context, finding, reason=told)
    point("reconcile.marked")
    first = context.site.ua(session.ua).endpoints[0]
    port = forwards.add_again(context, session.vm, port=session.port, guest_port=first.port)
    point("reconcile.forwarded")
    if port != session.port:
        with context.store.transaction() as tx:
            now, present = context.clock.now(), sessions.get(tx, session_id=session.id)
            if (present.vm, present.port) != (session.vm, session.port):
                return  # it moved; what leads to this VM is taken away by the next run
            with session_change(tx, context, session.id, action="session.forward", now=now) as result:
                endpoint = session.endpoint.replace(f":{session.port}", f":{port}", 1)
                sessions.set_endpoint(tx, session_id=session.id, endpoint=endpoint, port=port)
                result |= {"port": port}


def _unforward(context: Context, finding: Finding) -> None:
    with context.store.reading() as tx:
        live = sessions.live_on_vm(tx, vm=finding.vm)
    if live and live.port == finding.port:
        return  # another run has given the session this port
    context.hypervisor.remove_forward(finding.vm, port=finding.port)
    _note(context, finding)


def _note(context: Context, finding: Finding, *, reason: str | None = None) -> None:
    """An entry for what was found and done; with ``reason`` the session has it from now on."""
    with context.store.transaction() as tx:
        now = context.clock.now()
        told = {key: str(value) for key, value in finding.to_document().items() if key != "session"}
        if not finding.session:
            with vm_change(tx, context, finding.vm, action="vm.reconcile", now=now) as result:
                result.update(told)
            return
        if not sessions.get(tx, session_id=finding.session).live:
            return  # it ended meanwhile
        with session_change(tx, context, finding.session, action="session.reconcile", now=now) as result:
            if reason is not None:
                sessions.set_reason(tx, session_id=finding.session, reason=reason)
            result.update(told)


def _document(
    context: Context, found: list[Finding], failures: list[dict[str, Any]], *, vms: set[str]
) -> dict[str, Any]:
    def work(action: Action) -> list[dict[str, str]]:
        return [{"session": each.session, "vm": each.vm} for each in found if each.action is action]

    with context.store.reading() as tx:
        reserved = pools.reserved(tx)  # a refill works on these, and proves them clean itself
    dirty = [
        fact.vm.name
        for fact in facts(context)
        if fact.condition is VmCondition.DIRTY and not fact.session and fact.vm.state is VmState.RUNNING
        if fact.vm.name not in reserved
    ]
    return {
        "changed": any(finding.action not in {Action.NONE, *IN_GUEST} for finding in found),
        "findings": [finding.to_document() for finding in found],
        "failures": failures,
        "abandoned": [each.session for each in found if each.action is Action.ABANDON],
        "restarted": work(Action.START_UA),
        "to_close": work(Action.CLOSE),
        "dirty": [name for name in dirty if name in vms or not vms],
    }
