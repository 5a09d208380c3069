"""The snapshot of a clean VM: memory and disk as they were before anything of a user was on it.

It is taken in the run that claims the VM, before the user's data is sent, and only where none is there that
still stands for the VM: its name is made from what the ledger says of the VM's UAs. So it needs no row in
the state, which could disagree with libvirt, and one from before an update is not even found; it is removed
when the next is taken. A VM without a snapshot is scrubbed, and that is said.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from vmm_automation.adapters.disks import VmFiles, require_space
from vmm_automation.errors import Conflict, VmmError
from vmm_automation.model.session import SessionState
from vmm_automation.model.vm import Vm, VmCondition
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import vm_change
from vmm_automation.site import Cleanliness
from vmm_automation.state import ledger, moves, sessions, vms
from vmm_automation.state.store import Snapshot
from vmm_automation.trace import point

_PREFIX = "vmm-clean-"
_RESERVE_MIB = 512  # what must be free beside the guest's memory


def current(context: Context, vm: str) -> str | None:
    """The snapshot that stands for the VM as it is when clean, with the UAs that the ledger has on it."""
    wanted = _name(context, context.hypervisor.vm(vm))
    return wanted if wanted in context.hypervisor.snapshots(vm) else None


def ensure(context: Context, vm: str) -> str | None:
    """Take the snapshot of a VM that was clean until it was claimed, unless it is there.

    Only for the run that has just claimed the VM and has not sent anything to it. Where it cannot be taken
    that is said, and the session opens all the same: None.
    """
    if context.site.policies.cleanliness is not Cleanliness.SNAPSHOT:
        return None
    try:
        return current(context, vm) or _take(context, vm)
    except VmmError as failure:
        context.progress(
            f"VM '{vm}' will be scrubbed after the session, for it has no snapshot: {failure.message}"
        )
        return None


def keep(context: Context, session_id: str) -> dict[str, Any]:
    """Take the snapshot of a VM that was started for a session which comes there; see :func:`ensure`.

    Raises:
        Conflict: it does so no more, and a user's data may be on the VM.
    """
    with context.store.reading() as tx:
        session, move = sessions.get(tx, session_id=session_id), moves.get(tx, session_id=session_id)
    if session.state is not SessionState.STARTING:
        raise Conflict(
            f"Cannot keep the VM of session '{session_id}' as it is: it is {session.state}, not starting",
            hint=f"vmm session show {session_id}",
            details={"session": session_id, "state": str(session.state)},
        )
    return {"changed": False, "snapshot": ensure(context, move.vm if move else session.vm)}


def forget(context: Context, vm: str) -> None:
    """Remove the snapshots of a VM; one that cannot be removed stays, to be removed with the next taken."""
    with suppress(VmmError):
        for name in _ours(context, vm):
            context.hypervisor.drop_snapshot(vm, snapshot=name)


def forget_if_clean(context: Context, vm: str) -> None:
    """Remove them where nobody's data has to be taken back: after a start a VM is as its operator left it."""
    with context.store.reading() as tx:
        clean = vms.condition(tx, vm=vm) is VmCondition.CLEAN
    if clean:
        forget(context, vm)


def _take(context: Context, vm: str) -> str:
    wanted = context.hypervisor.vm(vm)
    name = _name(context, wanted)
    for stale in _ours(context, vm):
        context.hypervisor.drop_snapshot(vm, snapshot=stale)
    point("vm.snapshot.dropped")
    directory = VmFiles(context.places.vms / context.site.name / vm).directory
    if directory.exists():  # else the VM's files are on another machine
        require_space(directory, needed_mib=wanted.memory_mib + _RESERVE_MIB)
    context.hypervisor.take_snapshot(vm, snapshot=name)
    point("vm.snapshot.taken")
    with context.store.transaction() as tx:
        now = context.clock.now()
        with vm_change(tx, context, vm, action="vm.snapshot", now=now) as result:
            result |= {"snapshot": name, "status": "ok"}
    point("vm.snapshot.recorded")
    return name


def _ours(context: Context, vm: str) -> list[str]:
    return [name for name in context.hypervisor.snapshots(vm) if name.startswith(_PREFIX)]


def _name(context: Context, vm: Vm) -> str:
    with context.store.reading() as tx:
        return f"{_PREFIX}{_stands_for(tx, vm)}"


def _stands_for(tx: Snapshot, vm: Vm) -> str:
    """Changes whenever a UA on the VM does, back and forth too; and with what a snapshot of it would undo."""
    delivered = [asdict(each) for each in ledger.for_vm(tx, vm=vm.name)]
    document = json.dumps([vm.uuid, vm.ssh_port, delivered], sort_keys=True, default=str)
    return hashlib.sha256(document.encode()).hexdigest()[:16]
