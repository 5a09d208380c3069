"""Trace points: every name is at one place in the code, and stops a process there and nowhere else."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from vmm_automation.trace import POINTS

PACKAGE = Path(__file__).parents[2] / "vmm_automation"
_GO = (
    "from vmm_automation.trace import point; point('reconcile.acted'); point('reconcile.noted'); print('end')"
)


def used() -> Counter[str]:
    """The names that the code calls point() with; anything but one plain text is an error."""
    names: Counter[str] = Counter()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"point", "trace.point"}:
                (argument,) = node.args
                assert isinstance(argument, ast.Constant), f"{path}:{node.lineno}"
                names[str(argument.value)] += 1
    return names


def go(**environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _GO],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent), **environment},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_each_point_is_passed_at_one_place_and_described() -> None:
    """No name without a place, no place without a name, no name at two places."""
    assert used() == dict.fromkeys(POINTS, 1)
    assert all(text and not text.endswith(".") for text in POINTS.values())


def test_process_is_killed_at_the_named_point_only() -> None:
    """SIGKILL, as by a power cut; another name, or none, does nothing."""
    killed = go(VMM_TRACE_KILL="reconcile.noted")
    assert (killed.communicate()[0], killed.returncode) == ("", -signal.SIGKILL)
    for name in ("image.capture.stored", ""):
        assert go(VMM_TRACE_KILL=name).communicate()[0] == "end\n"


def test_process_waits_at_the_named_point_until_it_may_go_on(tmp_path: Path) -> None:
    """The file says that it is there; removing the file lets it go."""
    flag = tmp_path / "flag"
    held = go(VMM_TRACE_PAUSE=f"reconcile.acted:{flag}")
    while not flag.exists():
        assert held.poll() is None
        time.sleep(0.01)
    flag.unlink()
    assert held.communicate()[0] == "end\n"
