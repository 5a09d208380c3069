"""Real processes ask for more VMs than there are, on a site of libvirt's test driver and both engines."""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest

from vmm_automation.adapters.clock import SystemClock
from vmm_automation.errors import NoVmFits
from vmm_automation.model.session import LIVE, SessionState
from vmm_automation.model.ua import DeploymentState
from vmm_automation.operations import audit_log
from vmm_automation.operations.context import Context
from vmm_automation.operations.ownership import owner_token
from vmm_automation.operations.session_claim import Request, claim
from vmm_automation.operations.session_queue import claim_or_wait, queue
from vmm_automation.places import Places
from vmm_automation.site import Site
from vmm_automation.state import ledger, sessions, vms

from ..made_site import make_site
from ..real_state import RealState
from .racers import DEADLINE_S, begun, race

SEATS = ("vm-1", "vm-2")
UA = "radicale"


@dataclass(frozen=True)
class Stay:
    """Who held which VM from when to when for sure, in nanoseconds, and how it came to it."""

    vm: str
    began: int
    ended: int
    queue: dict[str, Any]


def context_of(state: RealState) -> Context:
    """The site beside the state, with VMs of libvirt's test driver."""
    site = Site.load(state.home.parent / "place" / "site")
    made = Context(site=site, places=Places(state.home), clock=SystemClock(), actor="test")
    made.__dict__["store"] = state.open()
    return made


def request(number: int, **changes: Any) -> Request:
    return Request(user=f"u{number}", ua=UA, terminal="phone", **changes)


def end(context: Context, session: str) -> None:
    """As a session that was closed: its seat is free, its VM clean, in one step."""
    with context.store.transaction() as tx:
        now, ended = context.clock.now(), SessionState.FAILED
        vm = sessions.get(tx, session_id=session).vm
        sessions.move_to(tx, session_id=session, state=ended, expected=LIVE, now=now)
        vms.mark_clean(tx, vm=vm, now=now)


def wait_hold_end(state: RealState, number: int) -> Stay:
    """Ask, hold the VM for a while, and give it back."""
    context = context_of(state)
    with context.store:
        done = claim_or_wait(context, request(number), wait_s=DEADLINE_S, run=owner_token(os.getpid()))
        began = time.monotonic_ns()
        time.sleep(0.3)
        ended = time.monotonic_ns()
        end(context, done["session"]["id"])
    return Stay(done["vm"], began, ended, done["queue"])


def wait_and_hold(state: RealState, number: int) -> str:
    """Ask; the VM is held on."""
    context = context_of(state)
    with context.store:
        return str(claim_or_wait(context, request(number), wait_s=120, run=owner_token(os.getpid()))["vm"])


@pytest.fixture
def site(real_state: RealState) -> RealState:
    """Two VMs, clean, with the UA."""
    place = real_state.home.parent / "place"
    place.mkdir()
    make_site(place, running=SEATS)
    real_state.home.mkdir(exist_ok=True, mode=0o700)
    with real_state.open() as store, store.transaction() as tx:
        now, active = SystemClock().now(), DeploymentState.ACTIVE
        for vm in SEATS:
            vms.mark_clean(tx, vm=vm, now=now)
            ledger.record(tx, vm=vm, ua=UA, version="3.5.4", state=active, now=now)
    return real_state


def waiting_names(context: Context) -> list[str]:
    return [each["user"] for each in queue(context.store, context.clock)]


def test_five_at_once_for_two_seats_are_all_served(site: RealState) -> None:
    """Two have a VM at once, three wait and are served as VMs come free; no VM is held twice."""
    stays: list[Stay] = race(wait_hold_end, site, processes=5)
    assert Counter(bool(stay.queue["request"]) for stay in stays) == {False: 2, True: 3}
    for vm in SEATS:
        held = sorted((stay.began, stay.ended) for stay in stays if stay.vm == vm)
        assert all(before[1] < after[0] for before, after in pairwise(held))
    with site.open() as store:
        assert audit_log.verify(store)["valid"]
        events = audit_log.read(store)["events"]
    joined = [each["object"] for each in events if each["action"] == "request.enqueue"]
    served = [each["object"] for each in events if each["action"] == "request.serve"]
    assert len(joined) == 3
    assert sorted(served) == sorted(joined)
    assert served[0] in joined[:2]  # two seats may come free at a time: each of two then has its own


def claim_by_seats(state: RealState, number: int) -> str | None:
    """On a site that counts as large, without waiting."""
    context = context_of(state)
    with context.store:
        try:
            return str(claim(context, request(number))["vm"])
        except NoVmFits:
            return None


def test_claims_by_seats_at_once_never_share_a_vm(site: RealState) -> None:
    """Six processes for two VMs, twice, the second time with seats learnt: two get one each, none fails."""
    place = site.home.parent / "place" / "site" / "site.yml"
    place.write_text(f"{place.read_text()}policies: {{seats_from: 1}}\n")
    for _ in range(2):
        got = [vm for vm in race(claim_by_seats, site, processes=6) if vm]
        assert sorted(got) == list(SEATS)
        context = context_of(site)
        with context.store:
            with context.store.reading() as tx:
                live = [each.id for each in sessions.list_sessions(tx, live_only=True)]
            for session in live:
                end(context, session)


def test_who_waits_is_served_though_another_tries_all_the_time(site: RealState) -> None:
    """A newcomer that tries without a pause gets nothing; the VM goes to the one that waits."""
    context = context_of(site)
    with context.store:
        blocked = [claim(context, request(number))["session"]["id"] for number in (90, 91)]
        with begun(wait_and_hold, site, number=0) as waiter:
            _until(lambda: waiting_names(context) == ["u0"])
            end(context, blocked[0])
            for _ in range(200):  # grabs meanwhile, as fast as it can
                with pytest.raises(NoVmFits):
                    claim(context, request(7))
                if waiter.exitcode is not None:
                    break
                time.sleep(0.01)
            waiter.join(timeout=DEADLINE_S)
            assert waiter.exitcode == 0
        with context.store.reading() as tx:
            assert sessions.live_of_user(tx, user="u0", ua=UA) is not None


def test_killed_waiter_gives_way_to_the_next(site: RealState) -> None:
    """After SIGKILL of the first in the queue the second is served, and an entry tells of the first."""
    context = context_of(site)
    with context.store:
        blocked = [claim(context, request(number))["session"]["id"] for number in (90, 91)]
        with begun(wait_and_hold, site, number=1) as first, begun(wait_and_hold, site, number=2) as second:
            _until(lambda: len(waiting_names(context)) == 2)
            killed, other = (first, second) if waiting_names(context)[0] == "u1" else (second, first)
            killed.kill()
            killed.join()
            end(context, blocked[0])
            other.join(timeout=DEADLINE_S)
            assert other.exitcode == 0
        assert waiting_names(context) == []
        actions = [each["action"] for each in audit_log.read(context.store)["events"]]
    assert actions.count("request.drop") == actions.count("request.serve") == 1


def _until(holds: Any) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
