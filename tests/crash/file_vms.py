"""VMs that several processes see: libvirt's test driver keeps its own for each connection."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vmm_automation.errors import NotFound, PortTaken
from vmm_automation.model.vm import Vm, VmState

SSH_PORT = 20001


class FileVms:
    """Implements ``ports.Hypervisor``: a file for each VM, replaced as a whole."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def make(self, name: str, *, state: str = "running") -> None:
        """A VM, or one that was started anew: all forwards but SSH's are gone."""
        self._write(name, state=state, forwards={str(SSH_PORT): 22})

    def vms(self) -> list[Vm]:
        """All of them."""
        return [self.vm(path.stem) for path in sorted(self.directory.glob("*.json"))]

    def vm(self, name: str) -> Vm:
        """As its file says."""
        return Vm(
            name=name,
            domain=f"vmm-local-{name}",
            uuid="00000000-0000-0000-0000-000000000001",
            state=VmState(self._read(name)["state"]),
            profile="small",
            base_digest="0" * 64,
            vcpus=4,
            memory_mib=4096,
            ssh_port=SSH_PORT,
            host_key="ssh-ed25519 AAAA",
            protocols=("http",),
            ready=True,
        )

    def pause(self, name: str) -> None:
        """Stop it."""
        self._write(name, **{**self._read(name), "state": "paused"})

    def resume(self, name: str) -> None:
        """Let it run."""
        self._write(name, **{**self._read(name), "state": "running"})

    def forwards(self, name: str) -> dict[int, int] | None:
        """Those there are."""
        return {int(port): guest_port for port, guest_port in self._read(name)["forwards"].items()}

    def add_forward(self, name: str, *, port: int, guest_port: int) -> None:
        """One more; nobody else has it."""
        known = self._read(name)
        if str(port) in known["forwards"]:
            raise PortTaken(f"Port {port} is in use", hint="ss -ltn")
        self._write(name, **{**known, "forwards": {**known["forwards"], str(port): guest_port}})

    def remove_forward(self, name: str, *, port: int) -> None:
        """One less."""
        known = self._read(name)
        known["forwards"].pop(str(port), None)
        self._write(name, **known)

    def snapshots(self, name: str) -> list[str]:
        """Those there are."""
        return list(self._read(name).get("snapshots", []))

    def take_snapshot(self, name: str, *, snapshot: str) -> None:
        """One more."""
        self._write(name, **{**self._read(name), "snapshots": [*self.snapshots(name), snapshot]})

    def go_back(self, name: str, *, snapshot: str) -> None:
        """It runs, in a process of its own: all forwards but SSH's are gone."""
        there = self.snapshots(name)
        assert snapshot in there
        self._write(name, state="running", forwards={str(SSH_PORT): 22}, snapshots=there)

    def drop_snapshot(self, name: str, *, snapshot: str) -> None:
        """One less."""
        left = [each for each in self.snapshots(name) if each != snapshot]
        self._write(name, **{**self._read(name), "snapshots": left})

    def user_disk(self, name: str) -> Path | None:
        """None of them has one."""
        del name
        return None

    def attach_user_disk(self, name: str, *, chain: Sequence[Path]) -> None:
        """They run on nothing that one could be plugged into."""
        raise NotImplementedError(name, chain)

    def detach_user_disk(self, name: str) -> None:
        """Nothing to take away."""

    def _read(self, name: str) -> dict[str, Any]:
        try:
            document: dict[str, Any] = json.loads((self.directory / f"{name}.json").read_text())
        except FileNotFoundError as gone:
            raise NotFound(f"VM '{name}' does not exist", hint="vmm vm list") from gone
        return document

    def _write(self, name: str, **document: Any) -> None:
        partial = self.directory / f"{name}.partial"
        partial.write_text(json.dumps(document))
        partial.replace(self.directory / f"{name}.json")
