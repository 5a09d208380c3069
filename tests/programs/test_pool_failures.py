"""What a refill cannot do is told, holds up nothing else, and leaves no VM that nobody knows of."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.programs.pool_world import PoolWorld
from tests.programs.test_ua_lifecycle import context
from vmm_automation.errors import NotFound, TaskFailed
from vmm_automation.operations import pool
from vmm_automation.operations.context import Context
from vmm_automation.state import pools
from vmm_automation.state.pools import Drain

__all__ = ["context"]


@pytest.fixture
def world(context: Context, tmp_path: Path) -> PoolWorld:
    return PoolWorld(context, tmp_path)


def test_pool_that_is_wrong_holds_up_no_other(world: PoolWorld) -> None:
    """Its definition cannot be read; the others are filled to the end, and nobody is left holding any."""
    world.define(ready=1, parked=1)
    (world.context.site.directory / "pools" / "a.yml").write_text("profile: no-such\nua: demo\nready: 1\n")
    world.read_again()
    with pytest.raises(NotFound, match="no-such"):
        world.refill()
    assert world.counts() == {"ready": 1, "parked": 1}
    with world.context.store.reading() as tx:
        assert {pools.get(tx, pool=name).owner for name in ("a", "p")} == {""}


def test_vm_that_could_not_be_made_nor_removed_stays_a_member(world: PoolWorld) -> None:
    """Else nobody would ever remove it; the next refill does, or goes on with it."""
    world.define(ready=2, parallel_creates=1)
    world.fake.broken, world.fake.leaves_broken = 1, True
    with pytest.raises(TaskFailed, match="burns"):
        world.refill()
    assert sorted(world.fake.there) == world.names()
    world.refill()
    assert (world.counts(), sorted(world.fake.there)) == ({"ready": 2}, world.names())


def test_vm_that_could_not_be_deleted_is_told(world: PoolWorld) -> None:
    """The others are deleted; the failure says why, and what to do. What a session took is no failure."""
    world.define(ready=3)
    world.refill()
    stuck, taken, gone = world.names()
    world.fake.stuck = stuck
    world.fake.looked = lambda: world.claim(taken)
    with pytest.raises(TaskFailed, match=f"VM '{stuck}' stays") as raised:
        pool.drained(world.context, "p", drain=Drain.DELETE, allow_destroy=True, hands=world.fake)
    assert raised.value.hint == "vmm pool refill p"
    assert (raised.value.details["deleted"], sorted(world.fake.there)) == ([gone], sorted([stuck, taken]))
