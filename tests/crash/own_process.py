"""What a process does that may be killed on the way: the same start for all tests of that kind."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

from vmm_automation import trace

from ..forked import run_forked

TOP = Path(__file__).parents[2]


def run_apart(module: str, *words: str, kill_at: str = "") -> subprocess.CompletedProcess[str]:
    """Call a module's ``main`` in a process of its own, whose parent ends with it; its answer is printed.

    ``kill_at`` is the trace point at which it kills itself, as by ``kill -9``; none if it is empty.
    """
    environment = {**os.environ, "VMM_TRACE_KILL": kill_at}
    done = run_forked(_call, module, *words, environment=environment, cwd=TOP)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def _call(words: list[str]) -> None:
    importlib.reload(trace)  # it asks the environment once
    module, *arguments = words
    sys.stdout.write(json.dumps(importlib.import_module(module).main(*arguments), default=str))
