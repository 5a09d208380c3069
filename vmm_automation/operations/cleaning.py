"""A VM after its session: proven clean, by the way that the site's policy says.

*snapshot*: back to memory and disk as they were before the session; whatever was written, started or changed
anywhere in the guest never was. *scrub*: the user's account is cleared, and what it could write to read
back. *rebuild*: an empty disk over the base image, and the UAs installed again. Until the last step of
any of them is done the VM counts as dirty and is not selected; killed anywhere it is begun anew.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from vmm_automation.adapters.disks import renew_overlay
from vmm_automation.adapters.ssh import forget_connection, wait_until_ready
from vmm_automation.errors import Conflict, PortTaken, TaskFailed, VmmError
from vmm_automation.model.session import SessionState
from vmm_automation.model.vm import VmCondition, VmState
from vmm_automation.operations import clean_snapshot, deployment, ua, user_image, user_volume, vm_lock
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import vm_change
from vmm_automation.operations.vm_work import Work, start
from vmm_automation.ports import Guest
from vmm_automation.site import Cleanliness
from vmm_automation.state import pools, sessions, vms
from vmm_automation.state.store import Snapshot
from vmm_automation.trace import point

_IN_USE = frozenset({SessionState.STARTING, SessionState.ACTIVE, SessionState.SUSPENDED})
_SEED_BYTES = 64
#: a guest that went back has the time of its snapshot, and would draw the same random numbers each time:
#: RNDADDENTROPY, RNDRESEEDCRNG; see random(4)
_REFRESH = """\
import fcntl, struct, sys, time
moment, seed = sys.stdin.read().split()
seed = bytes.fromhex(seed)
with open("/dev/urandom", "wb", buffering=0) as pool:
    fcntl.ioctl(pool, 0x40085203, struct.pack("ii", 8 * len(seed), len(seed)) + seed)
    fcntl.ioctl(pool, 0x5207)
time.clock_settime(time.CLOCK_REALTIME, float(moment))
"""


@dataclass(frozen=True)
class _Way:
    """How a VM will be cleaned; ``instead`` says why not as the policy wants."""

    how: Cleanliness
    snapshot: str = ""
    instead: str = ""


def clean(context: Context, guest: Guest, *, reserved: bool = False, check: bool = False) -> dict[str, Any]:
    """Leave nothing of a user's on a VM, prove it, and call the VM clean; no change if it counts as clean.

    ``reserved``: the caller is who works on the VM for its pool, and this is the last it does to it.

    Raises:
        Conflict: a session is using the VM, or its pool works on it.
        TaskFailed, Timeout, GuestUnreachable: it could not be proven; the VM stays dirty.
    """
    if _is_clean(context, guest.name, reserved=reserved):
        return {"changed": False, "cleaned": guest.name}
    if check:
        return _plan(context, guest)
    with vm_lock.held(context, guest.name):
        if _is_clean(context, guest.name, reserved=reserved):  # while this run waited
            return {"changed": False, "cleaned": guest.name}
        way = _say(context, guest, _way(context, guest.name))
        _let_volume_go(context, guest, way)
        if way.how is Cleanliness.SNAPSHOT:
            way = _say(context, guest, _go_back(context, guest, way))
        if way.how is not Cleanliness.SNAPSHOT:
            {Cleanliness.SCRUB: _scrub, Cleanliness.REBUILD: _rebuild}[way.how](context, guest)
        user_volume.settle(context, guest.name)
        point("image.clean.cleaned")
        with context.store.transaction() as tx:
            now = context.clock.now()
            _require_nobody(tx, guest.name, reserved=reserved)  # a refill may have come meanwhile
            with vm_change(tx, context, guest.name, action="vm.clean", now=now) as result:
                if reserved:
                    pools.release(tx, vm=guest.name)
                vms.mark_clean(tx, vm=guest.name, reason=f"proven by {way.how}", now=now)
                result |= {"status": "ok", "how": str(way.how)}
        point("image.clean.recorded")
    return {"changed": True, "cleaned": guest.name, **_said(way)}


def _is_clean(context: Context, vm: str, *, reserved: bool) -> bool:
    with context.store.reading() as tx:
        _require_nobody(tx, vm, reserved=reserved)
        return vms.condition(tx, vm=vm) is VmCondition.CLEAN


def _require_nobody(tx: Snapshot, vm: str, *, reserved: bool) -> None:
    working = pools.reserved(tx).get(vm)
    live = sessions.live_on_vm(tx, vm=vm)
    if working and not reserved:
        raise Conflict(
            f"Cannot clean VM '{vm}': it is worked on by {working}",
            hint="vmm pool refill",
            details={"vm": vm, "reserved": working},
        )
    if live and live.state in _IN_USE:
        raise Conflict(
            f"Cannot clean VM '{vm}': session '{live.id}' is {live.state} on it",
            hint=f"vmm session close {live.id}",
            details={"vm": vm, "session": live.id},
        )


def _way(context: Context, vm: str) -> _Way:
    wanted = context.site.policies.cleanliness
    with context.store.reading() as tx:
        if vms.reason(tx, vm=vm) == vms.REBUILDING:  # and that was cut off
            return _Way(Cleanliness.REBUILD)
    if wanted is not Cleanliness.SNAPSHOT:
        return _Way(wanted)
    try:
        snapshot = clean_snapshot.current(context, vm)
    except TaskFailed as failure:
        return _Way(Cleanliness.SCRUB, instead=failure.message)
    if snapshot is None:
        return _Way(
            Cleanliness.SCRUB, instead="it has no snapshot from before the session with its present UAs"
        )
    return _Way(wanted, snapshot)


def _say(context: Context, guest: Guest, way: _Way) -> _Way:
    if way.instead:
        context.progress(f"VM '{guest.name}' is scrubbed instead of taken back: {way.instead}")
    return way


def _said(way: _Way) -> dict[str, Any]:
    return {"cleaned_by": str(way.how), "fallback": way.instead or None}


def _plan(context: Context, guest: Guest) -> dict[str, Any]:
    way = _way(context, guest.name)
    if way.how is Cleanliness.SNAPSHOT:
        return {"changed": True, "actions": [f"go back to snapshot {way.snapshot}"], **_said(way)}
    if way.how is Cleanliness.REBUILD:
        return {"changed": True, "actions": ["renew the disk", "install UAs"], **_said(way)}
    plan = user_image.plan_clean(guest)
    return {"changed": plan.changed, "actions": list(plan.actions), **_said(way)}


def _let_volume_go(context: Context, guest: Guest, way: _Way) -> None:
    """Nothing that a VM goes back to has a user's disk; where its guest is ended, that may stay till then."""
    try:
        user_volume.let_go(context, guest)
    except VmmError as failure:
        if way.how is Cleanliness.SCRUB:
            raise
        context.progress(f"The user's disk goes when VM '{guest.name}' is ended: {failure.message}")


def _go_back(context: Context, guest: Guest, way: _Way) -> _Way:
    """Take the guest back and bring it to the present; where libvirt cannot, the way to go instead."""
    work = Work(context, guest.name)
    vm = context.hypervisor.vm(guest.name)
    forget_connection(work.ssh, vm)  # it leads to a guest that is no more
    try:
        context.hypervisor.go_back(guest.name, snapshot=way.snapshot)
    except (TaskFailed, PortTaken) as failure:
        clean_snapshot.forget(context, guest.name)
        if context.hypervisor.vm(guest.name).state is not VmState.RUNNING:
            start(work)
        return _Way(Cleanliness.SCRUB, instead=failure.message)
    point("vm.clean.reverted")
    deadline_s = context.site.policies.ssh_deadline_s
    wait_until_ready(work.ssh, vm, clock=context.clock, deadline_s=deadline_s)
    _refresh(context, guest)
    return way


def _refresh(context: Context, guest: Guest) -> None:
    moment = context.clock.now().timestamp()
    given = f"{moment} {secrets.token_hex(_SEED_BYTES)}".encode()
    done = guest.run(f"exec python3 -IS -c '{_REFRESH}'", stdin=given)
    if done.status != 0:
        reason = (done.stderr.strip().splitlines() or [f"status {done.status}"])[-1]
        raise TaskFailed(
            f"Cannot set the clock of VM '{guest.name}' after it was taken back: {reason}",
            hint=f"vmm vm rebuild {guest.name}",
            details={"host": guest.name, "task": "clean", "reason": reason},
        )


def _scrub(context: Context, guest: Guest) -> None:
    user_volume.let_go(context, guest)  # where it could not before, and the VM could not go back
    for name, there in ua.read_status(guest).uas.items():
        if there.running:
            ua.stop(guest, ua=name)
    user_image.clean(guest)


def _rebuild(context: Context, guest: Guest) -> None:
    work = Work(context, guest.name)
    vm = context.hypervisor.vm(guest.name)
    forget_connection(work.ssh, vm)
    clean_snapshot.forget(context, guest.name)
    context.hypervisor.destroy(guest.name)
    point("vm.clean.destroyed")
    renew_overlay(work.files.disk)
    point("vm.clean.renewed")
    start(work)
    point("vm.clean.started")
    deployment.renewed(context, guest)
