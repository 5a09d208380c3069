"""How long ``vmm`` takes to start: ``vmm --help`` and ``vmm session list`` against ``python -c pass``, and
``vmm watcher lock acquire`` against ``python -c 'import sqlite3'``.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks.figures import Report, interleaved, options_of, seconds_of
from tests.benchmarks.own_site import PYTHON, VMM, own_site
from vmm_automation.model.session import SessionState
from vmm_automation.state import sessions, vms
from vmm_automation.state.sqlite import SqliteStore

_SESSIONS = 1000
_LIVE = 10
_FLOOR = "python -c pass"
_LOCK_FLOOR = "python -c 'import sqlite3'"


def main() -> None:
    """Measure and report."""
    options = options_of("cli_start", runs=25, description=__doc__ or "").parse_args()
    report = Report("cli_start")
    with own_site() as site:
        fill(site.home / "state.db")
        kinds = {
            _FLOOR: _timed(PYTHON, "-c", "pass"),
            "python -c 'import click, sqlite3'": _timed(PYTHON, "-c", "import click, sqlite3"),
            "vmm --help": _timed(VMM, "--help"),
            "vmm session list": _timed(VMM, "session", "list"),
            "vmm session list --output json": _timed(VMM, "session", "list", "--output", "json"),
            "vmm session list --all": _timed(VMM, "session", "list", "--all"),
        }
        for measure in kinds.values():
            measure(0)  # byte-code and page cache
        report.add("start", interleaved(options.runs, kinds), floor=_FLOOR)
        site.vmm("watcher", "assign", f"s-{_SESSIONS - 1}", "bo", "--privilege", "suspend", "--for", "1h")
        acquire = (VMM, "watcher", "lock", "acquire", f"s-{_SESSIONS - 1}", "bo")
        kinds = {
            _LOCK_FLOOR: _timed(PYTHON, "-c", "import sqlite3"),
            "python -c 'import click, sqlite3'": _timed(PYTHON, "-c", "import click, sqlite3"),
            "vmm watcher lock acquire": _timed(*acquire),
        }
        report.add("lock", interleaved(options.runs, kinds), floor=_LOCK_FLOOR)
    report.write(options.json)


def fill(path: Path) -> None:
    """A state file with 1,000 sessions, the last ten of them live."""
    now = datetime.now(UTC)
    with SqliteStore.open(path) as store, store.transaction() as tx:
        for number in range(_SESSIONS):
            vm = f"vm-{number % _LIVE}"
            vms.mark_clean(tx, vm=vm, now=now)
            session = sessions.claim(
                tx,
                session_id=f"s-{number}",
                user=f"user-{number % 100}",
                ua="radicale",
                version="3.5.4",
                vm=vm,
                terminal="desktop",
                explanation={"ranked": [{"vm": vm, "score": 100, "sentence": "it has the UA"}] * 4},
                owner="",
                now=now,
            )
            if number < _SESSIONS - _LIVE:
                ended = SessionState.FAILED
                starting = frozenset({SessionState.STARTING})
                sessions.move_to(tx, session_id=session.id, state=ended, expected=starting, now=now)


def _timed(*argv: str) -> Callable[[int], float]:
    def measure(_number: int) -> float:
        return seconds_of(lambda: subprocess.run(argv, check=True, stdout=subprocess.DEVNULL))

    return measure


if __name__ == "__main__":
    main()
