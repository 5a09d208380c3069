"""Programs and other processes of tests, forked by a server that has everything imported and nothing open.

Each is a process like any other, to be killed like any other. It is only spared an interpreter's start and
its imports, which take longer than most of what it does. What starts are tested for starts an interpreter.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

#: a task's own module, too: a forked child would import what is lacking, each anew
_IMPORTED = (
    "tests.contention.test_claims",
    "tests.contention.test_queue",
    "tests.contention.test_right_history",
    "tests.contention.test_second_sessions",
    "tests.contention.test_suspend_right",
    "tests.crash.acts",
    "tests.crash.image_acts",
    "tests.crash.pool_acts",
    "tests.imported",
)
_DEADLINE_S = 120

#: gets its words; ends by its return or with SystemExit, like a program's ``main``
Program = Callable[[list[str]], object]

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(list(_IMPORTED))


def run_forked(
    program: Program, *words: str, environment: Mapping[str, str], cwd: Path, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end, as ``subprocess.run`` does. Its parent is a process that ends with it."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        (place / "stdin").write_bytes(stdin)
        parent = FORKED.Process(target=_fork, args=(program, list(words), dict(environment), cwd, place))
        parent.start()
        parent.join(_DEADLINE_S)
        if parent.exitcode is None:
            assert parent.pid
            os.killpg(parent.pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(words, _DEADLINE_S)
        stdout, stderr = ((place / name).read_bytes() for name in ("stdout", "stderr"))
    return subprocess.CompletedProcess(words, parent.exitcode, stdout, stderr)


def _fork(program: Program, words: list[str], environment: dict[str, str], cwd: Path, place: Path) -> None:
    os.setsid()  # all that it starts can be ended with it
    child = os.fork()
    if not child:
        _become(words, environment, cwd, place)
        status = _status(program, words)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os._exit(status if status >= 0 else 128 - status)  # as a shell tells of a signal


def _become(words: list[str], environment: dict[str, str], cwd: Path, place: Path) -> None:
    sys.argv = words
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.dup2(os.open(place / "stdin", os.O_RDONLY), 0)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(place / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    # as an interpreter opens them in the locale C.UTF-8
    encoding, _, errors = environment.get("PYTHONIOENCODING", "utf-8:surrogateescape").partition(":")
    sys.stdin = os.fdopen(0, encoding=encoding, errors=errors, closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding=encoding, errors=errors, closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding=encoding, errors="backslashreplace", closefd=False)


def _status(program: Program, words: list[str]) -> int:
    try:
        program(words)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - as an interpreter ends: the test sees the status and the trace
        traceback.print_exc()
        return 1
    return 0
