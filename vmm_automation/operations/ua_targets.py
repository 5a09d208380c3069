"""Which VMs a verb works on, and in which order: names, patterns, and what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from vmm_automation.errors import NotFound, UsageError
from vmm_automation.model.names import check_name
from vmm_automation.model.vm import Vm

_ALL = ("vms", "all")
_SEPARATOR = re.compile(r"[,:]")
_WILD = re.compile(r"[*?\[]")
_ORDERS: dict[str, Callable[[list[Vm]], list[Vm]]] = {
    "name": lambda vms: sorted(vms, key=lambda vm: vm.name),
    "oldest": lambda vms: sorted(vms, key=lambda vm: (vm.created_at, vm.name)),
    "newest": lambda vms: sorted(
        sorted(vms, key=lambda vm: vm.name), key=lambda vm: vm.created_at, reverse=True
    ),
}
ORDERS = tuple(_ORDERS)


def select_targets(
    there: Sequence[Vm], names: Sequence[str], *, limit: str = "", order: str = "name"
) -> list[Vm]:
    """The VMs of ``there`` that are named (no name, ``vms`` and ``all``: every one), within ``limit``: pure.

    Names may have shell wildcards. ``limit`` has several, with commas or colons; ``!vm-1`` leaves one out.

    Raises:
        InvalidName: a name is none that a VM can have.
        NotFound: a name or pattern is no VM's, or nothing is left.
        UsageError: the order is none.
    """
    if order not in _ORDERS:
        raise UsageError(
            f"'{order}' is no order of VMs: there are {', '.join(ORDERS)}", hint="--order oldest"
        )
    if not there:
        raise NotFound("The site has no VMs yet", hint="vmm vm create vm-1")
    wanted = _matching(there, [name for name in names if name not in (*_ALL, "")])
    words = [word for word in _SEPARATOR.split(limit) if word]
    kept = _matching(there, [word for word in words if not word.startswith("!")])
    left_out = {
        vm.name for vm in _matching(there, [word[1:] for word in words if word.startswith("!")], no="none")
    }
    found = [vm for vm in wanted if vm in kept and vm.name not in left_out]
    if not found:
        raise NotFound(
            f"No VM is left: '{limit}' matches none of {', '.join(vm.name for vm in wanted)}",
            hint="vmm vm list",
            details={"limit": limit},
        )
    return _ORDERS[order](found)


def _matching(there: Sequence[Vm], patterns: Sequence[str], *, no: str = "all") -> list[Vm]:
    """The VMs that any pattern matches; without a pattern, all or none."""
    if not patterns:
        return list(there) if no == "all" else []
    for pattern in patterns:
        if not _WILD.search(pattern):
            check_name("VM", pattern)
        if not any(fnmatchcase(vm.name, pattern) for vm in there):
            what = f"No VM matches '{pattern}'" if _WILD.search(pattern) else f"VM '{pattern}' does not exist"
            known = ", ".join(vm.name for vm in there)
            raise NotFound(f"{what}: there are {known}", hint="vmm vm list", details={"vm": pattern})
    return [vm for vm in there if any(fnmatchcase(vm.name, pattern) for pattern in patterns)]
