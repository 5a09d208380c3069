"""A guest that gets stuck while it boots is started once more; one that is merely slow is waited for."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from vmm_automation.adapters.ssh import SshPlaces, wait_until_ready
from vmm_automation.errors import GuestUnreachable
from vmm_automation.operations.context import Context
from vmm_automation.operations.revival import Revival
from vmm_automation.operations.vm_work import Work

from ..fake_clock import FakeClock
from .one_vm import OneVm, context

__all__ = ["context"]
STUCK = "[   28.55] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [kworker/0:1:17]\n"


class Cycled(OneVm):
    """Counts how often its power was cut and came back."""

    def __init__(self) -> None:
        super().__init__()
        self.cuts = 0

    def destroy(self, name: str) -> None:
        """Off at once."""
        del name
        self.cuts += 1
        self.power_cut()


@pytest.fixture
def vm() -> Cycled:
    return Cycled()


@pytest.fixture
def work(context: Context) -> Work:
    made = Work(context, "vm-1")
    made.files.create()
    return made


def revival_of(work: Work) -> Revival:
    return Revival(work.context, work.name, work.files)


def test_guest_that_says_it_is_stuck_is_started_again_but_not_for_ever(work: Work, vm: Cycled) -> None:
    """Twice; after that it is left to its deadline."""
    work.files.console.write_text(STUCK)
    revival = revival_of(work)
    for _ in range(5):
        revival.attempt()
    assert (vm.cuts, vm.runs) == (2, True)


@pytest.mark.parametrize("console", [None, "", "Debian GNU/Linux 12 vm-1 ttyS0\n", "a BUG: of the user's\n"])
def test_guest_that_is_slow_is_left_alone(work: Work, vm: Cycled, console: str | None) -> None:
    """No console yet, an empty one, and one that says something else."""
    if console is not None:
        work.files.console.write_text(console)
    revival_of(work).attempt()
    assert vm.cuts == 0


def test_guest_without_a_further_word_is_started_again_twice_within_its_deadline(
    work: Work, vm: Cycled, clock: FakeClock
) -> None:
    """Both processors wait for ever, so nothing is said: after each third of the deadline."""
    revival = revival_of(work)
    cuts = []
    for _ in range(30):
        revival.attempt()
        cuts.append(vm.cuts)
        clock.advance(seconds=10)
    assert (cuts[9], cuts[11], cuts[-1]) == (0, 1, 2)
    assert cuts.index(2) <= 21


def test_guest_that_goes_on_speaking_is_waited_for(work: Work, vm: Cycled, clock: FakeClock) -> None:
    """A slow one: a line on its console every 60 s."""
    revival = revival_of(work)
    for minute in range(10):
        work.files.console.write_text("still booting\n" * minute)
        revival.attempt()
        clock.advance(seconds=60)
    assert vm.cuts == 0


def test_silence_is_told_to_whoever_waits(tmp_path: Path, clock: FakeClock) -> None:
    """Each time that a port takes the connection and says nothing the caller may act."""
    told = []

    def act() -> None:
        told.append(clock.now())
        raise GuestUnreachable("enough")

    with socket.create_server(("127.0.0.1", 0)) as silent:
        guest = replace(OneVm().vm("vm-1"), ssh_port=silent.getsockname()[1])
        with pytest.raises(GuestUnreachable, match="enough"):
            wait_until_ready(SshPlaces(tmp_path), guest, clock=clock, deadline_s=60, on_silence=act)
    assert len(told) == 1
