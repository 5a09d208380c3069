"""Who stands in the queue for a VM, who is ahead of whom, and who is gone without having left."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from vmm_automation.errors import VmmError
from vmm_automation.model.times import to_text
from vmm_automation.model.waiting import Place, WaitingRequest
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import queue_change
from vmm_automation.operations.ownership import is_given_up
from vmm_automation.operations.ua_offer import offered_in
from vmm_automation.selection.turns import Waiting
from vmm_automation.state import sessions, waiting
from vmm_automation.state.store import Snapshot, Tx

#: a waiting process says this often that it is alive …
SIGN_OF_LIFE_S: Final = 10
#: … and one of another controller that did not for this long is taken for dead
SILENCE_S: Final = 60


def standing(tx: Snapshot, *, now: datetime) -> list[WaitingRequest]:
    """All requests whose process waits, as far as is known; the one that is served next first."""
    return [each for each in waiting.listed(tx) if not _is_gone(each, now=now)]


def drop_gone(tx: Tx, context: Context, *, now: datetime) -> list[str]:
    """Take those out of the queue whose process is gone; returns their ids."""
    gone = [each for each in waiting.listed(tx) if _is_gone(each, now=now)]
    for each in gone:
        with queue_change(tx, context, each.id, action="request.drop", now=now) as result:
            waiting.remove(tx, request=each.id)
            result |= {"user": each.user, "ua": each.ua, "reason": "its process is gone or late"}
    return [each.id for each in gone]


def ahead_of(tx: Snapshot, context: Context, place: Place) -> list[Waiting]:
    """The requests that are served before one at ``place``, as selection sees them.

    One that asks for what the site no longer has, or has wrong, is passed over: it can get nothing.
    """
    found = []
    for each in standing(tx, now=context.clock.now()):
        if each.place >= place:
            break
        try:
            ua = offered_in(tx, context.site.ua(each.ua))
            terminal = context.site.terminal(each.terminal)
        except VmmError:
            continue
        last = sessions.last_vm(tx, user=each.user, ua=each.ua)
        version, vm = each.version or None, each.vm or None
        found.append(Waiting(each.id, ua, terminal, version, vm, each.avoid, last))
    return found


def position(tx: Snapshot, request: WaitingRequest, *, now: datetime) -> int:
    """1 for the one that is served next."""
    return 1 + sum(each.place < request.place for each in standing(tx, now=now))


def _is_gone(request: WaitingRequest, *, now: datetime) -> bool:
    """A process that is stopped does not leave at its deadline, and must not stand in the way for ever."""
    if request.deadline_at <= to_text(now - timedelta(seconds=SILENCE_S)):
        return True
    return is_given_up(request.owner, since=request.seen_at, now=now, deadline_s=SILENCE_S)
