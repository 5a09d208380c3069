"""First contact with a guest: the controller's key, known host keys, and the wait until SSH answers.

A guest's host key is made by the controller and goes in with its seed, so it is known before the first
connection and verified from then on. Host keys are looked up by the domain's name (HostKeyAlias), not by
port: a VM may change its port, and ports are used again. The connection that proves readiness stays open
as the multiplexing master which Ansible then uses: a handshake costs an emulated guest about a second.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from vmm_automation.adapters.lockfile import exclusive
from vmm_automation.adapters.process import run
from vmm_automation.errors import GuestUnreachable, Timeout, VmmError
from vmm_automation.model.vm import Vm
from vmm_automation.places import Places, make_directory
from vmm_automation.ports import Clock

_LOOPBACK = "127.0.0.1"
_BANNER = b"SSH-"
_FIRST_PATIENCE_S = 0.5
_PATIENCE_GROWTH = 1.25
_LONGEST_PATIENCE_S = 10.0
_LISTENING_PATIENCE_S = 30.0
_PAUSE_S = 0.15
_HANDSHAKE_S = 60
_PERSIST_S = 300
USER = "root"


@dataclass(frozen=True)
class SshPlaces:
    """The controller's SSH files."""

    directory: Path

    @classmethod
    def of(cls, places: Places) -> SshPlaces:
        """Those below the controller's home."""
        return cls(places.ssh)

    @property
    def key(self) -> Path:
        """The controller's private key."""
        return self.directory / "id_ed25519"

    def known_hosts(self, vm: Vm) -> Path:
        """The file with the one host key that a VM may present."""
        return self.directory / "known_hosts" / vm.domain

    def control_path(self, vm: Vm) -> Path:
        """The multiplexing socket; short, because a socket's path may have 107 bytes at most."""
        short = hashlib.sha256(f"{vm.uuid}:{vm.ssh_port}".encode()).hexdigest()[:12]
        return self.directory / "cm" / short

    def options(self, vm: Vm) -> list[str]:
        """The ``-o`` options that every connection to a VM needs, for ssh and for Ansible alike."""
        settings = {
            "HostKeyAlias": vm.domain,
            "UserKnownHostsFile": self.known_hosts(vm),
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "UpdateHostKeys": "no",
            "IdentitiesOnly": "yes",
        }
        return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]


def ensure_key(ssh: SshPlaces) -> str:
    """Make the controller's key pair if there is none; returns the public key."""
    for directory in (ssh.directory, ssh.directory / "known_hosts", ssh.directory / "cm"):
        make_directory(directory, mode=0o700)
    public = ssh.key.with_name(f"{ssh.key.name}.pub")
    with exclusive(ssh.directory / "key.lock"):
        if not (ssh.key.exists() and public.exists()):
            ssh.key.unlink(missing_ok=True)
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "vmm-automation", "-f", ssh.key])
    return public.read_text().strip()


def trust(ssh: SshPlaces, vm: Vm) -> None:
    """Write the known-hosts file of a VM from its metadata; no change if it is right already."""
    line = f"{vm.domain} {vm.host_key}\n"
    path = ssh.known_hosts(vm)
    if path.exists() and path.read_text() == line:
        return
    make_directory(path.parent, mode=0o700)
    fresh = path.with_name(f".{path.name}.{id(vm):x}")
    fresh.write_text(line)
    fresh.replace(path)


def distrust(ssh: SshPlaces, domain: str) -> None:
    """Forget the host key of a domain; no change if none is known."""
    (ssh.directory / "known_hosts" / domain).unlink(missing_ok=True)


def _wait_on() -> None:
    """Nothing can be done."""


def wait_until_ready(
    ssh: SshPlaces,
    vm: Vm,
    *,
    clock: Clock,
    deadline_s: float,
    on_silence: Callable[[], None] = _wait_on,
    first: str = "true",
) -> float:
    """Wait until a guest accepts the controller's key and presents the known host key.

    ``on_silence`` is called each time that nothing came; ``first`` is the guest's first command. Returns the
    seconds it took. Leaves a multiplexing master open for the connections that follow.

    While the guest has no network, QEMU takes a connection and repeats its first packet with growing pauses,
    so connections are made anew after a short time. Once one was refused the network is up and only sshd is
    awaited: from then on patience is long, since every connection given up costs the guest a fork.

    Raises:
        Timeout: it did not within ``deadline_s`` seconds.
        GuestUnreachable: it answered, but refused the key or presented another host key.
    """
    started = clock.now()
    trust(ssh, vm)
    patience = _FIRST_PATIENCE_S
    while True:
        waited = (clock.now() - started).total_seconds()
        if waited > deadline_s:
            raise Timeout(
                f"VM '{vm.name}' did not answer over SSH within {deadline_s:g} s",
                hint=f"vmm vm show {vm.name}",
                details={"vm": vm.name, "port": vm.ssh_port},
            )
        answer = _knock(vm.ssh_port, patience_s=patience)
        if answer is _Answer.BANNER:
            _first_connection(ssh, vm, command=first)
            return (clock.now() - started).total_seconds()
        refused = answer is _Answer.REFUSED
        if answer is _Answer.SILENCE:
            on_silence()
        patience = _LISTENING_PATIENCE_S if refused else min(patience * _PATIENCE_GROWTH, _LONGEST_PATIENCE_S)
        clock.sleep(_PAUSE_S if refused else 0)


def forget_connection(ssh: SshPlaces, vm: Vm) -> None:
    """End the multiplexing master of a VM, if there is one: its guest is going away."""
    socket_path = ssh.control_path(vm)
    if socket_path.exists():
        argv = ["ssh", "-o", f"ControlPath={socket_path}", "-O", "exit", f"{USER}@{_LOOPBACK}"]
        run(argv, check=False, timeout=10)
        socket_path.unlink(missing_ok=True)


class _Answer(Enum):
    SILENCE = "nothing came in time"
    REFUSED = "the connection was closed"
    BANNER = "sshd is there"


def _knock(port: int, *, patience_s: float) -> _Answer:
    try:
        with socket.create_connection((_LOOPBACK, port), timeout=patience_s) as connection:
            greeting = connection.recv(len(_BANNER))
    except TimeoutError:
        return _Answer.SILENCE
    except OSError:
        return _Answer.REFUSED
    return _Answer.BANNER if greeting == _BANNER else _Answer.REFUSED


def _first_connection(ssh: SshPlaces, vm: Vm, *, command: str) -> None:
    argv: list[str | Path] = [
        "ssh",
        "-p",
        str(vm.ssh_port),
        "-i",
        ssh.key,
        *ssh.options(vm),
        "-o",
        "BatchMode=yes",
    ]
    argv += ["-o", "ControlMaster=auto", "-o", f"ControlPersist={_PERSIST_S}", "-n"]
    argv += ["-o", f"ControlPath={ssh.control_path(vm)}", "-o", "LogLevel=ERROR"]
    try:
        run([*argv, f"{USER}@{_LOOPBACK}", command], timeout=_HANDSHAKE_S)
    except VmmError as refused:
        reason = str(refused.details.get("stderr") or refused)
        raise GuestUnreachable(
            f"VM '{vm.name}' answers on port {vm.ssh_port} but SSH was refused: {reason}",
            hint=f"vmm vm rebuild {vm.name}",
            details={"vm": vm.name, "port": vm.ssh_port},
        ) from refused
