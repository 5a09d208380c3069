"""On a large site a claim looks up seats: quick, and never on the word of what was learnt."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmm_automation.errors import NoVmFits
from vmm_automation.model.session import LIVE, SessionState
from vmm_automation.model.ua import DeploymentState
from vmm_automation.operations.context import Context
from vmm_automation.operations.session_claim import claim, select
from vmm_automation.operations.vm_facts import facts
from vmm_automation.selection.turns import is_free
from vmm_automation.site import Site
from vmm_automation.state import holds, ledger, seats, sessions, vms
from vmm_automation.state.sqlite import SqliteStore
from vmm_automation.state.store import Engine

from ..fake_clock import FakeClock
from .waiting_fleet import Fleet, a_context, a_site, asks, end, waits

MEMORY = {"vm-1": 1024, "vm-2": 1024, "vm-3": 4096}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Two VMs are many here."""
    return a_site(tmp_path / "site", policies="seats_from: 2")


@pytest.fixture
def context(store: Engine, clock: FakeClock, site: Site, tmp_path: Path) -> Context:
    return a_context(store, clock, site, tmp_path, memory=dict(MEMORY))


def fleet(context: Context) -> Fleet:
    found: Fleet = context.__dict__["hypervisor"]
    return found


def test_first_look_learns_and_later_claims_look_at_one_vm(context: Context) -> None:
    """The second and the third claim do not list the VMs; they take the same as by looking at all."""
    assert claim(context, asks("u1"))["vm"] == "vm-1"
    looks = fleet(context).looks
    done = claim(context, asks("u2"))
    assert (done["vm"], fleet(context).looks) == ("vm-2", looks)
    groups = {each["vm"]: each["filter"] for each in done["selection"]["rejected"]}
    assert groups == {}
    done = claim(context, asks("u3"))
    assert (done["vm"], fleet(context).looks) == ("vm-3", looks)
    [group] = done["selection"]["rejected"]
    assert group["vm"].startswith("all 2 of profile small with plain 1")
    with pytest.raises(NoVmFits, match="3 in use"):  # that none fits is told of each VM
        claim(context, asks("u4"))


def test_explanation_of_a_large_site_does_not_grow_with_it(
    store: Engine, clock: FakeClock, site: Site, tmp_path: Path
) -> None:
    """Neither where all VMs were looked at, nor by seats; a dry run still tells of each VM."""
    memory = {f"vm-{number:02}": 1024 + number for number in range(14)}
    context = a_context(store, clock, site, tmp_path, memory=memory)
    assert len(claim(context, asks("u0"), check=True)["selection"]["ranked"]) == 14
    for number, left_out in enumerate((4, 3)):
        told = claim(context, asks(f"u{number}"))["selection"]
        assert (told["ranked"][0]["vm"], len(told["ranked"])) == (f"vm-{number:02}", 10)
        assert told["left_out"] == left_out


def test_small_site_looks_at_every_vm(store: Engine, clock: FakeClock, tmp_path: Path) -> None:
    """Nothing is learnt there, and each VM has its reason."""
    site = a_site(tmp_path / "small")
    context = a_context(store, clock, site, tmp_path, memory=dict(MEMORY))
    claim(context, asks("u1"))
    rejected = claim(context, asks("u2"))["selection"]["rejected"]
    assert [each["vm"] for each in rejected] == ["vm-1"]
    with store.reading() as tx:
        assert seats.count(tx) == 0


def test_vm_that_is_not_as_learnt_is_learnt_anew_and_not_taken(context: Context) -> None:
    """Off, gone, or in an outdated version: the next VM is taken, and seats are right again."""
    end(context, claim(context, asks("u1"))["vm"])
    fleet(context).off.add("vm-1")
    del fleet(context).memory["vm-2"]
    assert claim(context, asks("u2"))["vm"] == "vm-3"
    with context.store.reading() as tx:
        assert set(seats.learnt(tx)) == {"vm-3"}


def test_newest_version_is_taken_though_its_vm_is_parked(context: Context, site: Site) -> None:
    """As by looking at all VMs: a newer version is worth more than a VM that runs."""
    versions = '{"1": {kind: deb, packages: [sleep]}, "2": {kind: deb, packages: [sleep]}}'
    (site.directory / "uas" / "plain.yml").write_text(f'command: [sleep, "9"]\nversions: {versions}\n')
    fleet(context).parked.add("vm-3")
    with context.store.transaction() as tx:
        active = DeploymentState.ACTIVE
        ledger.record(tx, vm="vm-3", ua="plain", version="2", state=active, now=context.clock.now())
    end(context, claim(context, asks("u1"))["vm"])
    looks = fleet(context).looks
    done = claim(context, asks("u2"))
    assert (done["vm"], done["warmth"], fleet(context).looks) == ("vm-3", "parked", looks)


def test_request_ahead_is_not_overtaken_on_a_large_site(context: Context) -> None:
    """Somebody who waits makes all claims look at all VMs again."""
    end(context, claim(context, asks("u1"))["vm"])
    waits(context, "older", vm="vm-1")
    assert claim(context, asks("u2"))["vm"] == "vm-2"


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Engine]:
    (tmp_path / "state").mkdir(mode=0o700)
    with SqliteStore.open(tmp_path / "state" / "state.db") as store:
        yield store


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(
            ["off", "gone", "memory", "dirty", "clean", "version", "no ua", "claim", "end", "hold", "let go"]
        ),
        st.sampled_from(sorted(MEMORY)),
        st.sampled_from(["plain", "large"]),
    ),
    max_size=12,
)


def change(context: Context, what: str, vm: str, ua: str, *, number: int) -> None:
    """Something that nobody learns of: behind our back, or by another run."""
    found, now = fleet(context), context.clock.now()
    if what == "off":
        found.off ^= {vm}
    elif what == "gone":
        found.memory.pop(vm, None)
    elif what == "memory":
        found.memory[vm] = 3072
    elif what == "end":
        end(context, vm)
    elif what == "claim":
        expect_right(context, asks(f"c{number}", ua=ua))
    else:
        with context.store.transaction() as tx:
            if what in ("hold", "let go"):
                until = now + timedelta(hours=1 if what == "hold" else 0)
                holds.hold(tx, vm=vm, reason=ua, until=until)
            elif what == "dirty":
                vms.mark_dirty(tx, vm=vm, reason="test", now=now)
            elif what == "clean" and not sessions.live_on_vm(tx, vm=vm):
                vms.mark_clean(tx, vm=vm, now=now)
            elif what in ("version", "no ua"):
                gone = DeploymentState.REMOVED if what == "no ua" else DeploymentState.ACTIVE
                ledger.record(tx, vm=vm, ua=ua, version="1", state=gone, now=now)


def expect_right(context: Context, request: Any) -> None:
    """A claim takes a VM that fits as things are now, and refuses only where none does."""
    try:
        fitting = [each.vm for each in select(context, request).ranked]
    except NoVmFits:
        with pytest.raises(NoVmFits):
            claim(context, request)
        return
    free = {each.vm.name for each in facts(context) if is_free(each)}
    got = claim(context, request)["vm"]
    assert got in fitting
    assert got in free


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES, ua=st.sampled_from(["plain", "large"]))
def test_claim_by_seats_never_takes_what_does_not_fit_nor_refuses_what_does(
    sqlite_store: Engine, site: Site, tmp_path: Path, changes: list[tuple[str, str, str]], ua: str
) -> None:
    """Whatever happened since the seats were learnt."""
    clock = FakeClock()
    with sqlite_store.transaction() as tx:
        for each in sessions.list_sessions(tx, live_only=True):
            ended = SessionState.FAILED
            sessions.move_to(tx, session_id=each.id, state=ended, expected=LIVE, now=clock.now())
        tx.execute("DELETE FROM sessions")
        tx.execute("DELETE FROM holds")
    context = a_context(sqlite_store, clock, site, tmp_path, memory=dict(MEMORY))
    end(context, claim(context, asks("first"))["vm"])  # all are learnt
    for number, (what, vm, of) in enumerate(changes):
        change(context, what, vm, of, number=number)
    expect_right(context, asks("last", ua=ua))
