"""What a guest's script for a user image answered, and how it failed."""

from __future__ import annotations

from typing import NoReturn

from vmm_automation.errors import TaskFailed
from vmm_automation.ports import Guest, GuestResult


def succeeded(guest: Guest, result: GuestResult, *, doing: str) -> GuestResult:
    """The result, if its status is 0.

    Raises:
        TaskFailed: it is not; the reason is the last line that the script wrote.
    """
    if result.status != 0:
        lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
        fail(guest, doing=doing, reason=lines[-1] if lines else f"status {result.status}")
    return result


def fail(guest: Guest, *, doing: str, reason: str) -> NoReturn:
    """Say that ``doing`` failed on a VM, and why.

    Raises:
        TaskFailed: always.
    """
    raise TaskFailed(
        f"Cannot {doing} on VM '{guest.name}': {reason}",
        hint=f"vmm vm show {guest.name}",
        details={"host": guest.name, "task": doing, "reason": reason},
    )


def answers(result: GuestResult) -> dict[str, str]:
    """Of lines ``name value``, the values by name."""
    return dict(line.split(" ", 1) for line in result.stdout.splitlines() if " " in line)
