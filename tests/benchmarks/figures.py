"""Measured times: interleaved runs, medians, ratios against a floor, one JSON document and one table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_BUILD = Path(__file__).parents[2] / "build" / "benchmarks"
_PER_CPU = 1.5  # with more that wants to run for each CPU, other work decides what is measured

Times = dict[str, list[float]]


def arguments(name: str, *, runs: int, description: str) -> argparse.Namespace:
    """The options that all benchmarks have: ``--runs`` and ``--json``."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.benchmarks.{name}", description=description)
    parser.add_argument("--runs", type=int, default=runs, help=f"runs of each kind (default {runs})")
    parser.add_argument("--json", type=Path, default=_BUILD / f"{name}.json", metavar="FILE")
    return parser.parse_args()


def interleaved(runs: int, kinds: Mapping[str, Callable[[int], float]]) -> Times:
    """Run all kinds in turn, ``runs`` times; each gets the number of the run and returns its seconds."""
    times: Times = {kind: [] for kind in kinds}
    for number in range(runs):
        for kind, measure in kinds.items():
            times[kind].append(measure(number))
    return times


def seconds_of(action: Callable[[], object]) -> float:
    """How long an action takes, in seconds."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def compared(times: Times, *, floor: str) -> list[dict[str, Any]]:
    """One row for each kind: its median, range, and the ratio of its median to the floor's."""
    base = statistics.median(times[floor])
    return [
        {
            "kind": kind,
            "median_s": round(statistics.median(values), 4),
            "min_s": round(min(values), 4),
            "max_s": round(max(values), 4),
            "runs": len(values),
            "ratio": round(statistics.median(values) / base, 2),
        }
        for kind, values in times.items()
    ]


def say(text: str) -> None:
    """Tell the person who runs the benchmark."""
    print(text, flush=True)  # noqa: T201 - a benchmark speaks to a person


class Report:
    """What one benchmark found, with the machine's load before and after it."""

    def __init__(self, name: str) -> None:
        self._document: dict[str, Any] = {"benchmark": name, "machine": _machine(), "sections": {}}
        self._before = os.getloadavg()[0]

    def add(self, section: str, times: Times, *, floor: str) -> None:
        """Add measured times and print them as a table."""
        rows = compared(times, floor=floor)
        self._document["sections"][section] = {"floor": floor, "rows": rows, "times_s": times}
        say(f"\n{section} (floor: {floor})")
        say(f"  {'':34} {'median':>9} {'min':>9} {'max':>9} {'ratio':>6}")
        for row in rows:
            values = "".join(f" {row[key] * 1000:6.0f} ms" for key in ("median_s", "min_s", "max_s"))
            say(f"  {row['kind']:34}{values} {row['ratio']:6.2f}")

    def note(self, section: str, content: Any) -> None:
        """Add something that has no floor."""
        self._document["sections"][section] = content

    def write(self, path: Path) -> None:
        """Write the document; says when other work on the machine makes it worth nothing."""
        loads = [round(self._before, 2), round(os.getloadavg()[0], 2)]
        busy = self._before > _PER_CPU * (os.cpu_count() or 1)
        self._document |= {"load_before_after": loads, "machine_was_busy": busy}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{json.dumps(self._document, indent=1)}\n")
        say(f"\nload average before and after: {loads[0]}, {loads[1]}; written to {path}")
        if busy:
            say("The machine was busy with other work: only ratios of interleaved runs mean anything.")


def _machine() -> dict[str, Any]:
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "cpu": model.group(1) if model else "unknown",
        "cpus": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "qemu": _first_line("qemu-system-x86_64", "--version"),
        "libvirt": _first_line("libvirtd", "--version"),
    }


def _first_line(*argv: str) -> str:
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "absent"
