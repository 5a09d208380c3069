"""A request that can wait finds the user's own session under way; on both engines."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vmm_automation.errors import Canceled, Conflict, WaitedInVain
from vmm_automation.model.policies import SecondSession
from vmm_automation.model.session import LIVE, SessionState
from vmm_automation.operations.context import Context
from vmm_automation.operations.session_claim import claim
from vmm_automation.operations.session_queue import claim_or_wait, queue
from vmm_automation.state import sessions
from vmm_automation.state.store import Engine

from .waiting_fleet import GONE, Moments, a_context, a_site, asks, end

UNDER_WAY = [SessionState.STARTING, SessionState.CLOSING, SessionState.SUSPENDED]


@pytest.fixture
def clock() -> Moments:
    return Moments()


@pytest.fixture
def context(store: Engine, clock: Moments, tmp_path: Path) -> Context:
    """Two VMs, of which one is free: for want of a VM nobody waits."""
    site = a_site(tmp_path / "site")
    return a_context(store, clock, site, tmp_path, memory={"vm-1": 4096, "vm-2": 4096})


def own(context: Context, state: SessionState, *, owner: str = "") -> str:
    """Ann's session in a state, of a run that lives."""
    session: str = claim(context, asks("ann"))["session"]["id"]
    if state is SessionState.SUSPENDED:
        move(context, session, SessionState.ACTIVE)()
    if state is not SessionState.STARTING:
        move(context, session, state)()
    if owner:
        with context.store.transaction() as tx:
            tx.execute("UPDATE sessions SET owner = :owner WHERE id = :id", owner=owner, id=session)
    return session


def move(context: Context, session: str, state: SessionState) -> Callable[[], None]:
    def act() -> None:
        with context.store.transaction() as tx:
            sessions.move_to(tx, session_id=session, state=state, expected=LIVE, now=context.clock.now())

    return act


@pytest.mark.parametrize("state", UNDER_WAY)
def test_new_session_is_opened_once_the_one_before_has_ended(
    context: Context, clock: Moments, state: SessionState
) -> None:
    """It stands in no queue meanwhile, says what it waits for, and tells how long it took."""
    first = own(context, state)
    stood: list[Any] = []

    def ends() -> None:
        stood.extend(queue(context.store, context.clock))
        end(context, "vm-1")

    clock.coming[7.2] = ends
    done = claim_or_wait(context, asks("ann"), wait_s=60)
    assert stood == []
    assert done["session"]["id"] != first
    assert 7.2 <= done["queue"].pop("waited_s") <= 7.7
    assert done["queue"] == {"request": None, "position": 0, "priority": 0}
    assert f"Session '{first}' of user 'ann' is {state}: waiting for its end" in context.__dict__["said"]


@pytest.mark.parametrize("state", [SessionState.STARTING, SessionState.SUSPENDED])
def test_session_that_can_be_used_again_is_had(context: Context, clock: Moments, state: SessionState) -> None:
    """The other command has opened it, or it was resumed: both then have the same one."""
    first = own(context, state)
    clock.coming[3] = move(context, first, SessionState.ACTIVE)
    done = claim_or_wait(context, asks("ann"), wait_s=60)
    assert (done["changed"], done["session"]["id"]) == (False, first)


@pytest.mark.parametrize("state", UNDER_WAY)
def test_wait_for_it_ends_at_the_deadline(context: Context, state: SessionState) -> None:
    """With the code of what waited in vain, and the session that stood in the way."""
    first = own(context, state)
    with pytest.raises(WaitedInVain, match=f"Session '{first}' of user 'ann' is still {state} after 20 s"):
        claim_or_wait(context, asks("ann"), wait_s=20)


def test_time_that_is_left_is_for_the_queue(context: Context, clock: Moments) -> None:
    """Of one minute, what the session before took is over when the other VM comes free too late."""
    own(context, SessionState.CLOSING)
    claim(context, asks("bo"))

    def ends() -> None:
        end(context, "vm-1")
        claim(context, asks("cy"))

    clock.coming[40] = ends
    with pytest.raises(WaitedInVain, match=r"within 20 s"):
        claim_or_wait(context, asks("ann"), wait_s=60)
    assert (clock.now() - clock.began).total_seconds() == 60


@pytest.mark.parametrize("state", [SessionState.STARTING, SessionState.CLOSING])
def test_session_whose_run_is_gone_is_not_waited_for(
    context: Context, clock: Moments, state: SessionState
) -> None:
    """It does not end by itself; the refusal says what does."""
    first = own(context, state, owner=GONE)
    clock.advance(seconds=context.site.policies.claim_deadline_s + 1)
    before = clock.now()
    with pytest.raises(Conflict) as raised:
        claim_or_wait(context, asks("ann"), wait_s=600)
    assert (raised.value.hint, clock.now()) == (f"vmm session close {first}", before)


@pytest.mark.parametrize("wait", [{}, {"wait_s": 60, "check": True}], ids=["no time", "dry run"])
def test_who_has_no_time_or_only_asks_does_not_wait(
    context: Context, clock: Moments, wait: dict[str, Any]
) -> None:
    """As ever."""
    own(context, SessionState.CLOSING)
    before = clock.now()
    if wait:
        claim_or_wait(context, asks("ann"), **wait)
    else:
        with pytest.raises(Conflict):
            claim_or_wait(context, asks("ann"))
    assert clock.now() == before


def test_second_session_waits_for_none_where_it_is_allowed(context: Context, clock: Moments) -> None:
    """A branch is opened beside the one that closes."""
    policies = replace(context.site.policies, second_session=SecondSession.BRANCH)
    allowing = replace(context, site=replace(context.site, policies=policies))
    allowing.__dict__.update(context.__dict__ | {"site": allowing.site})
    own(context, SessionState.CLOSING)
    before = clock.now()
    assert claim_or_wait(allowing, asks("ann"), wait_s=60)["session"]["mode"] == "branch"
    assert clock.now() == before


def test_signal_ends_the_wait(context: Context, clock: Moments) -> None:
    """As it ends one in the queue: nothing is left behind."""
    own(context, SessionState.CLOSING)
    clock.coming[2] = lambda: os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Canceled, match="SIGTERM"):
        claim_or_wait(context, asks("ann"), wait_s=60)
    assert queue(context.store, context.clock) == []
