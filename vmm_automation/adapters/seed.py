"""The seed: a small raw disk that gives a guest its identity at every boot.

Layout on disk: a plain uncompressed tar archive (the initrd's busybox reads it without any file system),
padded with zero bytes to a multiple of 64 KiB. The guest finds it by the virtio serial ``vmm-seed`` and
extracts it over its new root, so an overlay that was thrown away gets the same identity back, and host
keys are known before first contact.

The file holds a private host key: it is written with mode 0600 and renamed into place; a reader never
sees half of it. Two writers of the same path must be serialised by the caller.
"""

from __future__ import annotations

import errno
import io
import os
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from vmm_automation.adapters.process import run
from vmm_automation.errors import DiskFull, PreflightFailed

#: the virtio serial by which the initrd finds the seed
SEED_SERIAL = "vmm-seed"
_ALIGNMENT = 64 * 1024


@dataclass(frozen=True)
class GuestIdentity:
    """What makes one guest different from the other guests of its base image.

    ``machine_id`` is 32 hexadecimal digits; keys are whole file contents in OpenSSH's format;
    ``authorized_keys`` are the lines that may log in as root; ``address`` (CIDR notation, or ``none``)
    and ``gateway`` (may be empty) are those of the first network card and fit QEMU's user-mode network
    unless changed.
    """

    hostname: str
    machine_id: str
    host_key_private: str
    host_key_public: str
    authorized_keys: tuple[str, ...]
    address: str = "10.0.2.15/24"
    gateway: str = "10.0.2.2"


def write_seed(path: Path, *, identity: GuestIdentity) -> None:
    """Write the seed of ``identity`` to ``path``, replacing an older one in one step.

    Raises:
        DiskFull: no space is left beside ``path``.
        PreflightFailed: the file cannot be written for another reason.
    """
    try:
        _replace(path, seed_archive(identity))
    except OSError as refused:
        if refused.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"Cannot write seed '{path}': no space left on device", hint=f"df -h {path.parent}"
            ) from refused
        raise PreflightFailed(
            f"Cannot write seed '{path}': {refused.strerror}", hint=f"ls -ld {path.parent}"
        ) from refused


def seed_archive(identity: GuestIdentity) -> bytes:
    """The bytes of the seed disk; the same identity gives the same bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, mode, text in _files(identity):
            member = tarfile.TarInfo(name)
            member.mode = mode
            if name.endswith("/"):
                member.type = tarfile.DIRTYPE
                archive.addfile(member)
                continue
            content = text.encode()
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    content = buffer.getvalue()
    return content + b"\0" * (-len(content) % _ALIGNMENT)


def new_host_key() -> tuple[str, str]:
    """A new ed25519 host key: (private file content, public line), without a passphrase.

    Made by ssh-keygen: it ends in a few milliseconds, where importing the cryptography library alone
    costs tens of them.

    Raises:
        ToolMissing: ssh-keygen is not installed.
        TaskFailed: ssh-keygen failed.
    """
    with tempfile.TemporaryDirectory(prefix="vmm-host-key-") as directory:
        key = Path(directory) / "key"
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key], timeout=60)
        return key.read_text(), key.with_suffix(".pub").read_text().strip() + "\n"


def _files(identity: GuestIdentity) -> list[tuple[str, int, str]]:
    hosts = f"127.0.0.1 localhost\n127.0.1.1 {identity.hostname}\n::1 localhost ip6-localhost ip6-loopback\n"
    return [
        ("etc/hostname", 0o644, f"{identity.hostname}\n"),
        ("etc/hosts", 0o644, hosts),
        ("etc/machine-id", 0o444, f"{identity.machine_id}\n"),
        ("etc/vmm/", 0o755, ""),
        ("etc/vmm/network", 0o644, f"address={identity.address}\ngateway={identity.gateway}\n"),
        ("etc/ssh/ssh_host_ed25519_key", 0o600, identity.host_key_private),
        ("etc/ssh/ssh_host_ed25519_key.pub", 0o644, identity.host_key_public),
        ("root/.ssh/", 0o700, ""),
        ("root/.ssh/authorized_keys", 0o600, "".join(f"{key.strip()}\n" for key in identity.authorized_keys)),
    ]


def _replace(path: Path, content: bytes) -> None:
    # NamedTemporaryFile creates with mode 0600.
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        temporary = Path(file.name)
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
