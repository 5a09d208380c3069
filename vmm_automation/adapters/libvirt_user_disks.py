"""A user's disk on a running VM: plugged in, looked for, taken away; never in the domain's definition."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vmm_automation.adapters import domain_xml
from vmm_automation.adapters.libvirt_failures import translated
from vmm_automation.errors import TaskFailed


class UserDisks:
    """The part of the hypervisor port that is for users' disks.

    A disk is plugged into the guest that runs, and into nothing that is started, parked or taken back later.
    """

    uri: str

    def _domain(self, name: str) -> Any:
        raise NotImplementedError

    def user_disk(self, name: str) -> Path | None:
        """The file of the user's disk that a VM has now; None if it has none."""
        domain = self._domain(name)
        with translated(self.uri, f"read the disks of VM '{name}'"):
            found = domain_xml.find_user_disk(domain.XMLDesc())
        return None if found is None else Path(found)

    def attach_user_disk(self, name: str, *, chain: Sequence[Path]) -> None:
        """Plug a disk into a running guest: a qcow2 file and those that it lies on, top first.

        Raises:
            TaskFailed: the guest does not run, has such a disk, or has no free port for one.
        """
        domain = self._domain(name)
        try:
            with translated(self.uri, f"attach the user's disk to VM '{name}'"):
                domain.attachDevice(domain_xml.user_disk_xml(chain))
        except TaskFailed as failure:
            if "PCI" not in failure.message:
                raise
            raise TaskFailed(
                f"VM '{name}' has no free port for a user's disk: {failure.message}",
                hint=f"vmm vm rebuild {name}",
                details={"host": name, **failure.details},
            ) from failure

    def detach_user_disk(self, name: str) -> None:
        """Ask the guest to let the user's disk go; it is gone when :meth:`user_disk` says so."""
        domain = self._domain(name)
        with translated(self.uri, f"detach the user's disk from VM '{name}'"):
            if (file := domain_xml.find_user_disk(domain.XMLDesc())) is not None:
                domain.detachDevice(domain_xml.user_disk_xml([Path(file)]))
