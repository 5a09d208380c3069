"""The ports of the controller that lead to UAs in guests: added, found again, and taken away."""

from __future__ import annotations

from vmm_automation.adapters.disks import free_port
from vmm_automation.errors import NotFound, PortTaken
from vmm_automation.model.vm import Vm, VmState
from vmm_automation.operations.context import Context

_ATTEMPTS = 5
#: a VM in one of these has a guest in memory, and forwards
IN_MEMORY = frozenset({VmState.RUNNING, VmState.PAUSED})


def add(context: Context, vm: str, *, wanted: int, guest_port: int) -> int:
    """Forward a port to the guest's; returns which: ``wanted``, or (0) a free one.

    Raises:
        PortTaken: the wanted one is in use.
    """
    for _attempt in range(_ATTEMPTS):
        port = wanted or free_port(taken=frozenset(each.ssh_port for each in context.hypervisor.vms()))
        try:
            context.hypervisor.add_forward(vm, port=port, guest_port=guest_port)
        except PortTaken:
            if wanted:
                raise
            continue
        return port
    raise PortTaken("No free port of 127.0.0.1 could be forwarded", hint="ss -ltn")


def add_again(context: Context, vm: str, *, port: int, guest_port: int) -> int:
    """Forward the port that a guest had before it was started anew, or another if it was taken meanwhile."""
    try:
        return add(context, vm, wanted=port, guest_port=guest_port)
    except PortTaken:
        if port in (context.hypervisor.forwards(vm) or {}):
            return port  # another run was faster
        return add(context, vm, wanted=0, guest_port=guest_port)


def of_sessions(context: Context, vm: Vm) -> dict[int, int] | None:
    """The forwards of a VM without its own for SSH; None where there is no way to ask."""
    found = context.hypervisor.forwards(vm.name) if vm.state in IN_MEMORY else {}
    return found if found is None else {port: to for port, to in found.items() if port != vm.ssh_port}


def drop_all(context: Context, name: str, *, known: int) -> None:
    """Take away all forwards of a VM but its own for SSH; ``known`` (or 0) where there is no way to ask."""
    try:
        vm = context.hypervisor.vm(name)
        if vm.state not in IN_MEMORY:
            return
        found = of_sessions(context, vm)
        for port in sorted(({known} - {0}) if found is None else found):
            context.hypervisor.remove_forward(name, port=port)
    except NotFound:
        return  # the VM is gone, and its forwards with it
