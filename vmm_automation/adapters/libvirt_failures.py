"""libvirt's exceptions as ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import libvirt

from vmm_automation.adapters.libvirt_words import port_taken, unreachable
from vmm_automation.errors import Conflict, HypervisorUnreachable, PortTaken, TaskFailed

_LOST_CONNECTION = {
    libvirt.VIR_ERR_NO_CONNECT,
    libvirt.VIR_ERR_INVALID_CONN,
    libvirt.VIR_ERR_RPC,
    libvirt.VIR_ERR_AUTH_FAILED,
}


@contextmanager
def translated(uri: str, action: str) -> Iterator[None]:
    """What libvirt at ``uri`` raises while it is made to do ``action``.

    Raises:
        HypervisorUnreachable: it does not answer.
        PortTaken, Conflict, TaskFailed: it answers, and does not do it.
    """
    try:
        yield
    except libvirt.libvirtError as error:
        raise failure_of(error, uri, action) from error


def failure_of(
    error: libvirt.libvirtError, uri: str, action: str
) -> HypervisorUnreachable | PortTaken | TaskFailed | Conflict:
    """An exception of libvirt as one of ours; to be raised by the caller."""
    reason = str(error).strip()
    code = error.get_error_code()
    if "Could not set up host forwarding rule" in reason:
        return port_taken(0, reason)
    lost = code in _LOST_CONNECTION or error.get_error_domain() == libvirt.VIR_FROM_RPC
    if lost or "client socket is closed" in reason:
        return unreachable(uri, action=action, reason=reason)
    if code in {libvirt.VIR_ERR_OPERATION_FAILED, libvirt.VIR_ERR_DOM_EXIST} and "exists" in reason:
        return Conflict(f"libvirt could not {action}: {reason}", hint="vmm vm list")
    return TaskFailed(f"libvirt could not {action}: {reason}", details={"uri": uri, "code": code})
