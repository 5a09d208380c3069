"""Which process works on a session, so that the next run can tell work under way from work cut off."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import psutil

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def owner_token(pid: int) -> str:
    """``host:boot:pid:start``: a pid alone may be used again."""
    return f"{socket.gethostname()}:{_boot_id()}:{pid}:{psutil.Process(pid).create_time():.2f}"


def run_token() -> str:
    """The token of the run that this process belongs to: Ansible's main process forks one for each task."""
    return owner_token(os.getppid())


def is_cut_off(token: str) -> bool:
    """Whether the process of a token is known to be gone; one on another controller is not known to be."""
    parts = token.split(":")
    if len(parts) != 4 or parts[0] != socket.gethostname():
        return False
    if parts[1] != _boot_id():
        return True
    try:
        return owner_token(int(parts[2])) != token
    except (psutil.NoSuchProcess, ValueError):
        return True


def _boot_id() -> str:
    return _BOOT_ID.read_text().strip()
