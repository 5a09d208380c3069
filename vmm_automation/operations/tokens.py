"""Watchers' tokens: made once, kept as a hash, given by the environment or a file and never as an argument.

Arguments of a program can be read by everybody on the machine; a file is taken only if nobody else may
read or change it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from vmm_automation.errors import UsageError

TOKEN = "VMM_WATCHER_TOKEN"  # noqa: S105 - the variable's name
TOKEN_FILE = "VMM_WATCHER_TOKEN_FILE"  # noqa: S105 - the variable's name
_OTHERS = 0o077
_LONGEST = 1024


def new_token() -> tuple[str, str]:
    """A token that nobody can guess, and the hash to keep of it."""
    import secrets

    token = secrets.token_urlsafe(32)
    return token, hash_of(token)


def hash_of(token: str) -> str:
    """What is kept of a token; it has 256 random bits, so a plain hash cannot be turned round."""
    return hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()


def is_token_of(token: str, token_hash: str) -> bool:
    """Whether a hash is this token's; takes the same time wherever they differ."""
    import hmac

    return hmac.compare_digest(hash_of(token), token_hash)


def presented(environment: Mapping[str, str], file: str = "") -> str:
    """The token that somebody gives: of the file named, else of ``VMM_WATCHER_TOKEN``, else of the file that
    ``VMM_WATCHER_TOKEN_FILE`` names; '' if there is none.

    Raises:
        UsageError: the file cannot be read, holds no token, or is open to others.
    """
    if not file and environment.get(TOKEN):
        return environment[TOKEN].strip()
    named = file or environment.get(TOKEN_FILE, "")
    return read_token(Path(named)) if named else ""


def read_token(file: Path) -> str:
    """The token in a file that only its owner may read.

    Raises:
        UsageError: as for :func:`presented`.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as opened:
            found = os.fstat(descriptor)
            content = opened.read(_LONGEST + 1) if stat.S_ISREG(found.st_mode) else b""
    except (OSError, ValueError) as failed:
        why = getattr(failed, "strerror", None) or "it is no path"
        raise _unusable(file, why, hint=f"ls -l {file}") from failed
    if stat.S_IMODE(found.st_mode) & _OTHERS:
        raise _unusable(file, "other users may read or write it", hint=f"chmod 600 {file}")
    token = content.decode("ascii", errors="replace").strip()
    if not token or len(content) > _LONGEST:
        raise _unusable(file, "it holds no token", hint=f"ls -l {file}")
    return token


def write_token(file: Path, token: str) -> None:
    """Put a token into a file of mode 0600, whole or not at all; one that is there is replaced.

    Raises:
        UsageError: it cannot be written.
    """
    import secrets

    part = file.parent / f".{file.name}.{secrets.token_hex(4)}"
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as opened:
            opened.write(f"{token}\n")
            opened.flush()
            os.fsync(descriptor)
        part.rename(file)
    except (OSError, ValueError) as failed:
        with suppress(OSError, ValueError):
            part.unlink()
        why = getattr(failed, "strerror", None) or "it is no path"
        raise UsageError(
            f"Cannot write the Watcher's token to '{file}': {why}", hint=f"ls -ld {file.parent}"
        ) from failed


@contextmanager
def in_memory(token: str) -> Iterator[Path]:
    """A file with the token that other processes of this user can read, and that is on no disk."""
    descriptor = os.memfd_create("vmm-token")
    try:
        os.fchmod(descriptor, 0o600)
        os.write(descriptor, token.encode(errors="surrogateescape"))
        yield Path(f"/proc/{os.getpid()}/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _unusable(file: Path, why: str, *, hint: str) -> UsageError:
    return UsageError(f"Cannot take the Watcher's token from '{file}': {why}", hint=hint)
