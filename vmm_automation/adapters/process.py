"""Every external program is run from here, so that a missing tool or a failure reads the same everywhere."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vmm_automation.errors import DiskFull, TaskFailed, Timeout, ToolMissing

#: program -> Debian package that carries it, for the hint
_PACKAGES = {
    "qemu-img": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "newuidmap": "uidmap",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "tar": "tar",
    "apt-get": "apt",
}
_TAIL_CHARACTERS = 2000


@dataclass(frozen=True)
class Completed:
    """What a finished program left: exit status and its two streams as bytes."""

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output as text, undecodable bytes replaced."""
        return self.stdout.decode(errors="replace")

    @property
    def error_tail(self) -> str:
        """The last 2,000 characters of standard error (of standard output where that is empty)."""
        stream = self.stderr.strip() or self.stdout.strip()
        return stream.decode(errors="replace")[-_TAIL_CHARACTERS:]


def run(
    argv: Sequence[str | Path],
    *,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
    check: bool = True,
) -> Completed:
    """Run a program to its end and return what it left.

    ``env`` is added to the present environment; ``timeout`` is in seconds.

    Raises:
        ToolMissing: the program is not on PATH.
        Timeout: it ran longer than ``timeout``; it was killed.
        DiskFull: it failed and said that no space is left.
        TaskFailed: ``check`` is true and it exited non-zero.
    """
    words = tuple(str(word) for word in argv)
    try:
        done = subprocess.run(  # noqa: S603 - the one place that starts programs, never through a shell
            words,
            input=stdin,
            capture_output=True,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as missing:
        raise tool_missing(words[0]) from missing
    except subprocess.TimeoutExpired as late:
        raise Timeout(f"Program '{words[0]}' did not end within {timeout:g} s") from late
    completed = Completed(words, done.returncode, done.stdout, done.stderr)
    if check and completed.status != 0:
        raise failure(completed)
    return completed


def failure(completed: Completed) -> DiskFull | TaskFailed:
    """The error that tells how a program failed."""
    program = Path(completed.argv[0]).name
    if os.strerror(errno.ENOSPC) in completed.stderr.decode(errors="replace"):
        return DiskFull(
            f"Program '{program}' failed: no space left on device",
            hint="df -h",
            details={"argv": list(completed.argv), "stderr": completed.error_tail},
        )
    return TaskFailed(
        f"Program '{program}' failed with status {completed.status}: {last_line(completed.error_tail)}",
        details={"argv": list(completed.argv), "stderr": completed.error_tail},
    )


def tool_missing(program: str) -> ToolMissing:
    """The error for a program that is not on PATH, naming the Debian package to install."""
    package = _PACKAGES.get(program, program)
    return ToolMissing(
        f"Program '{program}' is not installed on the controller",
        hint=f"apt-get install {package}",
        details={"program": program, "package": package},
    )


def last_line(text: str) -> str:
    """The last line that is not blank, or a word for nothing."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it printed nothing"
