"""A refill killed between any two of its steps: nothing half-made is forgotten, and the next one ends it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from vmm_automation.adapters.cached_files import sha256_of
from vmm_automation.content import default_site
from vmm_automation.model.vm import VmCondition
from vmm_automation.operations import audit_log
from vmm_automation.operations.pool_listing import description
from vmm_automation.operations.state_check import check_state
from vmm_automation.operations.vm_facts import facts
from vmm_automation.state import pools

from ..real_state import RealState
from .own_process import run_apart
from .pool_acts import open_world

#: each point, and the pool's levels at that run; the run before made two ready VMs
POINTS_AND_LEVELS: dict[str, str] = {
    "pool.create.recorded": "ready: 4\nparked: 1",
    "pool.create.created": "ready: 4\nparked: 1",
    "pool.install.reserved": "ready: 4\nparked: 1",
    "pool.install.installed": "ready: 4\nparked: 1",
    "pool.put_away.recorded": "ready: 1\nparked: 1",
    "pool.put_away.done": "ready: 1\ncold: 1",
    "pool.remove.recorded": "ready: 1",
    "pool.remove.removed": "ready: 1",
}
POOL_POINTS = frozenset(POINTS_AND_LEVELS)


@dataclass(frozen=True)
class PoolPlace:
    """Where the processes work."""

    state: RealState

    @property
    def place(self) -> Path:
        """Site, home and VMs."""
        return self.state.home.parent

    def define(self, levels: str) -> None:
        """The pool's file."""
        text = f"profile: small\nua: demo\nparallel_creates: 1\n{levels}\n"
        (self.place / "site" / "pools" / "p.yml").write_text(text)

    def make(self) -> None:
        """A site with a UA, and a pool of two VMs."""
        shutil.copytree(default_site(), self.place / "site")
        (self.place / "site" / "pools").mkdir()
        content = self.place / "content"
        content.mkdir()
        (content / "program").write_text("1\n")
        archive = Path(shutil.make_archive(str(self.place / "site" / "uas" / "demo"), "gztar", content))
        source = f'{{source: {archive.name}, sha256: "{sha256_of(archive)}"}}'
        (self.place / "site" / "uas" / "demo.yml").write_text(
            f'versions: {{"1": {{kind: archive, artifacts: [{source}]}}}}\n'
        )
        self.define("ready: 2")
        assert self.refill()["changed"]

    def run(self, *, kill_at: str = "") -> subprocess.CompletedProcess[str]:
        """A refill in a process whose parent ends with it."""
        return run_apart("tests.crash.pool_acts", str(self.place), self.state.url, kill_at=kill_at)

    def kill(self, *, at: str) -> None:
        """One that does not get beyond a point."""
        killed = self.run(kill_at=at)
        assert killed.returncode == 128 + signal.SIGKILL, (killed.stdout, killed.stderr)

    def refill(self) -> dict[str, object]:
        """One that goes to its end."""
        done = self.run()
        assert done.returncode == 0, (done.stdout, done.stderr)
        return dict(json.loads(done.stdout))


@pytest.fixture
def world(real_state: RealState) -> PoolPlace:
    made = PoolPlace(real_state)
    made.make()
    return made


@pytest.mark.parametrize("point", sorted(POOL_POINTS))
def test_refill_killed_between_two_steps_is_ended_by_the_next(world: PoolPlace, point: str) -> None:
    """Every VM there is has its member, none half-way is given to anybody, and then all is as wanted."""
    world.define(POINTS_AND_LEVELS[point])
    world.kill(at=point)
    require_ended_by_the_next(world)


@pytest.mark.parametrize("point", ["pool.install.reserved", "image.clean.cleaned", "image.clean.recorded"])
def test_refill_killed_while_it_proves_a_vm_clean_is_ended_by_the_next(world: PoolPlace, point: str) -> None:
    """The VM was left dirty by a refill that was killed before."""
    world.define(POINTS_AND_LEVELS["pool.put_away.recorded"])
    world.kill(at="pool.put_away.recorded")
    world.kill(at=point)
    require_ended_by_the_next(world)


def require_ended_by_the_next(world: PoolPlace) -> None:
    """Nothing is half-way and free; one refill later all is as wanted, and one more changes nothing."""
    context, fake = open_world(world.place, world.state.url)
    with context.store as store:
        with store.reading() as tx:
            members = {member.vm: member for member in pools.members(tx)}
            reserved = pools.reserved(tx)
        assert set(fake.there) <= set(members)
        for fact in facts(context):
            if fact.condition is VmCondition.CLEAN:
                assert fact.vm.name not in reserved
                assert str(members[fact.vm.name].phase) == "member" or not fact.active_uas
    world.refill()
    context, fake = open_world(world.place, world.state.url)
    with context.store as store:
        with store.reading() as tx:
            assert pools.reserved(tx) == {}
        told = description(context, "p")
        wanted = told["wanted"]
        assert {level: told["found"][level] for level in wanted} == wanted
        assert (told["found"]["other"], told["steps"]) == (0, [])
        assert sorted(fake.there) == [member["vm"] for member in told["members"]]
        assert check_state(store)["problems"] == []
        assert audit_log.verify(store)["valid"]
    assert not world.refill()["changed"]
