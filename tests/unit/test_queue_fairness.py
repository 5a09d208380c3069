"""Nobody is overtaken and nobody starves: properties of the queue, over any order of events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmm_automation.errors import NoVmFits
from vmm_automation.model.session import LIVE, Session, SessionState
from vmm_automation.model.vm import Offers, VmCondition, VmFacts, VmState
from vmm_automation.operations.context import Context
from vmm_automation.operations.session_claim import Request, claim, fits_once_free
from vmm_automation.selection.select import select_vm
from vmm_automation.selection.turns import Waiting, is_free, kept
from vmm_automation.state import sessions, waiting
from vmm_automation.state.sqlite import SqliteStore
from vmm_automation.state.store import Engine, Tx

from ..fake_clock import FakeClock
from .selection_cases import PHONE, VERSIONS, a_ua, a_vm
from .waiting_fleet import a_context, a_site, asks, end, waits

MEMORY = (512, 768, 2048)
VMS: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    memory_mib=st.sampled_from(MEMORY),
    offers=st.sampled_from([Offers(region=region) for region in "ns"]),
    active_uas=st.sampled_from([{}, *({"radicale": each} for each in VERSIONS)]),
    state=st.sampled_from([VmState.RUNNING] * 5 + [VmState.STOPPED]),
    condition=st.sampled_from([VmCondition.CLEAN] * 3 + [VmCondition.DIRTY]),
    session=st.sampled_from([None, None, None, "s-1"]),
)
REQUESTS: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    memory_mib=st.sampled_from((0, *MEMORY)),
    wanted_vm=st.sampled_from([None, None, "vm-0", "vm-1"]),
    avoid=st.sampled_from([(), ("vm-2",)]),
    version=st.sampled_from([None, None, *VERSIONS]),
    last_vm=st.sampled_from([None, "vm-1"]),
)


def a_request(number: int, **asked: Any) -> Waiting:
    return Waiting(f"r-{number}", a_ua(memory_mib=asked.pop("memory_mib")), PHONE, **asked)


def given_to(request: Waiting, fleet: list[VmFacts], *, pack: bool) -> str | None:
    """What selection gives to a request that is alone."""
    try:
        return select_vm(
            ua=request.ua, terminal=request.terminal, facts=fleet, version=request.version, pack=pack,
            wanted_vm=request.wanted_vm, avoid=request.avoid, last_vm=request.last_vm,
        ).best.vm  # fmt: skip
    except NoVmFits:
        return None


def served_in_order(requests: list[Waiting], fleet: list[VmFacts], *, pack: bool) -> dict[str, str]:
    """What each gets if one after the other takes its VM."""
    got: dict[str, str] = {}
    for request in requests:
        if name := given_to(request, fleet, pack=pack):
            got[request.request] = name
            fleet = [replace(each, session="s-new") if each.vm.name == name else each for each in fleet]
    return got


@settings(max_examples=300, deadline=None)
@given(fleet=st.lists(VMS, max_size=6), asked=st.lists(REQUESTS, max_size=5), pack=st.booleans())
def test_vms_are_kept_as_if_those_ahead_were_served_one_by_one(
    fleet: list[dict[str, Any]], asked: list[dict[str, Any]], pack: bool
) -> None:
    """Each gets the VM that it would get in its turn, and no other VM is kept from anybody."""
    facts = [a_vm(f"vm-{number}", **changes) for number, changes in enumerate(fleet)]
    ahead = [a_request(number, **changes) for number, changes in enumerate(asked)]
    found = {each.kept_for: each.vm.name for each in kept(facts, ahead, pack=pack) if each.kept_for}
    assert found == served_in_order(ahead, facts, pack=pack)


@settings(max_examples=300, deadline=None)
@given(fleet=st.lists(VMS, max_size=6), asked=st.lists(REQUESTS, min_size=1, max_size=5))
def test_who_is_behind_takes_nothing_from_those_ahead(
    fleet: list[dict[str, Any]], asked: list[dict[str, Any]]
) -> None:
    """After the last has taken its VM, as many of those ahead get one as would have got one.

    In one region: in several, who is served anywhere changes which of equal VMs the others get.
    """
    one_region = {"offers": Offers(region="n")}
    facts = [a_vm(f"vm-{number}", **(changes | one_region)) for number, changes in enumerate(fleet)]
    *ahead, last = [a_request(number, **changes) for number, changes in enumerate(asked)]
    without = served_in_order(ahead, facts, pack=False)
    taken = given_to(last, kept(facts, ahead), pack=False)
    left = [each for each in facts if each.vm.name != taken]
    after = served_in_order(ahead, left, pack=False)
    assert after.keys() == without.keys()
    if taken is None:  # only because all that would fit is used by those ahead
        rest = [each for each in facts if is_free(each) and each.vm.name not in without.values()]
        assert given_to(last, rest, pack=False) is None


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Engine]:
    (tmp_path / "state").mkdir(mode=0o700)
    with SqliteStore.open(tmp_path / "state" / "state.db") as store:
        yield store


FLEET = {"vm-1": 1024, "vm-2": 1024, "vm-3": 4096}
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["come", "come", "look", "look", "end", "cancel", "newcomer"]),
        st.integers(0, 9),
        st.sampled_from(["plain", "plain", "large"]),
        st.sampled_from([0, 0, 0, 1]),
        st.sampled_from(["", "", "", "vm-2"]),
    ),
    max_size=30,
)


class Scene:
    """Requests that come, look whether it is their turn, are canceled; sessions that end."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.waiting: list[Request] = []
        self.served: list[Request] = []
        self.come = 0

    def step(self, what: str, number: int, ua: str, priority: int, vm: str) -> None:
        """One event."""
        if what == "come":
            self.come += 1
            user = f"u{self.come}"
            request = waits(self.context, user, ua=ua, priority=priority, vm=vm)
            if fits_once_free(self.context, request):
                self.waiting.append(request)
            else:
                self.forget(request)
        elif what == "newcomer":
            self.come += 1
            self.look(asks(f"u{self.come}", ua=ua, priority=priority, vm=vm))
        elif what == "end":
            end(self.context, f"vm-{number % len(FLEET) + 1}")
        elif self.waiting:
            request = self.waiting[number % len(self.waiting)]
            if what == "cancel":
                self.forget(request)
                self.waiting.remove(request)
            else:
                self.look(request)

    def forget(self, request: Request) -> None:
        """It leaves."""
        with self.context.store.transaction() as tx:
            waiting.remove(tx, request=f"r-{request.user}")

    def look(self, request: Request) -> None:
        """Try, and see that nobody ahead has lost a VM by it."""
        ahead = sorted((each for each in self.waiting if each.place < request.place), key=_place)
        before = self.would_get(ahead)
        free = self.free()

        def served(tx: Tx, _session: Session, _now: Any) -> None:
            waiting.remove(tx, request=f"r-{request.user}")

        try:
            got = claim(self.context, request, served=served)["vm"]
        except NoVmFits:
            # whatever is free is used by those ahead, or does not fit
            assert not any(_suits(request, vm) for vm in free - set(before.values()))
            return
        assert got in free
        assert got not in before.values()
        assert _suits(request, got)
        if request in self.waiting:
            self.waiting.remove(request)
            self.served.append(request)

    def free(self) -> set[str]:
        """The VMs that nobody holds."""
        with self.context.store.reading() as tx:
            return set(FLEET) - set(sessions.holders(tx))

    def would_get(self, requests: list[Request]) -> dict[str, str]:
        """The smaller VM first, the name then: what selection does here, in other words."""
        free, got = self.free(), {}
        for request in requests:
            fitting = [vm for vm in sorted(free, key=lambda vm: (FLEET[vm], vm)) if _suits(request, vm)]
            if fitting:
                got[request.user] = fitting[0]
                free.discard(fitting[0])
        return got


def _place(request: Request) -> Any:
    return request.place


def _suits(request: Request, vm: str) -> bool:
    return (request.vm in ("", vm)) and (request.ua == "plain" or FLEET[vm] >= 2048)


def _emptied(store: Engine) -> None:
    with store.transaction() as tx:
        now = FakeClock().now()
        for each in sessions.list_sessions(tx, live_only=True):
            sessions.move_to(tx, session_id=each.id, state=SessionState.FAILED, expected=LIVE, now=now)
        for request in waiting.listed(tx):
            waiting.remove(tx, request=request.id)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=EVENTS, looks=st.randoms(use_true_random=False))
def test_first_come_first_served_and_nobody_starves(
    sqlite_store: Engine, tmp_path: Path, events: list[tuple[str, int, str, int, str]], looks: Any
) -> None:
    """At each claim those ahead keep what they would get; once sessions end, all are served."""
    site = tmp_path / "site"
    _emptied(sqlite_store)
    made = a_site(site) if not site.exists() else None
    from vmm_automation.site import Site

    context = a_context(sqlite_store, FakeClock(), made or Site.load(site), tmp_path, memory=FLEET)
    with sqlite_store.transaction() as tx:  # the VM of last time is of no matter here
        tx.execute("DELETE FROM sessions")
    scene = Scene(context)
    for event in events:
        scene.step(*event)
    while scene.waiting:
        head, before = min(scene.waiting, key=_place), len(scene.waiting)
        for vm in FLEET:
            end(context, vm)
        for request in looks.sample(scene.waiting, before):
            scene.look(request)
        if head in scene.waiting:
            scene.look(head)  # those behind have left it a VM
        assert head in scene.served
        assert len(scene.waiting) < before
    with sqlite_store.reading() as tx:
        assert waiting.listed(tx) == []
