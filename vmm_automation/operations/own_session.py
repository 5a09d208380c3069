"""A request with time to wait whose user has a session of the same UA that nobody can use just now."""

from __future__ import annotations

from datetime import datetime

from vmm_automation.adapters.stop_signals import noted_signals
from vmm_automation.errors import Canceled, WaitedInVain
from vmm_automation.model.policies import SecondSession
from vmm_automation.model.session import Session, SessionState
from vmm_automation.operations import second_session
from vmm_automation.operations.context import Context
from vmm_automation.operations.ownership import is_cut_off, is_given_up
from vmm_automation.state import sessions

INTERVAL_S = 0.5
_UNDER_WAY = (SessionState.STARTING, SessionState.CLOSING)


def wait_for_own(context: Context, *, user: str, ua: str, wait_s: int, run: str = "") -> float:
    """Wait while a session of the user and UA is opened, closed or suspended; returns the seconds it took.

    Not for one whose run is gone: that does not end by itself. Nor where a second session is allowed beside
    it. ``run`` is the token of the command that runs the playbook, if one does.

    Raises:
        WaitedInVain: ``wait_s`` seconds have passed.
        Canceled: SIGINT or SIGTERM came, or the command that waited is gone.
    """
    if second_session.policy(context, ua) is not SecondSession.EXCLUSIVE:
        return 0.0
    began, said = context.clock.now(), False
    with noted_signals() as stop:
        while own := _in_the_way(context, user=user, ua=ua):
            waited = _since(context, began)
            if waited >= wait_s:
                raise _in_vain(own, waited)
            if stop.name or (run and is_cut_off(run)):
                raise Canceled(
                    f"Ended by {stop.name or 'the end of the command'} while waiting",
                    hint="run the same command again",
                )
            if not said:
                context.progress(f"Session '{own.id}' of user '{user}' is {own.state}: waiting for its end")
                said = True
            context.clock.sleep(min(INTERVAL_S, wait_s - waited))
    return _since(context, began)


def _in_the_way(context: Context, *, user: str, ua: str) -> Session | None:
    with context.store.reading() as tx:
        own = sessions.live_of_user(tx, user=user, ua=ua)
    if own is None or own.state is SessionState.ACTIVE:
        return None
    late_s = context.site.policies.claim_deadline_s
    since, now = own.changed_at, context.clock.now()
    if own.state in _UNDER_WAY and is_given_up(own.owner, since=since, now=now, deadline_s=late_s):
        return None
    return own


def _since(context: Context, began: datetime) -> float:
    return (context.clock.now() - began).total_seconds()


def _in_vain(own: Session, waited: float) -> WaitedInVain:
    return WaitedInVain(
        f"Session '{own.id}' of user '{own.user}' is still {own.state} after {waited:g} s",
        hint=f"vmm session show {own.id}",
        details={"session": own.id, "vm": own.vm, "state": str(own.state), "waited_s": waited},
    )
