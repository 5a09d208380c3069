"""Waiting for a VM: a request joins the queue, is served when it is its turn, gives up, or is canceled.

The waiting process looks at the state every :data:`INTERVAL_S` seconds; it looks at the hypervisor and tries
to claim only where a VM is free and something has changed since it tried last, or :data:`LOOK_AGAIN_S` have
passed. Whose turn it is: :mod:`vmm_automation.selection.turns`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from vmm_automation.adapters.stop_signals import Stop, noted_signals
from vmm_automation.errors import Canceled, NotFound, NoVmFits, RequestCanceled, UsageError, WaitedInVain
from vmm_automation.model.names import check_name
from vmm_automation.model.session import Session
from vmm_automation.model.times import from_text, to_text
from vmm_automation.model.waiting import PRIORITIES, WaitingRequest
from vmm_automation.operations import second_session
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import queue_change
from vmm_automation.operations.identity import require_operator
from vmm_automation.operations.own_session import wait_for_own
from vmm_automation.operations.ownership import is_cut_off, run_token
from vmm_automation.operations.queue_places import SIGN_OF_LIFE_S, drop_gone, position, standing
from vmm_automation.operations.session_claim import Request, claim, fits_once_free
from vmm_automation.ports import Clock
from vmm_automation.state import audit, sessions, waiting
from vmm_automation.state.store import Snapshot, Store, Tx
from vmm_automation.trace import point

INTERVAL_S: Final = 0.5
LOOK_AGAIN_S: Final = 5
LONGEST_S: Final = 7 * 86400


def claim_or_wait(
    context: Context, request: Request, *, wait_s: int = 0, run: str = "", check: bool = False
) -> dict[str, Any]:
    """:func:`claim`, and if nothing is free, wait for up to ``wait_s`` seconds until something is.

    A session of the same user and UA that is being opened or closed, or is suspended, is waited for first,
    out of the queue: until then the request asks for no VM. With ``wait_s`` the document has ``queue``:
    position at first, seconds waited. ``run`` is the token of the command that runs the playbook, if one
    does: the request is gone when that is.

    Raises:
        UsageError: time or priority are out of range.
        NoVmFits: no VM fits, and none would if all were free, or ``wait_s`` is 0.
        WaitedInVain: the time has passed.
        RequestCanceled: somebody canceled the request, or took this process for dead.
        Canceled: SIGINT or SIGTERM came, or the command that waited is gone.
        Conflict: as :func:`claim`, or the user waits for the same UA already.
    """
    _require_range(wait_s, request.priority)
    if not wait_s or check:
        return _claim_or_join(context, request, wait_s=wait_s, run=run, check=check)
    waited = wait_for_own(context, user=request.user, ua=request.ua, wait_s=wait_s, run=run)
    done = _claim_or_join(context, request, wait_s=max(1, wait_s - round(waited)), run=run)
    return {**done, "queue": {**done["queue"], "waited_s": done["queue"]["waited_s"] + waited}}


def _claim_or_join(
    context: Context, request: Request, *, wait_s: int, run: str, check: bool = False
) -> dict[str, Any]:
    try:
        done = claim(context, request, check=check)
    except NoVmFits:
        if not wait_s or not fits_once_free(context, request):
            raise
    else:
        at_once = {"request": None, "position": 0, "priority": request.priority, "waited_s": 0.0}
        return {**done, "queue": at_once} if wait_s else done
    mine, place = _join(context, request, wait_s=wait_s, owner=run or run_token(), check=check)
    if check:
        told = {"request": None, "position": place, "priority": mine.priority, "waited_s": 0.0}
        return {"changed": True, "vm": None, "queue": told}
    point("session.enqueue.recorded")
    with noted_signals() as stop:
        return _Wait(context, request, mine, place, stop).to_the_end()


def queue(store: Store, clock: Clock) -> list[dict[str, Any]]:
    """The requests that wait, in the order in which they are served."""
    with store.reading() as tx:
        now = clock.now()
        return [
            each.to_document(position=place, now=now)
            for place, each in enumerate(standing(tx, now=now), start=1)
        ]


def cancel(context: Context, name: str, *, check: bool = False) -> dict[str, Any]:
    """Take a request out of the queue; the command that waits ends with RequestCanceled.

    Raises:
        InvalidName, NotFound: no such request waits.
        NotPermitted: the site lists its operators, and this is none of them.
    """
    check_name("request", name)
    who = context.identity
    require_operator(who, doing=f"cancel request '{name}'")
    with context.store.transaction(keep=not check) as tx:
        now = context.clock.now()
        drop_gone(tx, context, now=now)
        found = waiting.get(tx, request=name)
        if found is None:
            raise NotFound(f"No request '{name}' waits", hint="vmm session queue", details={"request": name})
        document = found.to_document(position=position(tx, found, now=now), now=now)
        with queue_change(tx, context, name, action="request.cancel", now=now) as result:
            waiting.remove(tx, request=name)
            result |= {"user": found.user, "ua": found.ua, "by": who.name}
    return {"changed": True, "request": document}


def _require_range(wait_s: int, priority: int) -> None:
    if not 0 <= wait_s <= LONGEST_S:
        raise UsageError(f"Cannot wait for {wait_s} s: at most {LONGEST_S}", hint="--wait 600")
    if priority not in PRIORITIES:
        last = PRIORITIES[-1]
        raise UsageError(f"Priority {priority} is not within 0 to {last}", hint=f"--priority {last}")


def _join(
    context: Context, request: Request, *, wait_s: int, owner: str, check: bool
) -> tuple[WaitingRequest, int]:
    """The request's row, and its position."""
    with context.store.transaction(keep=not check) as tx:
        now = context.clock.now()
        drop_gone(tx, context, now=now)
        limit = context.site.policies.sessions_per_user
        second, of = second_session.policy(context, request.ua), {"user": request.user, "ua": request.ua}
        if refusal := sessions.obstacle(tx, **of, user_limit=limit, second=second):
            raise refusal
        mine = WaitingRequest(
            id=f"r-{secrets.token_hex(4)}",
            number=waiting.next_number(tx),
            priority=request.priority,
            user=request.user,
            ua=request.ua,
            terminal=request.terminal,
            owner=owner,
            asked_at=to_text(now),
            deadline_at=to_text(now + timedelta(seconds=wait_s)),
            seen_at=to_text(now),
            version=request.version,
            vm=request.vm,
            avoid=tuple(request.avoid),
        )
        with queue_change(tx, context, mine.id, action="request.enqueue", now=now) as result:
            waiting.add(tx, mine)
            place = position(tx, mine, now=now)
            told = {"priority": mine.priority, "position": place, "deadline_at": mine.deadline_at}
            result |= {"user": mine.user, "ua": mine.ua, **told}
    return mine, place


@dataclass
class _Wait:
    """One request from when it joined to its end; whatever ends it, it is not in the queue any more."""

    context: Context
    request: Request
    mine: WaitingRequest
    joined_at: int
    stop: Stop
    place: int = 0
    tried: tuple[int, datetime] | None = None

    def to_the_end(self) -> dict[str, Any]:
        """The document of the claim."""
        reason = "failed"
        try:
            while True:
                now = self.context.clock.now()
                if self._look(now) and (done := self._try()):
                    reason = ""
                    return done
                left = (from_text(self.mine.deadline_at) - now).total_seconds()
                if left <= 0:
                    reason = "deadline"
                    raise self._in_vain(now)
                self._require_wanted()
                self.context.clock.sleep(min(INTERVAL_S, left))
        except Canceled as ended:
            reason = ended.message
            raise
        finally:
            if reason:
                self._leave(reason)

    def _look(self, now: datetime) -> bool:
        """Whether it is worth trying; says where it stands if that changed."""
        with self.context.store.reading() as tx:
            present = waiting.get(tx, request=self.mine.id)
            if present is None:
                raise self._was_taken_out(tx)
            place = position(tx, present, now=now)
            of = len(standing(tx, now=now))
            changed = audit.head(tx).seq, now
            free = waiting.any_vm_free(tx)
        if place != self.place:
            until = f"{self.mine.deadline_at[11:19]}Z"
            self.context.progress(f"Request {self.mine.id} waits at position {place} of {of}, until {until}")
            self.place = place
        if (now - from_text(present.seen_at)).total_seconds() >= SIGN_OF_LIFE_S:
            self._give_sign_of_life()
        if not free or (self.tried and not _is_worth(self.tried, changed)):
            return False
        self.tried = changed
        return True

    def _try(self) -> dict[str, Any] | None:
        waited: list[float] = []
        numbered = replace(self.request, number=self.mine.number)
        try:
            done = claim(self.context, numbered, served=self._serve(waited))
        except NoVmFits:
            return None
        if not waited:  # the user has an active session of the UA by now, and gets that
            self._leave("not needed")
        told = {"request": self.mine.id, "position": self.joined_at, "priority": self.mine.priority}
        return {**done, "queue": {**told, "waited_s": waited[0] if waited else 0.0}}

    def _serve(self, waited: list[float]) -> Callable[[Tx, Session, datetime], None]:
        def served(tx: Tx, session: Session, now: datetime) -> None:
            with queue_change(tx, self.context, self.mine.id, action="request.serve", now=now) as result:
                if not waiting.remove(tx, request=self.mine.id):
                    raise self._was_taken_out(tx)
                waited.append(self.mine.waited_s(now))
                result |= {"session": session.id, "vm": session.vm, "waited_s": waited[0]}

        return served

    def _give_sign_of_life(self) -> None:
        with self.context.store.transaction() as tx:
            now = self.context.clock.now()
            drop_gone(tx, self.context, now=now)
            waiting.set_seen(tx, request=self.mine.id, now=now)

    def _require_wanted(self) -> None:
        if self.stop.name:
            raise Canceled(f"Ended by {self.stop.name} while waiting", hint="run the same command again")
        if is_cut_off(self.mine.owner):
            raise Canceled("The command that waited is gone", hint="run the same command again")

    def _leave(self, reason: str) -> None:
        with self.context.store.transaction() as tx:
            now = self.context.clock.now()
            if waiting.get(tx, request=self.mine.id) is None:
                return
            with queue_change(tx, self.context, self.mine.id, action="request.give_up", now=now) as result:
                waiting.remove(tx, request=self.mine.id)
                told = {"position": self.place, "waited_s": self.mine.waited_s(now), "reason": reason}
                result |= {"user": self.mine.user, "ua": self.mine.ua, **told}

    def _in_vain(self, now: datetime) -> WaitedInVain:
        waited = self.mine.waited_s(now)
        told = {"request": self.mine.id, "position": self.place, "waited_s": waited}
        return WaitedInVain(
            f"No VM came free for request '{self.mine.id}' of user '{self.mine.user}' within {waited:g} s:"
            f" it stood at position {self.place}",
            hint="vmm session queue",
            details={**told, "deadline_at": self.mine.deadline_at},
        )

    def _was_taken_out(self, tx: Snapshot) -> RequestCanceled:
        last = audit.log(tx, object_name=self.mine.id, limit=1)
        by = last[-1]["actor"] if last and last[-1]["action"] == "request.cancel" else ""
        why = f"was canceled by '{by}'" if by else "was dropped: its process was taken for dead"
        return RequestCanceled(
            f"Request '{self.mine.id}' {why}", hint="vmm session queue", details={"request": self.mine.id}
        )


def _is_worth(tried: tuple[int, datetime], now: tuple[int, datetime]) -> bool:
    return tried[0] != now[0] or (now[1] - tried[1]).total_seconds() >= LOOK_AGAIN_S
