"""Pools refilled: to what is wanted and no further, through failures, cut-offs, sessions and changes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.fake_clock import FakeClock
from tests.programs.pool_world import CutOff, PoolWorld
from tests.programs.sandbox_guest import SandboxGuest
from tests.programs.test_ua_lifecycle import context
from vmm_automation.errors import Conflict, NotFound, Partial, TaskFailed, UsageError
from vmm_automation.operations import audit_log, pool
from vmm_automation.operations.context import Context
from vmm_automation.operations.pool_refill import installed, refilled, settled
from vmm_automation.operations.ua_publication import withdrawn
from vmm_automation.operations.vm_facts import facts
from vmm_automation.state import pools
from vmm_automation.state.pools import Drain

__all__ = ["context"]


@pytest.fixture
def world(context: Context, tmp_path: Path) -> PoolWorld:
    return PoolWorld(context, tmp_path)


def test_empty_pool_is_filled_and_a_second_run_changes_nothing(world: PoolWorld) -> None:
    """Two ready with the UA active, one saved; names are the pool's own; all is in the audit chain."""
    world.define(ready=2, parked=1)
    assert world.refill()["changed"]
    assert world.counts() == {"ready": 2, "parked": 1}
    assert all(re.fullmatch(r"p-[0-9a-f]{8}", name) for name in world.names())
    assert {fact.active_uas["demo"] for fact in facts(world.context)} == {"3.0"}
    assert {str(fact.condition) for fact in facts(world.context)} == {"clean"}
    before = list(world.fake.calls)
    again = world.refill()
    assert (again["changed"], again["pools"]["p"]["steps"]) == (False, [])
    assert world.fake.calls == before
    assert audit_log.verify(world.context.store)["valid"]


def test_dry_run_tells_what_the_run_then_does_and_does_nothing(world: PoolWorld) -> None:
    """The steps are the same, and nobody was called, nor anything kept."""
    world.define(ready=1, cold=1)
    told = refilled(world.context, check=True, hands=world.fake)
    assert [step["action"] for step in told["pools"]["p"]["steps"]] == ["create", "create"]
    assert (told["changed"], world.fake.calls, world.names()) == (True, [], [])
    assert world.refill()["pools"]["p"]["steps"] == told["pools"]["p"]["steps"]
    assert world.counts() == {"ready": 1, "cold": 1}


def test_no_more_vms_than_the_cap_are_made_at_a_time(world: PoolWorld) -> None:
    """Five VMs with a cap of two: two, two, one."""
    world.define(ready=5, parallel_creates=2)
    world.refill()
    assert [len(names) for call, names in world.fake.calls if call == "create"] == [2, 2, 1]


def test_pool_is_stopped_after_failures_in_a_row_until_it_is_reset(world: PoolWorld) -> None:
    """Nothing more is tried, and the error says so with what to type; a success counts anew."""
    world.define(ready=4, parallel_creates=1, failures_before_stop=2)
    world.fake.broken = 3
    with pytest.raises(
        TaskFailed, match=r"Pool 'p' is not what is wanted: .* burns; it is stopped"
    ) as raised:
        world.refill()
    assert raised.value.hint == "vmm pool refill p --reset"
    assert (world.fake.broken, world.names(), world.show()["stopped"]) == (1, [], True)
    with pytest.raises(Conflict, match=r"stopped after 2 failures in a row, .* burns") as stopped:
        world.refill()
    assert stopped.value.hint == "vmm pool refill p --reset"
    with pytest.raises(TaskFailed):
        world.refill(reset=True)
    assert world.counts() == {"ready": 3}
    world.refill()
    assert world.counts() == {"ready": 4}
    assert (world.show()["failures"], world.show()["failure"]) == (0, "")


def test_failure_of_one_vm_does_not_hold_up_the_others(world: PoolWorld) -> None:
    """The rest are made, and the run fails; the next makes the missing one, and the failure is forgotten."""
    world.define(ready=3, parallel_creates=1)
    world.fake.broken = 1
    with pytest.raises(TaskFailed, match="burns"):
        world.refill()
    assert world.counts() == {"ready": 2}
    world.refill()
    assert (world.counts(), world.show()["failures"]) == ({"ready": 3}, 0)


@pytest.mark.parametrize("call", ["create", "delete", "park", "start"])
def test_run_that_was_cut_off_is_finished_by_the_next(world: PoolWorld, call: str) -> None:
    """Whatever was half-made is a member still; what was worked on is given to nobody before it is clean."""
    world.define(ready=2, parked=1)
    if call != "create":
        world.refill()
    if call == "delete":
        pool.scaled(world.context, "p", ready=1)
    if call == "park":
        world.fake.start(world.names())
    if call == "start":
        pool.scaled(world.context, "p", ready=3, parked=0)
    world.fake.cut = call
    with pytest.raises(CutOff):
        world.refill()
    assert set(world.fake.there) <= set(world.names())
    if call in {"park", "start"}:  # a real guest then proves it; here it is taken as proven
        [dirty] = [fact.vm.name for fact in facts(world.context) if str(fact.condition) == "dirty"]
        assert {"action": "prepare", "vm": dirty, "reason": "not proven clean", "warmth": "parked"} in [
            {**step, "warmth": "parked"} for step in world.show()["steps"]
        ]
        return
    world.refill()
    assert world.counts() == ({"ready": 1, "parked": 1} if call == "delete" else {"ready": 2, "parked": 1})
    assert sorted(world.fake.there) == world.names()


def test_vm_that_was_never_ready_is_replaced_after_its_deadline(world: PoolWorld, clock: FakeClock) -> None:
    """Before it, the run goes on with it; after it, another takes its place and the failure is counted."""
    world.define(ready=1, ready_deadline_s=60)
    told = refilled(world.context, hands=world.fake)
    [first] = told["prepare"]
    assert [step["action"] for step in world.show()["steps"]] == ["prepare"]
    clock.advance(seconds=61)
    with pytest.raises(TaskFailed, match="was not ready within 60 s"):
        settled(world.context, done=refilled(world.context, hands=world.fake), hands=world.fake)
    assert first not in world.names()
    assert len(world.names()) == 1


def test_changed_profile_replaces_the_vms_one_by_one(world: PoolWorld) -> None:
    """Each run takes one away and makes a new one; the others serve, and it ends."""
    world.define(ready=3)
    world.refill()
    old = set(world.names())
    profile = world.context.site.directory / "profiles" / "small.yml"
    profile.write_text(re.sub("memory_mib: .*", "memory_mib: 1024", profile.read_text()))
    world.read_again()
    for left in (2, 1, 0):
        assert len(world.refill()["pools"]["p"]["waiting"]) == left
        assert len(old & set(world.names())) == left
        assert world.counts() == {"ready": 3}
    assert not world.refill()["changed"]


def test_changed_version_is_installed_in_place_one_by_one(world: PoolWorld) -> None:
    """No VM is made anew for another version of the UA."""
    world.define(ready=2, version='"2.0"')
    world.refill()
    names = world.names()
    world.define(ready=2, version='"3.0"')
    for updated in (1, 2):
        world.refill()
        active = [fact.active_uas["demo"] for fact in facts(world.context)]
        assert active.count("3.0") == updated
    assert world.names() == names
    assert not world.refill()["changed"]


def test_withdrawn_version_is_replaced_by_the_one_before_and_that_ends(world: PoolWorld) -> None:
    """VMs with it serve nobody; the newest that is offered is wanted now, and a further run agrees."""
    world.define(ready=2)
    world.refill()
    withdrawn(world.context, ua_id="demo", version="3.0", reason="unsafe")
    assert world.counts() == {"other": 2}
    world.refill()
    assert {fact.active_uas["demo"] for fact in facts(world.context)} == {"2.0"}
    assert (world.counts(), world.show()["version"]) == ({"ready": 2}, "2.0")
    assert not world.refill()["changed"]


def test_pool_of_a_withdrawn_version_makes_no_vm_for_it(world: PoolWorld) -> None:
    """Nobody could be given one: the refill says so before it begins, and counts no failure of a VM."""
    withdrawn(world.context, ua_id="demo", version="3.0", reason="unsafe")
    world.define(ready=1, version='"3.0"')
    with pytest.raises(Conflict, match=r"'demo' 3\.0 is not offered any more"):
        world.refill()
    assert (world.fake.calls, world.show()["failures"]) == ([], 0)


def test_drained_pool_gives_out_nothing_and_is_emptied_as_sessions_end(world: PoolWorld) -> None:
    """VMs without a session go at once if that was asked; the others after theirs; none is made."""
    world.define(ready=2)
    world.refill()
    busy, idle = world.names()
    world.claim(busy)
    with pytest.raises(UsageError, match="destruction is off"):
        pool.drained(world.context, "p", drain=Drain.DELETE)
    assert pool.drained(world.context, "p", drain=Drain.KEEP)["changed"]
    assert {fact.drained for fact in facts(world.context)} == {True}
    assert not world.refill()["changed"]
    told = pool.drained(world.context, "p", drain=Drain.DELETE, allow_destroy=True, hands=world.fake)
    assert (told["changed"], told["deleted"], world.names()) == (True, [idle], [busy])
    with world.context.store.transaction() as tx:
        tx.execute("UPDATE sessions SET state = 'closed' WHERE id = 's-ann'")
    world.refill()
    assert world.names() == []
    assert pool.drained(world.context, "p", drain=Drain.NO)["changed"]
    world.refill()
    assert world.counts() == {"ready": 2}


def test_dry_run_of_draining_says_what_would_go(world: PoolWorld) -> None:
    """And keeps everything."""
    world.define(ready=1)
    world.refill()
    told = pool.drained(
        world.context, "p", drain=Drain.DELETE, allow_destroy=True, check=True, hands=world.fake
    )
    assert (told["deleted"], told["changed"]) == (world.names(), True)
    assert (world.counts(), world.show()["drained"]) == ({"ready": 1}, "")


def test_scale_is_kept_within_the_bounds_and_undone_by_reset(world: PoolWorld) -> None:
    """What is left out stays; outside min and max nothing is changed."""
    world.define(ready=1, min=1, max=4)
    assert pool.scaled(world.context, "p", parked=2)["levels"] == {"ready": 1, "parked": 2, "cold": 0}
    assert not pool.scaled(world.context, "p", parked=2)["changed"]
    wrongs: list[dict[str, Any]] = [{"ready": 3}, {"ready": 0, "parked": 0}, {}, {"cold": -2}]
    for wrong in [*wrongs, {"ready": 1, "reset": True}]:
        with pytest.raises(UsageError, match="Cannot scale pool 'p'"):
            pool.scaled(world.context, "p", **wrong)
    assert pool.scaled(world.context, "p", reset=True)["levels"]["parked"] == 0
    assert not world.show()["scaled"]


def test_installation_that_fails_is_counted_and_its_vm_is_given_to_nobody(world: PoolWorld) -> None:
    """The VM stays a member, dirty, for the next run."""
    world.define(ready=1)
    told = refilled(world.context, hands=world.fake)
    [name] = told["prepare"]
    guest = SandboxGuest(world.directory / name, name=name)
    guest.kill_at_step = 1
    done = installed(world.context, guest)
    assert done["vms"][name]["error"]["class"] == "TaskFailed"
    assert (world.show()["failures"], world.counts()) == (1, {"other": 1})


def test_several_pools_fail_for_themselves(world: PoolWorld) -> None:
    """One that is stopped holds up no other; the end tells of all."""
    world.define(ready=1)
    directory = world.context.site.directory / "pools"
    for name in ("a", "b"):
        (directory / f"{name}.yml").write_text((directory / "p.yml").read_text())
        with world.context.store.transaction() as tx:
            for _failure in range(3):
                pools.note_failure(tx, pool=name, reason="it burns")
    world.read_again()
    with pytest.raises(Partial, match=r"2 pools are not what is wanted \(a, b\)"):
        world.refill()
    assert world.counts() == {"ready": 1}


def test_site_without_pools_has_nothing_to_refill(world: PoolWorld) -> None:
    """That is told, not passed over."""
    with pytest.raises(NotFound, match="no pool"):
        refilled(world.context, hands=world.fake)
