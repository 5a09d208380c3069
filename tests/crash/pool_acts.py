"""A refill that a process is made to do, and to be killed at.

Guests are directories, whose places are not those of a user: what cleans a guest finds nothing left in them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.programs.pool_world import FakeVms
from tests.programs.sandbox_guest import SandboxGuest
from vmm_automation.adapters.clock import SystemClock
from vmm_automation.errors import VmmError
from vmm_automation.model.vm import Vm, VmState
from vmm_automation.operations.context import Context
from vmm_automation.operations.pool_refill import installed, refilled, settled
from vmm_automation.places import Places
from vmm_automation.ports import GuestResult
from vmm_automation.site import Site

from ..real_state import RealState


class UnusedGuest(SandboxGuest):
    """A guest without a user's data."""

    def run(self, script: str, *, stdin: bytes = b"") -> GuestResult:
        """Anything but what would clean this machine."""
        if "stop_processes" in script:
            return GuestResult(0, "", "")
        return super().run(script, stdin=stdin)


class FilePoolVms(FakeVms):
    """VMs that several processes see."""

    def __init__(self, context: Context, file: Path) -> None:
        super().__init__(context)
        self._file = file
        if file.exists():
            found = (_vm(each) for each in json.loads(file.read_text()))
            self.there = {vm.name: vm for vm in found}

    def user_disk(self, name: str) -> Path | None:
        """None of them has one."""
        del name
        return None

    def snapshots(self, name: str) -> list[str]:
        """None."""
        del name
        return []

    def _called(self, call: str, names: Sequence[str]) -> dict[str, VmmError]:
        self._file.write_text(json.dumps([asdict(vm) for vm in self.vms()]))
        return super()._called(call, names)


def _vm(document: dict[str, Any]) -> Vm:
    listed: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in document.items()
    }
    return Vm(**{**listed, "state": VmState(document["state"])})


def open_world(place: Path, url: str) -> tuple[Context, FilePoolVms]:
    """The site in a directory, its state and its VMs, opened."""
    context = Context(
        site=Site.load(place / "site"), places=Places(place / "home"), clock=SystemClock(), actor="root"
    )
    fake = FilePoolVms(context, place / "vms.json")
    context.__dict__.update(store=RealState(place / "home", url).open(), hypervisor=fake)
    return context, fake


def main(directory: str, url: str) -> dict[str, Any]:
    """All that the playbook does."""
    place = Path(directory)
    context, fake = open_world(place, url)
    told = refilled(context, hands=fake)
    for name in told["prepare"]:
        installed(context, UnusedGuest(place / name, name=name))
    done = settled(context, done=told, hands=fake)
    return {**told, "changed": told["changed"] or done["changed"]}
