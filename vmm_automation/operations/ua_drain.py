"""A VM for oneself: its session waited for, and no other let in meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from vmm_automation.operations import vm_lock
from vmm_automation.operations.context import Context
from vmm_automation.state import holds, sessions

#: how often a session that is awaited is asked after, in seconds
POLL_S = 2.0


def hold(context: Context, vm: str, *, reason: str, drain_s: int) -> None:
    """Who waits for a VM's session to end is the next one there, unless it takes too long."""
    longest = timedelta(seconds=drain_s + context.site.policies.claim_deadline_s)
    with context.store.transaction() as tx:
        holds.hold(tx, vm=vm, reason=reason, until=context.clock.now() + longest)


@contextmanager
def alone(context: Context, vm: str, *, ua_id: str, reason: str, drain_s: int) -> Iterator[None]:
    """Have the VM for the block, as by :func:`vm_lock.held`; with ``drain_s``, after its session of the UA.

    That is waited for so many seconds, and the block begins whether it has ended or not.
    """
    if drain_s:
        hold(context, vm, reason=reason, drain_s=drain_s)
        _await_end(context, vm, ua_id=ua_id, drain_s=drain_s)
    try:
        # not before: to end, a session needs the VM for itself
        with vm_lock.held(context, vm):
            yield
    finally:
        if drain_s:
            with context.store.transaction() as tx:
                holds.release(tx, vm=vm, reason=reason)


def _await_end(context: Context, vm: str, *, ua_id: str, drain_s: int) -> None:
    latest = context.clock.now() + timedelta(seconds=drain_s)
    while context.clock.now() < latest:
        with context.store.reading() as tx:
            live = sessions.live_on_vm(tx, vm=vm)
        if live is None or live.ua != ua_id:
            return
        context.clock.sleep(POLL_S)
