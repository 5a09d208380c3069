"""A site, a state on either engine and VMs, that outlive the processes which work on them."""

from __future__ import annotations

import shutil
import signal
import subprocess
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from vmm_automation.adapters.clock import SystemClock
from vmm_automation.adapters.disks import free_port
from vmm_automation.content import default_site
from vmm_automation.model.session import LIVE, SessionState
from vmm_automation.model.ua import DeploymentState
from vmm_automation.operations import watcher
from vmm_automation.operations.context import Context
from vmm_automation.places import Places
from vmm_automation.site import Site
from vmm_automation.state import ledger, sessions, vms

from ..real_state import RealState
from .file_vms import FileVms
from .own_process import run_apart


@dataclass(frozen=True)
class World:
    """What a process is given to work on."""

    state: RealState

    @property
    def files(self) -> Path:
        """Site, VMs and what is saved."""
        return self.state.home.parent / "world"

    @property
    def hypervisor(self) -> FileVms:
        """The VMs."""
        return FileVms(self.files / "vms")

    def context(self) -> Context:
        """All of it, opened."""
        made = Context(
            site=Site.load(self.files / "site"),
            places=Places(self.state.home),
            clock=SystemClock(),
            actor="root",
        )
        made.__dict__.update(store=self.state.open(), hypervisor=self.hypervisor)
        return made

    def make(self) -> None:
        """s-1 is active on vm-1, bo holds its suspend right, cy may too; vm-2 is free for anybody."""
        shutil.copytree(default_site(), self.files / "site")
        (self.files / "site" / "site.yml").write_text("name: made\npolicies: {resume_on_lease_end: true}\n")
        self.files.joinpath("site", "uas", "plain.yml").write_text(
            'command: [sleep, "9"]\nversions: {"1": {kind: deb, packages: [sleep]}}\n'
        )
        port = free_port()
        with self.state.open() as store:
            clock = SystemClock()
            with store.transaction() as tx:
                now = clock.now()
                for vm in ("vm-1", "vm-2"):
                    self.hypervisor.make(vm)
                    vms.mark_clean(tx, vm=vm, now=now)
                    for ua, version in (("radicale", "3.2.3"), ("plain", "1")):
                        active = DeploymentState.ACTIVE
                        ledger.record(tx, vm=vm, ua=ua, version=version, state=active, now=now)
                what: dict[str, Any] = {
                    "user": "ann",
                    "ua": "radicale",
                    "version": "3.2.3",
                    "vm": "vm-1",
                    "terminal": "desktop",
                }
                sessions.claim(tx, session_id="s-1", explanation={}, owner="", user_limit=0, now=now, **what)
                sessions.move_to(tx, session_id="s-1", state=SessionState.ACTIVE, expected=LIVE, now=now)
                sessions.set_endpoint(tx, session_id="s-1", endpoint=f"http://127.0.0.1:{port}/", port=port)
            self.hypervisor.add_forward("vm-1", port=port, guest_port=5232)
            for name in ("bo", "cy"):
                watcher.assign(
                    store,
                    clock,
                    session="s-1",
                    watcher=name,
                    privileges=["suspend"],
                    duration=timedelta(hours=1),
                    actor="root",
                )
            watcher.lock_acquire(store, clock, session="s-1", watcher="bo", actor="bo")

    def run(self, act: str, *, kill_at: str = "") -> subprocess.CompletedProcess[str]:
        """Do something in a process of its own, whose parent ends with it; it may be killed on the way."""
        return run_apart("tests.crash.acts", str(self.state.home), self.state.url, act, kill_at=kill_at)

    def kill(self, act: str, *, at: str) -> None:
        """Do something and be killed at a trace point: it must come to that point."""
        done = self.run(act, kill_at=at)
        assert done.returncode == 128 + signal.SIGKILL, (act, at, done.stdout, done.stderr)

    def finish(self, act: str) -> str:
        """Do something to its end."""
        done = self.run(act)
        assert done.returncode == 0, (act, done.stdout, done.stderr)
        return done.stdout
