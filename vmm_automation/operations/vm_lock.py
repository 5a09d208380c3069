"""One thing at a time on one VM: what changes a guest, and what takes it back to an earlier time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vmm_automation.adapters.disks import VmFiles
from vmm_automation.adapters.lockfile import exclusive
from vmm_automation.operations.context import Context


@contextmanager
def held(context: Context, vm: str) -> Iterator[None]:
    """Hold a VM for the block, after whoever has it now; the lock ends with its process.

    Between processes of one controller: without it an update of a UA could end in the guest, the guest go
    back to before it, and only then the ledger call it active.
    """
    with exclusive(VmFiles(context.places.vms / context.site.name / vm).lock):
        yield
