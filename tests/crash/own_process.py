"""What a process does that may be killed on the way: the same start for all tests of that kind."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path

from vmm_automation import trace

from ..forked import FORKED

_DEADLINE_S = 120


def run_apart(module: str, *words: str, kill_at: str = "") -> subprocess.CompletedProcess[str]:
    """Call the ``main`` of a module in a process of its own, whose parent ends with it; it prints the answer.

    ``kill_at`` is the trace point at which it kills itself, as by ``kill -9``; none if it is empty.
    """
    environment = {**os.environ, "VMM_TRACE_KILL": kill_at}
    with tempfile.TemporaryDirectory() as place:
        printed, said = Path(place, "stdout"), Path(place, "stderr")
        parent = FORKED.Process(target=_as_parent, args=(module, words, environment, printed, said))
        parent.start()
        parent.join(_DEADLINE_S)
        if parent.exitcode is None:
            parent.kill()
            raise subprocess.TimeoutExpired([module, *words], _DEADLINE_S)
        status, told, complained = parent.exitcode, printed.read_text(), said.read_text()
    return subprocess.CompletedProcess([module, *words], status, told, complained)


def _as_parent(
    module: str, words: tuple[str, ...], environment: Mapping[str, str], printed: Path, said: Path
) -> None:
    """End as the child ends, by the status that a shell would have; it is not our own parent's child."""
    child = os.fork()
    if not child:
        os._exit(_done(module, words, environment, printed, said))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os._exit(status if status >= 0 else 128 - status)


def _done(
    module: str, words: tuple[str, ...], environment: Mapping[str, str], printed: Path, said: Path
) -> int:
    for file, descriptor in ((printed, 1), (said, 2)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    importlib.reload(trace)  # it asks the environment once
    try:
        document = json.dumps(importlib.import_module(module).main(*words), default=str)
    except Exception:  # noqa: BLE001 - the test is told, by the status and on standard error
        traceback.print_exc()
        sys.stderr.flush()
        return 1
    os.write(1, document.encode())
    return 0
