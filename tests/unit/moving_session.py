"""What tests of moving share: a session on vm-1, vm-2 free, where to go, and what happens meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vmm_automation.model.vm import Vm
from vmm_automation.operations import session_move
from vmm_automation.operations.context import Context
from vmm_automation.operations.session_abandon import find

from ..crash.file_vms import FileVms
from ..crash.world import World
from ..real_state import RealState

STAY = session_move.Wish(terminal="phone")
LEAVE = session_move.Wish(terminal="phone", avoid=("vm-1",))


@pytest.fixture
def world(real_state: RealState) -> World:
    made = World(real_state)
    made.make()
    return made


@pytest.fixture
def context(world: World) -> Context:
    return world.context()


def cut_off(context: Context) -> None:
    """Whoever moves it is dead."""
    host = find(context, "s-1").owner.split(":")[0]
    with context.store.transaction() as tx:
        tx.execute("UPDATE sessions SET owner = :owner WHERE id = 's-1'", owner=f"{host}:boot:1:2")


def moving(context: Context) -> dict[str, Any]:
    return session_move.begin(context, "s-1", LEAVE)


class BusyVms(FileVms):
    """While somebody looks at them for the first time, something else happens."""

    def __init__(self, directory: Path, happens: Callable[[], Any], *, look: str) -> None:
        super().__init__(directory)
        self.coming, self.look = [happens], look

    def forwards(self, name: str) -> dict[int, int] | None:
        """As they are afterwards."""
        self._let_it_happen("forwards")
        return super().forwards(name)

    def vms(self) -> list[Vm]:
        """As they were before."""
        found = super().vms()
        self._let_it_happen("vms")
        return found

    def _let_it_happen(self, look: str) -> None:
        if look == self.look and self.coming:
            self.coming.pop()()


def meanwhile(context: Context, world: World, happens: Callable[[], Any], *, look: str = "forwards") -> None:
    """Something that another run does while the next operation looks at a VM, or at all."""
    context.__dict__["hypervisor"] = BusyVms(world.hypervisor.directory, happens, look=look)
