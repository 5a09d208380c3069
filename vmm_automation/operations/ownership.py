"""Which process works on a session, so that the next run can tell work under way from work cut off."""

from __future__ import annotations

import os
import socket
from datetime import datetime, timedelta
from pathlib import Path

from vmm_automation.model.times import to_text

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_DEAD = frozenset("ZX")
#: places in /proc/<pid>/stat behind the program's name; see proc(5)
_STATE, _START_TICKS = 0, 19


def owner_token(pid: int) -> str:
    """``host:boot:pid:start``: a pid alone may be used again.

    The start counts from the boot, in ticks: as a time of day it would move whenever the clock is set.

    Raises:
        ProcessLookupError: there is no such process, or it is dead and only not collected yet.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError as gone:
        raise ProcessLookupError(f"no process {pid}") from gone
    facts = stat.rpartition(")")[2].split()
    if facts[_STATE] in _DEAD:
        raise ProcessLookupError(f"process {pid} is dead")
    return f"{socket.gethostname()}:{_boot_id()}:{pid}:{facts[_START_TICKS]}"


def run_token() -> str:
    """The token of the run that this process belongs to: Ansible's main process forks one for each task."""
    return owner_token(os.getppid())


def is_cut_off(token: str) -> bool:
    """Whether the process of a token is known to be gone; one on another controller is not known to be."""
    parts = token.split(":")
    if not _is_ours(parts):
        return False
    if parts[1] != _boot_id():
        return True
    try:
        return owner_token(int(parts[2])) != token
    except (ProcessLookupError, ValueError):
        return True


def is_given_up(token: str, *, since: str, now: datetime, deadline_s: int) -> bool:
    """Whether work begun at ``since`` is cut off: its process is gone, or is not ours to see and late.

    Never while a process of this host is alive, however long it takes. A clock that went back makes it wait
    for longer, a deadline too short for another controller makes that one's next step fail: each step asks
    for the state it expects.
    """
    if _is_ours(token.split(":")):
        return is_cut_off(token)
    return since <= to_text(now - timedelta(seconds=deadline_s))


def _is_ours(parts: list[str]) -> bool:
    return len(parts) == 4 and parts[0] == socket.gethostname()


def _boot_id() -> str:
    return _BOOT_ID.read_text().strip()
