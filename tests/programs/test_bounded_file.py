"""A file that another machine sends is bounded while it comes, whoever writes it here."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleError

from vmm_automation.adapters.process import run
from vmm_automation.ansible.action_base import AnsibleGuest
from vmm_automation.errors import ArtifactInvalid, GuestUnreachable

_LIMIT = 1_000_000


def by_program(size: int, into: str) -> None:
    """As sftp and scp do for Ansible."""
    done = run(
        ["dd", "if=/dev/zero", f"of={into}", "bs=64k", f"count={size}", "iflag=count_bytes"], check=False
    )
    if done.status != 0:
        raise AnsibleError(f"failed to transfer file: {done.error_tail}")


def in_process(size: int, into: str) -> None:
    """As Ansible itself does where there is neither."""
    with Path(into).open("wb+") as file:
        file.write(bytes(size))


def guest(write: Callable[[int, str], None], *, size: int) -> AnsibleGuest:
    def fetch_file(_remote: str, local: str) -> None:
        try:
            write(size, local)
        finally:
            assert Path(local).stat().st_size <= _LIMIT + 1, "it was written first and judged then"

    connection = SimpleNamespace(fetch_file=fetch_file)
    action: Any = SimpleNamespace(_connection=connection)
    return AnsibleGuest(action, name="vm-1")


@pytest.mark.parametrize("write", [by_program, in_process])
def test_guest_that_sends_without_end_is_refused_at_the_limit(
    tmp_path: Path, write: Callable[[int, str], None]
) -> None:
    """The message has the limit, nothing is left, and larger files can be written again."""
    local = tmp_path / "user.tar"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(
        ArtifactInvalid, match=r"of VM 'vm-1' is refused: more than 1,000,000 bytes"
    ) as refused:
        guest(write, size=50 * _LIMIT).fetch("/root/x.tar", local, limit=_LIMIT)
    assert refused.value.details["limit"] == _LIMIT
    assert list(tmp_path.iterdir()) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE) == before


@pytest.mark.parametrize("write", [by_program, in_process])
def test_file_of_just_the_limit_is_taken(tmp_path: Path, write: Callable[[int, str], None]) -> None:
    """And one byte more is not."""
    local = tmp_path / "user.tar"
    guest(write, size=_LIMIT).fetch("/root/x.tar", local, limit=_LIMIT)
    assert local.stat().st_size == _LIMIT
    with pytest.raises(ArtifactInvalid):
        guest(write, size=_LIMIT + 1).fetch("/root/x.tar", local, limit=_LIMIT)


def test_transfer_that_fails_otherwise_says_how(tmp_path: Path) -> None:
    """A broken connection is no large file."""

    def broken(_size: int, into: str) -> None:
        shutil.copyfile("/etc/hostname", into)
        raise AnsibleError("connection lost")

    with pytest.raises(GuestUnreachable, match="connection lost"):
        guest(broken, size=0).fetch("/root/x.tar", tmp_path / "user.tar", limit=_LIMIT)
