"""Which VMs a verb works on, and in which order: names, patterns, and what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from vmm_automation.errors import NotFound, UsageError
from vmm_automation.model.names import check_name
from vmm_automation.model.vm import Vm, VmFacts, VmState
from vmm_automation.schema import suggestion

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
_LABEL = "label:"


def select_targets(
    there: Sequence[VmFacts], names: Sequence[str], *, pool: str = "", limit: str = "", order: str = "name"
) -> list[Vm]:
    """The VMs of ``there`` that are named (no name, ``vms`` and ``all``: every one), in ``pool`` and within
    ``limit``: pure.

    Names may have shell wildcards. ``limit`` has several, with commas or colons; ``!vm-1`` leaves one out. A
    pool's VMs that do not run are meant only where they are named: its next refill brings them along.

    ``order`` is *name*, *oldest*, *newest*, or *label:WORD*: those first that carry the word, by name. A VM
    carries the features of its profile, the profile's name and region, and the name of its pool.

    Raises:
        InvalidName: a name is none that a VM can have.
        NotFound: a name or pattern is no VM's, no VM carries the label, or nothing is left.
        UsageError: the order is none.
    """
    if not there:
        raise NotFound("The site has no VMs yet", hint="vmm vm create vm-1")
    in_order = _order(there, order)
    vms = [fact.vm for fact in there]
    named = [name for name in names if name not in (*_ALL, "")]
    words = [word for word in _SEPARATOR.split(limit) if word]
    wanted = _matching(vms, named)
    kept = _matching(vms, [word for word in words if not word.startswith("!")])
    left_out = _matching(vms, [word[1:] for word in words if word.startswith("!")], no="none")
    resting = {each.vm.name for each in there if each.pool and each.vm.state is not VmState.RUNNING}
    outside = {each.vm.name for each in there if pool not in ("", each.pool)}
    left_out_names = outside | {vm.name for vm in left_out}
    found = [vm for vm in wanted if vm in kept and vm.name not in left_out_names]
    at_hand = [vm for vm in found if vm.name in named or vm.name not in resting]
    if not at_hand:
        names = [vm.name for vm in wanted]
        raise _nothing_left(names, pool=pool, limit=limit, resting=bool(found))
    return in_order(at_hand)


def _order(there: Sequence[VmFacts], order: str) -> Callable[[list[Vm]], list[Vm]]:
    if order in _ORDERS:
        return _ORDERS[order]
    label = order.removeprefix(_LABEL)
    if label in ("", order):
        raise UsageError(
            f"'{order}' is no order of VMs: there are {', '.join(_ORDERS)} and {_LABEL}WORD",
            hint="--order oldest",
        )
    carried = {fact.vm.name: _labels(fact) for fact in there}
    known = set().union(*carried.values())
    if label not in known:
        raise NotFound(
            f"No VM carries the label '{label}': there are {', '.join(sorted(known))}"
            f"{suggestion(label, known)}",
            hint="vmm vm list",
            details={"label": label},
        )
    return lambda vms: sorted(vms, key=lambda vm: (label not in carried[vm.name], vm.name))


def _labels(fact: VmFacts) -> set[str]:
    return {*fact.vm.features, fact.vm.profile, fact.offers.region, fact.pool} - {""}


def _nothing_left(wanted: list[str], *, pool: str, limit: str, resting: bool) -> NotFound:
    asked = [f"is in pool '{pool}'" if pool else "", f"matches '{limit}'" if limit else ""]
    asked += ["runs"] if resting else []
    why = f"none of {', '.join(wanted)} {' and '.join(each for each in asked if each)}"
    return NotFound(
        f"No VM is left: {why}",
        hint=f"vmm pool show {pool}" if pool else "vmm vm list",
        details={"limit": limit, "pool": pool},
    )


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
