"""Files encrypted by the program ``age`` for recipients, and read by the identity of one of them."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from vmm_automation.adapters.process import Completed, last_line, run
from vmm_automation.errors import ArtifactInvalid, DiskFull, UsageError

_HEADER: Final = b"age-encryption.org/"


def is_encrypted(path: Path) -> bool:
    """Whether a file says that it is one of age's."""
    with path.open("rb") as file:
        return file.read(len(_HEADER)) == _HEADER


def encrypt(plain: Path, *, recipients: Path, into: Path) -> None:
    """Encrypt a file for all recipients that a file lists, one a line.

    Raises:
        UsageError: there is no such list, or age cannot read it.
        ToolMissing, DiskFull: age is not installed, or there is no space.
    """
    done = run(["age", "-e", "-R", recipients, "-o", into, plain], check=False)
    if done.status != 0:
        raise _no_space(done) or UsageError(
            f"Cannot encrypt for the recipients in '{recipients}': {last_line(done.error_tail)}",
            hint="age-keygen -y IDENTITY > RECIPIENTS",
            details={"recipients": str(recipients)},
        )


def decrypt(source: Path, *, identity: Path | None, into: Path) -> None:
    """Decrypt a file; ``identity`` is never asked for a passphrase.

    Raises:
        UsageError: no identity is given.
        ArtifactInvalid: the identity is none of its recipients', or the file was cut or altered.
        ToolMissing, DiskFull: age is not installed, or there is no space.
    """
    if identity is None:
        raise UsageError(
            f"User image file '{source}' is encrypted, and no identity is given",
            hint=f"vmm image import {source} --identity FILE",
            details={"path": str(source)},
        )
    done = run(["age", "-d", "-i", identity, "-o", into, source], check=False)
    if done.status != 0:
        raise _no_space(done) or ArtifactInvalid(
            f"User image file '{source}' cannot be decrypted: {last_line(done.error_tail)}",
            hint=f"head -n 3 {identity}",
            details={"path": str(source), "identity": str(identity)},
        )


def _no_space(done: Completed) -> DiskFull | None:
    """Go says it in small letters."""
    if os.strerror(errno.ENOSPC).lower() not in done.error_tail.lower():
        return None
    return DiskFull("Cannot encrypt or decrypt a user image file: no space left", hint="df -h")
