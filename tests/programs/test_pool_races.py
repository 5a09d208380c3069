"""Refills and sessions, and refills and refills, at the same moment: a VM is one's or the other's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from tests.fake_clock import FakeClock
from tests.programs.pool_world import PoolWorld
from tests.programs.sandbox_guest import SandboxGuest
from tests.programs.test_ua_lifecycle import context
from vmm_automation.adapters.lockfile import exclusive
from vmm_automation.errors import Conflict, LockHeld
from vmm_automation.model.ua import DeploymentState
from vmm_automation.model.vm import VmState
from vmm_automation.operations import cleaning, pool, vm_notes
from vmm_automation.operations.context import Context
from vmm_automation.operations.ownership import owner_token
from vmm_automation.operations.pool_acts import PoolRun
from vmm_automation.operations.pool_found import find
from vmm_automation.operations.pool_plan import Act, plan
from vmm_automation.operations.pool_refill import installed, refilled
from vmm_automation.operations.reconcile import reconcile
from vmm_automation.operations.vm_facts import facts
from vmm_automation.operations.vm_work import Work
from vmm_automation.ports import GuestResult
from vmm_automation.state import holds, ledger, pools, vms
from vmm_automation.state.sessions import SeatTaken

__all__ = ["context"]


@dataclass
class InterruptedGuest(SandboxGuest):
    """Something happens before the first that it is asked."""

    meanwhile: Callable[[], None] = lambda: None

    def run(self, script: str, *, stdin: bytes = b"") -> GuestResult:
        """As any guest, afterwards."""
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        return super().run(script, stdin=stdin)


@pytest.fixture
def world(context: Context, tmp_path: Path) -> PoolWorld:
    return PoolWorld(context, tmp_path)


def test_vm_that_a_session_took_meanwhile_is_left_alone(world: PoolWorld) -> None:
    """Between plan and act a session may come: it keeps its VM, whatever was planned for it."""
    world.define(ready=3)
    world.refill()
    pool.scaled(world.context, "p", ready=1)
    found = find(world.context, "p")
    planned = plan(found.wanted, found.members)
    first, second = [step.vm for step in planned.of(Act.DELETE)]
    world.claim(first)
    PoolRun(world.context, found, world.fake, planned).act()
    assert first in world.fake.there
    assert second not in world.fake.there


def test_guest_of_a_vm_that_a_session_took_meanwhile_is_left_alone(world: PoolWorld) -> None:
    """It was to be started and prepared; its user comes first, and nothing is installed under it."""
    world.define(parked=2, version='"2.0"')
    world.refill()
    world.define(parked=2, version='"3.0"')
    found = find(world.context, "p")
    planned = plan(found.wanted, found.members)
    [step] = planned.of(Act.PREPARE)
    world.claim(step.vm)
    working = PoolRun(world.context, found, world.fake, planned)
    working.act()
    assert working.prepare == []
    assert str(world.fake.there[step.vm].state) == "parked"


def test_vm_that_a_rollout_works_on_is_left_alone_until_that_is_done(world: PoolWorld) -> None:
    """It is not deleted or switched off under the rollout's hands, and that is no failure of the pool."""
    world.define(ready=3)
    world.refill()
    pool.scaled(world.context, "p", ready=1, cold=1)
    held = [step["vm"] for step in world.show()["steps"]]
    with world.context.store.transaction() as tx:
        until = world.context.clock.now() + timedelta(hours=1)
        for vm in held:
            holds.hold(tx, vm=vm, reason="UA 'x' is rolled out to it", until=until)
    before = list(world.fake.calls)
    world.refill()
    assert (world.fake.calls, world.counts()) == (before, {"ready": 3})
    with world.context.store.transaction() as tx:
        for vm in held:
            holds.release(tx, vm=vm, reason="UA 'x' is rolled out to it")
    world.refill()
    assert world.counts() == {"ready": 1, "cold": 1}


def test_vm_that_a_session_came_to_and_left_meanwhile_is_not_called_clean(world: PoolWorld) -> None:
    """It was clean when it was planned to be started; its last user's data is on it since."""
    world.define(parked=1)
    world.refill()
    pool.scaled(world.context, "p", ready=1, parked=0)
    found = find(world.context, "p")
    planned = plan(found.wanted, found.members)
    [step] = planned.of(Act.START)
    world.claim(step.vm)
    with world.context.store.transaction() as tx:
        tx.execute("UPDATE sessions SET state = 'failed' WHERE id = 's-ann'")
        vms.mark_dirty(tx, vm=step.vm, reason="session s-ann", now=world.context.clock.now())
    PoolRun(world.context, found, world.fake, planned).act()
    [fact] = facts(world.context)
    assert (str(fact.condition), fact.vm.state) == ("dirty", VmState.PARKED)


def test_vm_that_is_worked_on_cannot_be_claimed(world: PoolWorld) -> None:
    """While it is being saved its seat is taken; afterwards it is free again."""
    world.define(ready=2)
    world.refill()
    pool.scaled(world.context, "p", ready=1, parked=1)
    [step] = world.show()["steps"]

    def claim_now() -> None:
        with pytest.raises(SeatTaken):
            world.claim(step["vm"])

    world.fake.meanwhile = claim_now
    world.refill()
    world.claim(step["vm"])


def test_vm_that_is_worked_on_is_proven_clean_by_nobody_else(world: PoolWorld) -> None:
    """Whoever opens a session cleans dirty VMs first, but not one that is being saved at that moment."""
    world.define(ready=1)
    world.refill()
    pool.scaled(world.context, "p", ready=0, parked=1)
    [name] = world.names()
    seen: list[list[str]] = []

    def clean_now() -> None:
        world.fake.start([name])  # it is still running for a while
        seen.append(reconcile(world.context)["dirty"])
        with pytest.raises(Conflict, match="it is worked on by pool 'p': park"):
            cleaning.clean(world.context, SandboxGuest(world.directory / name, name=name))

    world.fake.meanwhile = clean_now
    world.refill()
    assert seen == [[]]


def test_vm_made_anew_by_hand_is_no_longer_worked_on(world: PoolWorld) -> None:
    """Its refill was cut off: what is left of that would keep its next user's data from being cleaned."""
    world.define(ready=1)
    world.refill()
    [name] = world.names()
    with world.context.store.transaction() as tx:
        assert pools.reserve(tx, vm=name, reason="pool 'p': install", now=world.context.clock.now())
    vm_notes.note_rebuilt(world.context, name, told={"profile": "small"})
    with world.context.store.reading() as tx:
        assert pools.reserved(tx) == {}
    world.claim(name)


def test_vm_made_ready_by_other_hands_is_no_longer_worked_on(world: PoolWorld) -> None:
    """A member that was being made when its refill was cut off, and serves by now."""
    world.define(ready=1)
    [name] = refilled(world.context, hands=world.fake)["prepare"]
    with world.context.store.transaction() as tx:
        now = world.context.clock.now()
        assert pools.reserve(tx, vm=name, reason="pool 'p': install", now=now)
        ledger.record(tx, vm=name, ua="demo", version="3.0", state=DeploymentState.ACTIVE, now=now)
        vms.mark_clean(tx, vm=name, now=now)
    world.refill()
    with world.context.store.reading() as tx:
        assert pools.reserved(tx) == {}


@pytest.mark.parametrize("step", ["park", "install"])
def test_vm_made_anew_and_claimed_while_it_is_worked_on_stays_dirty(world: PoolWorld, step: str) -> None:
    """The end of the work must not call it clean: its user's data would stay there after the session."""
    world.define(ready=1)

    def make_anew_and_claim() -> None:
        [name] = world.names()
        vm_notes.note_rebuilt(world.context, name, told={"profile": "small"})
        world.claim(name)
        with world.context.store.transaction() as tx:
            vms.mark_dirty(tx, vm=name, reason="session s-ann", now=world.context.clock.now())

    if step == "park":
        world.refill()
        pool.scaled(world.context, "p", ready=0, parked=1)
        world.fake.meanwhile = make_anew_and_claim
        world.refill()
    else:
        [name] = refilled(world.context, hands=world.fake)["prepare"]
        interrupted = InterruptedGuest(world.directory / name, name=name, meanwhile=make_anew_and_claim)
        installed(world.context, interrupted)
    assert {str(fact.condition) for fact in facts(world.context)} == {"dirty"}


def test_guest_is_not_taken_back_or_shut_down_while_its_ua_is_installed(world: PoolWorld) -> None:
    """Whoever cleans, stops or rebuilds the VM at that moment waits or is refused, as with any other."""
    world.define(ready=1)
    [name] = refilled(world.context, hands=world.fake)["prepare"]
    refused: list[LockHeld] = []

    def work_on_it() -> None:
        with pytest.raises(LockHeld) as raised, exclusive(Work(world.context, name).files.lock, wait=False):
            pass
        refused.append(raised.value)

    guest = InterruptedGuest(world.directory / name, name=name, meanwhile=work_on_it)
    installed(world.context, guest)
    assert (len(refused), world.counts()) == (1, {"ready": 1})


def test_another_run_of_the_same_pool_is_refused_while_it_lives(world: PoolWorld) -> None:
    """Two timers do not fill a pool twice; a run that is gone is taken over."""
    world.define(ready=1)
    with world.context.store.transaction() as tx:
        pools.begin(tx, pool="p", owner=owner_token(1), now=world.context.clock.now())
    with pytest.raises(LockHeld, match="another run refills it"):
        world.refill()
    with world.context.store.transaction() as tx:
        pools.begin(tx, pool="p", owner="host:boot:1:2", now=world.context.clock.now())
    clock = world.context.clock
    assert isinstance(clock, FakeClock)
    clock.advance(seconds=901)
    world.refill()
    assert world.counts() == {"ready": 1}


@pytest.mark.parametrize("ready", [3, 0])
def test_run_that_was_taken_over_does_nothing_more(world: PoolWorld, ready: int) -> None:
    """It was too slow for another controller, which refills the pool now: two would make too many."""
    world.define(ready=1, max=3)
    world.refill()
    pool.scaled(world.context, "p", ready=ready)
    found = find(world.context, "p")
    before = list(world.fake.calls)
    with world.context.store.transaction() as tx:
        pools.begin(tx, pool="p", owner=owner_token(1), now=world.context.clock.now())
    with pytest.raises(LockHeld, match="another run has taken it over") as raised:
        PoolRun(world.context, found, world.fake, plan(found.wanted, found.members)).act()
    assert raised.value.hint == "vmm pool show p"
    assert (world.fake.calls, len(world.names())) == (before, 1)
