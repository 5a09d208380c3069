"""A UA brought to many VMs in batches: one rollout per UA at a time, a limit of failures, a result per VM.

The playbook opens the rollout, works on one batch of VMs after the other, and concludes it. A VM that fails
does not end the play: what came of each VM is kept in the state, and judged at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from typing import Any

from vmm_automation.errors import Conflict, Partial, VmmError, error_from_document
from vmm_automation.operations import deployment, ua_drain, vm_lock
from vmm_automation.operations.actor import os_user
from vmm_automation.operations.context import Context
from vmm_automation.operations.identity import require_operator
from vmm_automation.operations.ownership import run_token
from vmm_automation.operations.ua_rollout_control import held, require_rollout, rollout_change, terms_of
from vmm_automation.operations.ua_rollout_plan import Terms, batch_sizes, is_in_the_way, plan_rollout
from vmm_automation.ports import Guest
from vmm_automation.state import holds, ledger, rollouts, sessions
from vmm_automation.state.rollouts import Outcome

_PAUSED = "paused by "


def opened(
    context: Context,
    names: Sequence[str],
    *,
    ua_id: str,
    terms: Terms,
    pool: str = "",
    limit: str = "",
    run: str = "",
    check: bool = False,
) -> dict[str, Any]:
    """Check and prepare as :func:`deployment.prepared` does, and be the only one to roll the UA out.

    ``run`` is the token of the command that runs the playbook, if one does: when it ends, so does the right.
    The document has the ``plan``, a step for each VM, and ``batches``, the numbers of VMs in each.

    Raises:
        UsageError: the batches are no numbers of VMs.
        LockHeld: another run rolls it out, or it is paused; ``details['holder']`` says who.
        NotPermitted: the site lists its operators, and this is none of them.
    """
    require_operator(context.identity, doing=f"roll out UA '{ua_id}'")
    batch_sizes(1, terms.batch)
    document = deployment.prepared(
        context, names, ua_id=ua_id, version=terms.version, pool=pool, limit=limit, order=terms.order
    )
    terms = replace(terms, version=document["version"])
    owner = run or run_token()
    with context.store.transaction(keep=not check) as tx:
        now = context.clock.now()
        found = rollouts.get(tx, ua=ua_id)
        if found and found.owner != owner and (refusal := held(context, found, now=now)):
            raise refusal
        holder = context.actor or os_user()
        request = {**asdict(terms), "targets": document["targets"]}
        rollouts.begin(tx, ua=ua_id, holder=holder, owner=owner, now=now, request=request)
    return {**document, **_planned(context, document["targets"], ua_id=ua_id, terms=terms)}


def resumed(context: Context, *, ua_id: str, run: str = "", check: bool = False) -> dict[str, Any]:
    """Take over a rollout that was paused or cut off: the VMs that are not done, on the same terms.

    Raises:
        NotFound: there is none.
        Conflict: nothing is left to do.
        LockHeld: it goes on.
    """
    with context.store.reading() as tx:
        found = require_rollout(tx, ua_id, doing="resume")
        done = {each.vm for each in rollouts.outcomes(tx, ua=ua_id) if each.outcome == "done"}
    terms = terms_of(found)
    left = [name for name in found.request.get("targets", ()) if name not in done]
    if not left:  # cut off before it was concluded
        raise Conflict(
            f"Nothing is left to do of the rollout of UA '{ua_id}'",
            hint=f"vmm ua rollout stop {ua_id}",
            details={"ua": ua_id},
        )
    document = deployment.prepared(context, left, ua_id=ua_id, version=terms.version, order=terms.order)
    with rollout_change(context, ua_id, verb="resume", check=check) as (tx, found, now):
        if refusal := held(context, replace(found, paused_at=""), now=now):
            raise refusal
        rollouts.resume(tx, ua=ua_id, owner=run or run_token())
    return {**document, **_planned(context, document["targets"], ua_id=ua_id, terms=terms)}


def on_vm(
    context: Context,
    guest: Guest,
    act: Callable[[], dict[str, Any]],
    *,
    ua_id: str,
    terms: Terms,
    check: bool = False,
) -> dict[str, Any]:
    """Do one VM's part, unless the VM is in a session, the limit was reached, or the rollout was paused.

    A session is waited for as long as the terms say, and until the VM is done no other is given it. Where
    they say nothing at all, only a pause counts, and a failure is raised.
    """
    require_operator(context.identity, doing=f"roll out UA '{ua_id}'")
    began = time.monotonic()
    done: dict[str, Any] = {"changed": False, "vms": {guest.name: {"ua": ua_id, "actions": []}}}
    if not (check or terms.plain):
        ua_drain.hold(context, guest.name, reason=_held_for(ua_id), drain_s=terms.drain_s)
    against = _obstacle(context, guest.name, ua_id=ua_id, terms=terms, check=check)
    # not while a session is waited for: to end, it needs the VM for itself
    with nullcontext() if check or against else vm_lock.held(context, guest.name):
        if not (check or against):
            against = _obstacle(context, guest.name, ua_id=ua_id, terms=terms, wait=False)
        if against:
            outcome = Outcome(guest.name, "skipped", reason=against)
        elif terms.plain:
            return act()
        else:
            reason, error = "", None
            try:
                done = act()
            except VmmError as failure:
                reason, error = failure.message, failure.to_document()
            took = round((time.monotonic() - began) * 1000)
            outcome = Outcome(guest.name, "failed" if error else "done", took, reason, error)
    if not check:
        with context.store.transaction() as tx:
            rollouts.note(tx, outcome, ua=ua_id)
            holds.release(tx, vm=guest.name, reason=_held_for(ua_id))
    elif outcome.error:
        raise error_from_document(outcome.error)
    done["vms"][guest.name] |= outcome.to_document()
    return done


def concluded(context: Context, *, ua_id: str, run: str = "", check: bool = False) -> dict[str, Any]:
    """End the rollout of this run, and judge it; no change in itself. One that was paused stays.

    Raises:
        Partial: some VMs failed and some did not, or it was paused before all were begun;
            ``details['vms']`` tells of each.
        Conflict: all VMs were in use.
        VmmError: all that were worked on failed: the first failure, with ``details['vms']``.
    """
    with context.store.transaction(keep=not check) as tx:
        found = rollouts.get(tx, ua=ua_id)
        if found is None or found.owner != (run or run_token()):
            return {"changed": False}
        outcomes = rollouts.outcomes(tx, ua=ua_id)
        left = [each.vm for each in outcomes if each.reason.startswith(_PAUSED)]
        if left:
            rollouts.let_go(tx, ua=ua_id)
        else:
            rollouts.end(tx, ua=ua_id)
    if left:
        raise Partial(
            f"The rollout of UA '{ua_id}' is {_PAUSED}'{found.paused_by}' with {len(left)} VMs to do"
            f" ({', '.join(left)})",
            hint=f"vmm ua rollout resume {ua_id}",
            details=_told(outcomes),
        )
    _judge(ua_id, outcomes)
    return {"changed": False}


def _told(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    return {"vms": {each.vm: each.to_document() for each in outcomes}}


def _judge(ua_id: str, outcomes: Sequence[Outcome]) -> None:
    """Raise what a rollout that is over has come to; nothing where some VM is done and none failed."""
    failed = [each for each in outcomes if each.outcome == "failed"]
    done = [each for each in outcomes if each.outcome == "done"]
    details = _told(outcomes)
    if failed and done:
        names = ", ".join(each.vm for each in failed)
        raise Partial(
            f"UA '{ua_id}' failed on {len(failed)} of {len(outcomes)} VMs ({names}): {failed[0].reason}",
            hint=f"vmm ua status {ua_id}",
            details=details,
        )
    if failed:
        failure = error_from_document(failed[0].error or {})
        failure.details |= details
        raise failure
    if outcomes and not done:
        raise Conflict(
            f"UA '{ua_id}' was changed on no VM: {outcomes[0].vm} is {outcomes[0].reason}",
            hint="vmm session list",
            details=details,
        )


def _held_for(ua_id: str) -> str:
    return f"UA '{ua_id}' is rolled out to it"


def _obstacle(
    context: Context, vm: str, *, ua_id: str, terms: Terms, check: bool = False, wait: bool = True
) -> str:
    """Why a VM is passed over, empty if it is not; returns once that is certain, or at once."""
    began = context.clock.now()
    while True:
        with context.store.reading() as tx:
            live = None if terms.plain else sessions.live_on_vm(tx, vm=vm)
            found = rollouts.get(tx, ua=ua_id)
            failed = [each.vm for each in rollouts.outcomes(tx, ua=ua_id) if each.outcome == "failed"]
        if found and found.paused_at and not check:
            return f"{_PAUSED}'{found.paused_by}'"
        if terms.max_failures and len(failed) >= terms.max_failures:
            return f"stopped: failed on {', '.join(failed)}"
        if live is None:
            return ""
        if check or not wait or (context.clock.now() - began).total_seconds() >= terms.drain_s:
            late = f", which did not end within {terms.drain_s} s" if terms.drain_s and not check else ""
            held_up = is_in_the_way(live, ua_id=ua_id, force=terms.force)
            return f"busy: session '{live.id}'{late}" if held_up else ""
        context.clock.sleep(ua_drain.POLL_S)


def _planned(context: Context, targets: Sequence[str], *, ua_id: str, terms: Terms) -> dict[str, Any]:
    with context.store.reading() as tx:
        active = {vm: uas[ua_id] for vm, uas in ledger.active_versions(tx).items() if ua_id in uas}
        live = {each.vm: each for each in sessions.list_sessions(tx, live_only=True)}
    steps = plan_rollout(targets, terms=terms, ua_id=ua_id, active=active, live=live)
    return {
        "plan": [step.to_document() for step in steps],
        "batches": batch_sizes(len(targets), terms.batch),
    }
