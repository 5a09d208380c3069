"""What a process does that may be killed on the way: the same start for all tests of that kind."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parents[2]


def run_apart(module: str, *words: str, kill_at: str = "") -> subprocess.CompletedProcess[str]:
    """Run a module of the tests in a process of its own, whose parent ends with it.

    ``kill_at`` is the trace point at which it kills itself, as by ``kill -9``; none if it is empty.
    """
    argv = [sys.executable, "-m", module, *words]
    return subprocess.run(
        ["sh", "-c", f"{shlex.join(argv)}; exit $?"],
        cwd=TOP,
        env={**os.environ, "VMM_TRACE_KILL": kill_at},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
