"""The seams to the outside: what operations need of a clock, a hypervisor and a guest."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmm_automation.errors import VmmError
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

    def fetch(self, remote: str, local: Path, *, limit: int) -> None:
        """Copy a file of the guest to the controller, ``limit`` bytes at most, whatever the guest sends.

        Raises ArtifactInvalid: more came; nothing is left at ``local``.
        """


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

    def park(self, name: str) -> None:
        """Save the guest with its memory and switch it off; no change if it is off already."""

    def forwards(self, name: str) -> dict[int, int] | None:
        """Ports of 127.0.0.1 that lead to ports of a running guest; None where there is no way to ask."""

    def add_forward(self, name: str, *, port: int, guest_port: int) -> None:
        """Forward 127.0.0.1:port of the hypervisor to a TCP port of the guest. Raises PortTaken."""

    def remove_forward(self, name: str, *, port: int) -> None:
        """Take a forward away; no change if there is none."""

    def snapshots(self, name: str) -> list[str]:
        """The names of a VM's snapshots."""

    def take_snapshot(self, name: str, *, snapshot: str) -> None:
        """Keep memory and disk of a VM as they are now."""

    def go_back(self, name: str, *, snapshot: str) -> None:
        """Put memory and disk back to a snapshot and let the guest run. Raises PortTaken."""

    def drop_snapshot(self, name: str, *, snapshot: str) -> None:
        """Remove a snapshot."""

    def user_disk(self, name: str) -> Path | None:
        """The file of the user's disk that a VM has now; None if it has none."""

    def attach_user_disk(self, name: str, *, chain: Sequence[Path]) -> None:
        """Plug a disk into a running guest: a qcow2 file and those that it lies on, top first."""

    def detach_user_disk(self, name: str) -> None:
        """Ask the guest to let the user's disk go; it is gone when :meth:`user_disk` says so."""


class PoolHands(Protocol):
    """What a pool does to its VMs. Each call works on all names, and returns the failures by name."""

    def create(self, names: Sequence[str], *, profile: str) -> dict[str, VmmError]:
        """Make VMs, all at the same time, until they answer; of one that fails nothing is left."""

    def start(self, names: Sequence[str]) -> dict[str, VmmError]:
        """Boot or resume VMs until they answer."""

    def park(self, names: Sequence[str]) -> dict[str, VmmError]:
        """Save VMs with their memory and switch them off."""

    def stop(self, names: Sequence[str]) -> dict[str, VmmError]:
        """Shut VMs down."""

    def delete(self, names: Sequence[str]) -> dict[str, VmmError]:
        """Remove VMs with their disks; no failure for one that is not there."""
