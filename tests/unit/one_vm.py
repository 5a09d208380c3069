"""What tests of operations share: one VM that is not there, and a session on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from vmm_automation.content import default_site
from vmm_automation.errors import NotFound, PortTaken, TaskFailed
from vmm_automation.model.session import SessionState
from vmm_automation.model.vm import Vm, VmState
from vmm_automation.operations import watcher
from vmm_automation.operations.context import Context
from vmm_automation.places import Places
from vmm_automation.site import Site
from vmm_automation.state import sessions
from vmm_automation.state.store import Engine

from ..fake_clock import FakeClock


class OneVm:
    """Implements ``ports.Hypervisor``: its one VM, and what happens just before that is paused."""

    def __init__(self) -> None:
        self.runs = self.on = self.there = True
        self.ports: dict[int, int] = {20001: 22}
        self.taken: set[int] = set()
        self.ssh_port = 20001
        self.kept: list[str] = []
        self.went_back: list[str] = []
        self.refuses_snapshots = ""
        self.disk: Path | None = None
        self.before_looks: list[Callable[[], None]] = []
        self.before_pause: Callable[[], None] = lambda: None

    def pause(self, name: str) -> None:
        """Stop it, after what was to come before."""
        del name
        meanwhile, self.before_pause = self.before_pause, lambda: None
        meanwhile()
        self.runs = False

    def resume(self, name: str) -> None:
        """Let it run."""
        del name
        self.runs = True

    def power_cut(self) -> None:
        """Its memory is lost, and the forwards of the process that was it."""
        self.runs = self.on = False
        self.ports = {20001: 22}
        self.disk = None

    def start(self, name: str) -> None:
        """It runs again."""
        del name
        self.runs = self.on = True

    def vms(self) -> list[Vm]:
        """The one, if it is there."""
        return [self.vm("vm-1")] if self.there else []

    def vm(self, name: str) -> Vm:
        """Running, paused or off."""
        if not self.there:
            raise NotFound(f"VM '{name}' does not exist", hint="vmm vm list")
        state = VmState.RUNNING if self.runs else VmState.PAUSED
        return Vm(
            name=name,
            domain=f"vmm-local-{name}",
            uuid="00000000-0000-0000-0000-000000000001",
            state=state if self.on else VmState.STOPPED,
            profile="small",
            base_digest="0" * 64,
            vcpus=1,
            memory_mib=256,
            ssh_port=self.ssh_port,
            host_key="ssh-ed25519 AAAA",
        )

    def forwards(self, name: str) -> dict[int, int] | None:
        """Those there are, after what was to come before this look."""
        del name
        if self.before_looks:
            self.before_looks.pop(0)()
        return dict(self.ports)

    def add_forward(self, name: str, *, port: int, guest_port: int) -> None:
        """One more; refused where something else has the port."""
        del name
        if port in self.taken or port in self.ports:
            raise PortTaken(f"Port {port} is in use", hint="ss -ltn")
        self.ports[port] = guest_port

    def remove_forward(self, name: str, *, port: int) -> None:
        """One less."""
        del name
        self.ports.pop(port, None)

    def snapshots(self, name: str) -> list[str]:
        """Those there are."""
        del name
        return list(self.kept)

    def take_snapshot(self, name: str, *, snapshot: str) -> None:
        """One more, unless that cannot be."""
        del name
        if self.refuses_snapshots:
            raise TaskFailed(self.refuses_snapshots)
        self.kept.append(snapshot)

    def go_back(self, name: str, *, snapshot: str) -> None:
        """It runs, in a process of its own."""
        del name
        if self.refuses_snapshots:
            raise TaskFailed(self.refuses_snapshots)
        assert snapshot in self.kept
        self.went_back.append(snapshot)
        self.runs = self.on = True
        self.disk = None
        self.ports = {20001: 22}

    def drop_snapshot(self, name: str, *, snapshot: str) -> None:
        """One less."""
        del name
        self.kept.remove(snapshot)

    def user_disk(self, name: str) -> Path | None:
        """The one that was plugged in."""
        del name
        return self.disk

    def attach_user_disk(self, name: str, *, chain: Sequence[Path]) -> None:
        """It has one now."""
        del name
        assert self.disk is None
        self.disk = chain[0]

    def detach_user_disk(self, name: str) -> None:
        """It has none any more."""
        del name
        self.disk = None


@pytest.fixture
def vm() -> OneVm:
    return OneVm()


@pytest.fixture
def context(live: Engine, clock: FakeClock, tmp_path: Path, vm: OneVm) -> Iterator[Context]:
    """Active session s-1, whose suspend right bo holds with fence 1."""
    with live.transaction() as tx:
        starting = frozenset({SessionState.STARTING})
        sessions.move_to(tx, session_id="s-1", state=SessionState.ACTIVE, expected=starting, now=clock.now())
    for name in ("bo", "cy"):
        watcher.assign(
            live,
            clock,
            session="s-1",
            watcher=name,
            privileges=["suspend"],
            duration=timedelta(hours=1),
            actor="root",
        )
    watcher.lock_acquire(live, clock, session="s-1", watcher="bo", actor="bo")
    made = Context(site=Site.load(default_site()), places=Places(tmp_path), clock=clock, actor="root")
    made.__dict__.update(store=live, hypervisor=vm)
    yield made
