"""The seed disk, read back as the guest reads it."""

from __future__ import annotations

import stat
import tarfile
from pathlib import Path

import pytest

from vmm_automation.adapters.seed import GuestIdentity, new_host_key, write_seed
from vmm_automation.errors import PreflightFailed

_IDENTITY = GuestIdentity(
    hostname="vm-1",
    machine_id="0123456789abcdef0123456789abcdef",
    host_key_private="private\n",
    host_key_public="ssh-ed25519 AAAA\n",
    authorized_keys=("ssh-ed25519 BBBB one\n", "ssh-ed25519 CCCC two"),
)


def test_a_seed_read_back_has_the_identity_and_its_modes(tmp_path: Path) -> None:
    """Every file has its content, its mode, and belongs to root, whoever wrote the seed."""
    path = tmp_path / "seed.raw"
    write_seed(path, identity=_IDENTITY)
    with tarfile.open(path) as archive:
        members = {member.name: member for member in archive.getmembers()}
        texts = {name: archive.extractfile(name) for name, member in members.items() if member.isfile()}
        read = {name: file.read().decode() for name, file in texts.items() if file is not None}
    assert {(member.uid, member.gid) for member in members.values()} == {(0, 0)}
    assert {name: member.mode for name, member in members.items()} == {
        "etc/hostname": 0o644,
        "etc/hosts": 0o644,
        "etc/machine-id": 0o444,
        "etc/vmm": 0o755,
        "etc/vmm/network": 0o644,
        "etc/ssh/ssh_host_ed25519_key": 0o600,
        "etc/ssh/ssh_host_ed25519_key.pub": 0o644,
        "root/.ssh": 0o700,
        "root/.ssh/authorized_keys": 0o600,
    }
    assert read["etc/hostname"] == "vm-1\n"
    assert "127.0.1.1 vm-1\n" in read["etc/hosts"]
    assert read["etc/machine-id"] == "0123456789abcdef0123456789abcdef\n"
    assert read["etc/ssh/ssh_host_ed25519_key"] == "private\n"
    assert read["root/.ssh/authorized_keys"] == "ssh-ed25519 BBBB one\nssh-ed25519 CCCC two\n"


def test_a_seed_is_private_aligned_and_the_same_twice(tmp_path: Path) -> None:
    """It holds a private key (0600), is a disk of whole 64 KiB, and nothing of its writer or the time
    gets in.
    """
    first, second = tmp_path / "a.raw", tmp_path / "b.raw"
    write_seed(first, identity=_IDENTITY)
    write_seed(second, identity=_IDENTITY)
    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    assert first.stat().st_size % (64 * 1024) == 0
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.raw", "b.raw"]


def test_a_seed_in_an_absent_directory_is_a_preflight_failure(tmp_path: Path) -> None:
    """The operating system's refusal reaches the person as one of our errors, naming the path."""
    with pytest.raises(PreflightFailed, match=r"absent/seed\.raw"):
        write_seed(tmp_path / "absent" / "seed.raw", identity=_IDENTITY)


def test_new_host_keys_are_ed25519_and_differ() -> None:
    """A host key is made for one guest only."""
    (private, public), (other, _) = new_host_key(), new_host_key()
    assert private.startswith("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    assert public.startswith("ssh-ed25519 ")
    assert private != other
