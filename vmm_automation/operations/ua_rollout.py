"""A UA brought to many VMs in batches: one rollout per UA at a time, a limit of failures, a result per VM.

The playbook opens the rollout, works on one batch of VMs after the other, and concludes it. A VM that fails
does not end the play: what came of each VM is kept in the state, and judged at the end.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from vmm_automation.errors import Conflict, LockHeld, Partial, UsageError, VmmError, error_from_document
from vmm_automation.operations import deployment
from vmm_automation.operations.actor import os_user
from vmm_automation.operations.context import Context
from vmm_automation.operations.ownership import is_given_up, run_token
from vmm_automation.ports import Guest
from vmm_automation.state import rollouts, sessions
from vmm_automation.state.rollouts import Outcome, Rollout

_BATCHES = re.compile(r"[1-9][0-9]{0,5}%?(,[1-9][0-9]{0,5}%?)*")


def opened(
    context: Context,
    names: Sequence[str],
    *,
    ua_id: str,
    version: str = "",
    batch: str = "",
    run: str = "",
    check: bool = False,
) -> dict[str, Any]:
    """Check and prepare as :func:`deployment.prepared` does, and be the only one to roll the UA out.

    ``run`` is the token of the command that runs the playbook, if one does: when it ends, so does the right.

    Raises:
        UsageError: the batches are no numbers of VMs.
        LockHeld: another run rolls it out; ``details['holder']`` says who.
    """
    if batch and not _BATCHES.fullmatch(batch):
        raise UsageError(f"'{batch}' does not say how many VMs at a time", hint="--batch 1,10%,50%")
    owner = run or run_token()
    document = deployment.prepared(context, names, ua_id=ua_id, version=version)
    with context.store.transaction(keep=not check) as tx:
        now = context.clock.now()
        found = rollouts.get(tx, ua=ua_id)
        if found and found.owner != owner and _goes_on(context, found, now=now):
            raise LockHeld(
                f"Cannot roll out UA '{ua_id}': '{found.holder}' rolls it out since {found.began_at}",
                hint=f"vmm ua show {ua_id}",
                details={"ua": ua_id, "holder": found.holder, "since": found.began_at},
            )
        rollouts.begin(tx, ua=ua_id, holder=context.actor or os_user(), owner=owner, now=now)
    return document


def on_vm(
    context: Context,
    guest: Guest,
    act: Callable[[], dict[str, Any]],
    *,
    ua_id: str,
    max_failures: int = 0,
    force: bool = False,
    check: bool = False,
) -> dict[str, Any]:
    """Do one VM's part, unless the VM is in a session (and not ``force``) or the limit was reached."""
    with context.store.reading() as tx:
        live = sessions.live_on_vm(tx, vm=guest.name)
        failed = [each.vm for each in rollouts.outcomes(tx, ua=ua_id) if each.outcome == "failed"]
    done: dict[str, Any] = {"changed": False, "vms": {guest.name: {"ua": ua_id, "actions": []}}}
    began = time.monotonic()
    if live and not force:
        outcome = Outcome(guest.name, "skipped", reason=f"busy: session '{live.id}'")
    elif max_failures and len(failed) >= max_failures:
        outcome = Outcome(guest.name, "skipped", reason=f"stopped: failed on {', '.join(failed)}")
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
    elif outcome.error:
        raise error_from_document(outcome.error)
    done["vms"][guest.name] |= outcome.to_document()
    return done


def concluded(context: Context, *, ua_id: str, run: str = "", check: bool = False) -> dict[str, Any]:
    """End the rollout of this run, and judge it; no change in itself.

    Raises:
        Partial: some VMs failed and some did not; ``details['vms']`` tells of each.
        Conflict: all VMs were in use.
        VmmError: all that were worked on failed: the first failure, with ``details['vms']``.
    """
    with context.store.transaction(keep=not check) as tx:
        found = rollouts.get(tx, ua=ua_id)
        if found is None or found.owner != (run or run_token()):
            return {"changed": False}
        outcomes = rollouts.outcomes(tx, ua=ua_id)
        rollouts.end(tx, ua=ua_id)
    failed = [each for each in outcomes if each.outcome == "failed"]
    done = [each for each in outcomes if each.outcome == "done"]
    details = {"vms": {each.vm: each.to_document() for each in outcomes}}
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
    return {"changed": False}


def _goes_on(context: Context, rollout: Rollout, *, now: datetime) -> bool:
    deadline = context.site.policies.claim_deadline_s
    return not is_given_up(rollout.owner, since=rollout.began_at, now=now, deadline_s=deadline)
