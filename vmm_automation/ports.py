"""The seams to the outside: what operations need of a clock, a hypervisor and a guest."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from vmm_automation.model.vm import Vm


class Clock(Protocol):
    """Where times come from."""

    def now(self) -> datetime:
        """The present time, aware, in UTC."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


@dataclass(frozen=True)
class GuestResult:
    """What a command in a guest left: exit status and its two streams."""

    status: int
    stdout: str
    stderr: str


class Guest(Protocol):
    """Root in one guest, over whichever connection Ansible uses for it.

    Raises on every call:
        GuestUnreachable: the connection could not be made or broke.
    """

    @property
    def name(self) -> str:
        """The VM's name."""

    def run(self, script: str, *, stdin: bytes = b"") -> GuestResult:
        """Run a POSIX shell script as root and return what it left; a non-zero status does not raise."""

    def put(self, local: Path, remote: str) -> None:
        """Copy a file of the controller into the guest."""

    def fetch(self, remote: str, local: Path) -> None:
        """Copy a file of the guest to the controller."""


class Hypervisor(Protocol):
    """The VMs of one site on one libvirt.

    Raises on every call:
        HypervisorUnreachable: libvirt does not answer.
    """

    def vms(self) -> list[Vm]:
        """All VMs of the site, by name."""

    def vm(self, name: str) -> Vm:
        """One VM of the site. Raises NotFound."""

    def pause(self, name: str) -> None:
        """Stop the guest's CPUs, keeping it in memory; no change if they are stopped already."""

    def resume(self, name: str) -> None:
        """Let the guest's CPUs run again; no change if they run already."""

    def forwards(self, name: str) -> dict[int, int] | None:
        """Ports of 127.0.0.1 that lead to ports of a running guest; None where there is no way to ask."""

    def add_forward(self, name: str, *, port: int, guest_port: int) -> None:
        """Forward 127.0.0.1:port of the hypervisor to a TCP port of the guest. Raises PortTaken."""

    def remove_forward(self, name: str, *, port: int) -> None:
        """Take a forward away; no change if there is none."""
