"""The files of a VM on the hypervisor: a directory with overlay, seed and console log.

Layout: ``vms/<site>/<vm>/{disk.qcow2,seed.raw,console.log}``; ``vms/<site>/<vm>.lock`` serialises work on
one VM. Directories can be passed through by everybody, because a system-wide libvirt runs QEMU as its own
user, whom it makes the owner of a guest's files for as long as the guest runs.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vmm_automation.adapters.process import run
from vmm_automation.errors import DiskFull, PreflightFailed
from vmm_automation.places import make_directory

_PORTS = range(20000, 32768)  # below Linux's default range for outgoing connections, 32768 to 60999
_CONSOLE_TAIL_BYTES = 4096
_DIRECTORY_MODE = 0o711
_DISK_MODE = 0o600


@dataclass(frozen=True)
class VmFiles:
    """The files of one VM."""

    directory: Path

    @property
    def disk(self) -> Path:
        """The overlay, qcow2."""
        return self.directory / "disk.qcow2"

    @property
    def seed(self) -> Path:
        """The guest's identity, raw."""
        return self.directory / "seed.raw"

    @property
    def console(self) -> Path:
        """What the guest wrote to its serial port since it was started."""
        return self.directory / "console.log"

    @property
    def lock(self) -> Path:
        """Serialises work on this VM; never unlinked."""
        return self.directory.with_name(f"{self.directory.name}.lock")

    def create(self) -> None:
        """Make the directory, empty: what an interrupted run left is removed."""
        self.remove()
        make_directory(self.directory)
        for parent in self.directory.parents[:2]:
            parent.chmod(_DIRECTORY_MODE)

    def restrict(self) -> None:
        """Take from others what older versions let them read; no change where libvirt owns it."""
        for path, mode in ((self.directory, _DIRECTORY_MODE), (self.disk, _DISK_MODE)):
            with suppress(FileNotFoundError, PermissionError):
                path.chmod(mode)

    def remove(self) -> None:
        """Remove the directory and all in it; no change if it is absent."""
        if self.directory.exists():
            shutil.rmtree(self.directory)

    def console_tail(self, *, lines: int = 5) -> list[str]:
        """The last lines of the console log, for errors; empty if there is none or it cannot be read."""
        try:
            text = self.console.read_bytes()[-_CONSOLE_TAIL_BYTES:].decode(errors="replace")
        except OSError:
            return []
        return [line.strip() for line in text.splitlines() if line.strip()][-lines:]

    def console_length(self) -> int:
        """Bytes that the guest has written to its console since it was started; 0 without a log of it."""
        try:
            return self.console.stat().st_size
        except OSError:
            return 0


def create_overlay(path: Path, *, base: Path) -> None:
    """Make a linked clone: a qcow2 overlay over a read-only base image (about 0.03 s).

    It is its owner's alone from the start on: it will hold the guest's memory, too.

    Raises:
        DiskFull, TaskFailed, ToolMissing: qemu-img failed or is absent.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _DISK_MODE)
    os.fchmod(descriptor, _DISK_MODE)  # the umask may have taken of it
    os.close(descriptor)
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, path])


def renew_overlay(path: Path) -> None:
    """Put an empty overlay over the same base image in an overlay's place, at once; no guest may run on it.

    Raises:
        DiskFull, TaskFailed, ToolMissing: qemu-img failed or is absent; the overlay is as it was.
    """
    told = run(["qemu-img", "info", "--output=json", path])
    fresh = path.with_name(f".{path.name}.fresh")
    fresh.unlink(missing_ok=True)
    create_overlay(fresh, base=Path(json.loads(told.stdout)["full-backing-filename"]))
    fresh.replace(path)


def free_port(*, taken: frozenset[int] = frozenset()) -> int:
    """A TCP port of 127.0.0.1 that nobody listens on and no VM of the site has.

    Raises:
        PreflightFailed: all are taken.
    """
    for port in random.sample(_PORTS, len(_PORTS)):
        if port not in taken and port_is_free(port):
            return port
    raise PreflightFailed("No port of 127.0.0.1 from 20000 to 32767 is free", hint="ss -ltn")


def port_is_free(port: int) -> bool:
    """Whether 127.0.0.1:port can be bound now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def require_space(directory: Path, *, needed_mib: int) -> None:
    """Refuse to start what cannot end for want of disk space.

    Raises:
        DiskFull: less than ``needed_mib`` is free.
    """
    make_directory(directory)
    free_mib = shutil.disk_usage(directory).free // 2**20
    if free_mib < needed_mib:
        raise DiskFull(
            f"Directory '{directory}' has {free_mib} MiB free and {needed_mib} MiB are needed",
            hint=f"df -h {directory}",
            details={"directory": str(directory), "free_mib": free_mib, "needed_mib": needed_mib},
        )
