"""A benchmark's guest: one of its VMs behind one ssh connection that is open before anything is measured."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.own_site import OwnSite
from vmm_automation.adapters.ssh import SshPlaces
from vmm_automation.operations.context import open_context
from vmm_automation.ports import GuestResult


@dataclass(frozen=True)
class SshGuest:
    """As ``ports.Guest``; ``words`` are those of an ssh command, to which a floor adds its own."""

    name: str
    words: tuple[str, ...]

    @classmethod
    def on(cls, site: OwnSite, name: str) -> SshGuest:
        """Opens the connection."""
        context = open_context(site.directory)
        vm, places = context.hypervisor.vm(name), SshPlaces.of(context.places)
        words = ["ssh", "-F", "/dev/null", "-p", str(vm.ssh_port), "-i", str(places.key), *places.options(vm)]
        words += ["-o", "ControlMaster=auto", "-o", "ControlPersist=600"]
        words += ["-o", f"ControlPath={site.home / f'floor-{name}.cm'}", "root@127.0.0.1"]
        # its output elsewhere: the connection that stays open would keep our pipes open as well
        subprocess.run([*words, "true"], check=True, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return cls(name, tuple(words))

    def run(self, script: str, *, stdin: bytes = b"") -> GuestResult:
        """Run a script; a non-zero status does not raise."""
        done = subprocess.run([*self.words, script], input=stdin, capture_output=True, check=False)
        return GuestResult(done.returncode, done.stdout.decode(), done.stderr.decode())

    def put(self, local: Path, remote: str) -> None:
        """Copy a file in."""
        with local.open("rb") as file:
            subprocess.run([*self.words, f"cat >{remote}"], stdin=file, check=True)

    def fetch(self, remote: str, local: Path, *, limit: int) -> None:
        """Copy a file out; the benchmark's own files are within any limit."""
        del limit
        with local.open("wb") as file:
            subprocess.run([*self.words, f"cat {remote}"], stdin=subprocess.DEVNULL, stdout=file, check=True)
