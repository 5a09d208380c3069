"""What libvirt keeps of a VM's memory: snapshots, and what a parked VM goes on from."""

from __future__ import annotations

import libvirt

from vmm_automation.adapters import domain_xml
from vmm_automation.adapters.libvirt_failures import translated

# the guest's old QEMU always ends: what it was told meanwhile, or what took hold in it, does not come along
_REVERT = libvirt.VIR_DOMAIN_SNAPSHOT_REVERT_RUNNING | libvirt.VIR_DOMAIN_SNAPSHOT_REVERT_FORCE


class KeptMemory:
    """The part of the hypervisor port that is for it."""

    uri: str

    def _domain(self, name: str) -> libvirt.virDomain:
        raise NotImplementedError

    def snapshots(self, name: str) -> list[str]:
        """The names of a VM's snapshots."""
        domain = self._domain(name)
        with translated(self.uri, f"list snapshots of VM '{name}'"):
            return sorted(snapshot.getName() for snapshot in domain.listAllSnapshots())

    def take_snapshot(self, name: str, *, snapshot: str) -> None:
        """Keep memory and disk of a VM as they are now, inside its disk file; it stands still meanwhile."""
        domain = self._domain(name)
        with translated(self.uri, f"take a snapshot of VM '{name}'"):
            xml = domain_xml.snapshot_xml(snapshot)
            domain.snapshotCreateXML(xml, libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC)

    def go_back(self, name: str, *, snapshot: str) -> None:
        """Put memory and disk back to a snapshot, in a new QEMU, and let the guest run.

        Raises:
            PortTaken: the SSH port of the domain was taken in between; the VM is off.
        """
        domain = self._domain(name)
        with translated(self.uri, f"take VM '{name}' back to snapshot '{snapshot}'"):
            domain.revertToSnapshot(domain.snapshotLookupByName(snapshot), _REVERT)

    def drop_snapshot(self, name: str, *, snapshot: str) -> None:
        """Remove a snapshot; what it held in the disk file can be used again."""
        domain = self._domain(name)
        with translated(self.uri, f"remove snapshot '{snapshot}' of VM '{name}'"):
            domain.snapshotLookupByName(snapshot).delete()

    def reset(self, name: str) -> None:
        """Cut the power and forget all that is kept of the guest's memory; the domain and its disks stay.

        What snapshots hold in the disk file stays there: for a disk that is to be replaced.
        """
        domain = self._domain(name)
        with translated(self.uri, f"reset VM '{name}'"):
            if domain.isActive():
                domain.destroy()
            if domain.hasManagedSaveImage():
                domain.managedSaveRemove()
            for snapshot in domain.listAllSnapshots():
                snapshot.delete(libvirt.VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY)
