"""What tests of the queue share: VMs that are not there, requests, and a clock at which things happen."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from vmm_automation.content import default_site
from vmm_automation.errors import NotFound
from vmm_automation.model.session import LIVE, SessionState
from vmm_automation.model.times import to_text
from vmm_automation.model.ua import DeploymentState
from vmm_automation.model.vm import Vm, VmState
from vmm_automation.model.waiting import WaitingRequest
from vmm_automation.operations.context import Context
from vmm_automation.operations.ownership import owner_token
from vmm_automation.operations.session_claim import Request
from vmm_automation.places import Places
from vmm_automation.site import Site
from vmm_automation.state import ledger, sessions, vms, waiting
from vmm_automation.state.store import Engine

from ..fake_clock import FakeClock
from .one_vm import OneVm

GONE = "elsewhere:boot:1:1"


class Fleet(OneVm):
    """Implements ``ports.Hypervisor``: several VMs that run, by name, with memory in MiB."""

    def __init__(self, memory: dict[str, int]) -> None:
        super().__init__()
        self.memory = memory
        self.looks = 0
        self.off: set[str] = set()
        self.parked: set[str] = set()

    def vms(self) -> list[Vm]:
        """All of them."""
        self.looks += 1
        return [self.vm(name) for name in sorted(self.memory)]

    def vm(self, name: str) -> Vm:
        """One, ready."""
        if name not in self.memory:
            raise NotFound(f"VM '{name}' does not exist", hint="vmm vm list")
        found = super().vm(name)
        state = VmState.STOPPED if name in self.off else found.state
        state = VmState.PARKED if name in self.parked else state
        return replace(found, memory_mib=self.memory[name], protocols=("http",), ready=True, state=state)


class Moments(FakeClock):
    """What is to happen after some seconds happens while somebody sleeps."""

    def __init__(self) -> None:
        super().__init__()
        self.began = self.time
        self.coming: dict[float, Callable[[], Any]] = {}

    def sleep(self, seconds: float) -> None:
        """Pass the time, with what it brings."""
        super().sleep(seconds)
        for at in sorted(self.coming):
            if self.time >= self.began + timedelta(seconds=at):
                self.coming.pop(at)()


def a_site(place: Path, *, policies: str = "") -> Site:
    """A site with the UA 'plain', and 'large' that needs 2048 MiB."""
    shutil.copytree(default_site(), place)
    (place / "site.yml").write_text(f"name: made\npolicies: {{{policies}}}\n")
    text = 'command: [sleep, "9"]\nversions: {"1": {kind: deb, packages: [sleep]}}\n'
    (place / "uas" / "plain.yml").write_text(text)
    (place / "uas" / "large.yml").write_text(f"{text}requirements: {{vm: {{memory_mib: 2048}}}}\n")
    return Site.load(place)


def a_context(store: Engine, clock: FakeClock, site: Site, place: Path, *, memory: dict[str, int]) -> Context:
    """All VMs clean, with both UAs active; ``said`` of the context has what it said."""
    said: list[str] = []
    made = Context(site=site, places=Places(place), clock=clock, actor="root", progress=said.append)
    made.__dict__.update(store=store, hypervisor=Fleet(memory), said=said)
    with store.transaction() as tx:
        for vm in memory:
            vms.mark_clean(tx, vm=vm, now=clock.now())
            for ua in ("plain", "large"):
                active = DeploymentState.ACTIVE
                ledger.record(tx, vm=vm, ua=ua, version="1", state=active, now=clock.now())
    return made


def asks(user: str, **changes: Any) -> Request:
    """A request for 'plain', changed as asked."""
    return Request(**{"user": user, "ua": "plain", "terminal": "desktop", **changes})


def waits(context: Context, user: str, *, owner: str = "", **changes: Any) -> Request:
    """The same, in the queue already, by a process that lives: this one."""
    now = context.clock.now()
    asked = asks(user, **changes)
    with context.store.transaction() as tx:
        number = waiting.next_number(tx)
        waiting.add(
            tx,
            WaitingRequest(
                id=f"r-{user}",
                number=number,
                priority=asked.priority,
                user=user,
                ua=asked.ua,
                terminal=asked.terminal,
                owner=owner or owner_token(os.getpid()),
                asked_at=to_text(now),
                deadline_at=to_text(now + timedelta(hours=1)),
                seen_at=to_text(now),
                version=asked.version,
                vm=asked.vm,
                avoid=tuple(asked.avoid),
            ),
        )
    return replace(asked, number=number)


def end(context: Context, vm: str) -> None:
    """End the session on a VM, and prove the VM clean."""
    with context.store.transaction() as tx:
        live, now = sessions.live_on_vm(tx, vm=vm), context.clock.now()
        if live:
            ended = SessionState.FAILED
            sessions.move_to(tx, session_id=live.id, state=ended, expected=LIVE, now=now)
        vms.mark_clean(tx, vm=vm, now=now)
