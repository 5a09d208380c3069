"""How many locks and grants a second the state takes, against the drivers alone; and how it grows.

Ours are the operations that every door calls, audit entry included, each on a session of the process's own;
the floor (``raw_transactions.py``) writes as many rows to a state of its own on the same engine and disk.
"""

from __future__ import annotations

import statistics
import time
from datetime import timedelta
from functools import partial
from typing import Any

from tests.benchmarks.figures import Report, Times, interleaved, options_of, say
from tests.benchmarks.filled_states import MadeStates, states
from tests.benchmarks.raw_transactions import TRANSACTIONS, raw_work
from tests.contention.racers import race
from tests.real_state import ENGINES, RealState
from vmm_automation.adapters.clock import SystemClock
from vmm_automation.operations import watcher
from vmm_automation.state import grants
from vmm_automation.state.store import Engine

_GROWN = (10, 10_000, 1_000_000)
_PROCESSES = (1, 8)
_TURNS = 400  # of all processes together
_LOOKS = 100
_HOUR = timedelta(hours=1)
_RAW = "driver alone"
_OURS = "vmm's state"


def main() -> None:
    """Measure and report."""
    parser = options_of("state_core", runs=7, description=__doc__ or "")
    parser.add_argument("--grants", type=int, nargs="*", default=list(_GROWN), help="sizes to grow to")
    parser.add_argument("--engines", nargs="*", choices=ENGINES, default=list(ENGINES))
    options = parser.parse_args()
    report = Report("state_core")
    with states(options.engines) as made:
        for engine in options.engines:
            _measure_rates(made, report, engine=engine, runs=options.runs)
            if options.grants:
                _measure_growth(made, report, engine=engine, runs=options.runs, sizes=options.grants)
    report.write(options.json)


def our_work(state: RealState, number: int, *, what: str, turns: int) -> tuple[float, float]:
    """Do that many turns as process ``number``; returns when the first began and the last ended."""
    clock, name = SystemClock(), f"ours{number}"
    mine: dict[str, Any] = {"session": f"w-{number}", "watcher": name, "actor": name}
    with state.open() as store:
        if what == "lock":
            watcher.assign(
                store, clock, **mine, privileges=["suspend"], duration=_HOUR, idempotent=True, reason=""
            )
        began = time.monotonic()
        for _ in range(turns):
            if what == "lock":
                watcher.lock_acquire(store, clock, **mine)
                watcher.lock_release(store, clock, **mine)
            elif what == "grant":
                watcher.assign(store, clock, **mine, privileges=["view"], duration=_HOUR)
                watcher.update(store, clock, **mine, add=["suspend"])
                watcher.revoke(store, clock, **mine)
            else:
                _look(store, clock)
        ended = time.monotonic()
        if what == "lock":
            watcher.revoke(store, clock, **mine)
    return began, ended


def _look(store: Engine, clock: SystemClock) -> None:
    """What ``vmm session show`` asks for: the Watchers of a session and how that came to be."""
    assert len(watcher.list_watchers(store, clock, session="s-000000")["grants"]) == 10
    with store.reading() as tx:
        assert len(grants.history(tx, session="s-000000")) == 10


def _seconds(work: Any, state: RealState, what: str, processes: int, turns: int) -> float:
    """The seconds a turn takes when all processes work at once."""
    task = partial(work, what=what, turns=turns // processes)
    spans: list[tuple[float, float]] = race(task, state, processes=processes)
    return (max(end for _, end in spans) - min(start for start, _ in spans)) / turns


def _measure_rates(made: MadeStates, report: Report, *, engine: str, runs: int) -> None:
    ours, raw = made.make(engine, grants=1000), made.make(engine, grants=1000)
    for what, transactions in TRANSACTIONS.items():
        for processes in _PROCESSES:
            kinds = {
                _RAW: lambda _, w=what, p=processes: _seconds(raw_work, raw, w, p, _TURNS),
                _OURS: lambda _, w=what, p=processes: _seconds(our_work, ours, w, p, _TURNS),
            }
            times = interleaved(runs, kinds)
            _say_rates(times, f"{engine}: {what}, {processes} processes", len(transactions), report)


def _say_rates(times: Times, section: str, each: int, report: Report) -> None:
    rates = {kind: round(each / statistics.median(seconds)) for kind, seconds in times.items()}
    ratio = round(rates[_OURS] / rates[_RAW], 2)
    report.note(section, {"transactions_per_s": rates, "ratio": ratio, "times_s": times})
    told = ", ".join(f"{kind} {rate}/s" for kind, rate in rates.items())
    say(f"{section:36} {told}, ratio {ratio}")


def _measure_growth(made: MadeStates, report: Report, *, engine: str, runs: int, sizes: list[int]) -> None:
    grown = {size: made.make(engine, grants=size) for size in sizes}
    for what, turns in (*((each, _TURNS) for each in TRANSACTIONS), ("look", _LOOKS)):
        kinds = {
            f"{size} grants": lambda _, s=state, w=what, t=turns: _seconds(our_work, s, w, 1, t)
            for size, state in grown.items()
        }
        medians = {kind: statistics.median(found) for kind, found in interleaved(runs, kinds).items()}
        base = next(iter(medians.values()))
        ratios = {kind: round(seconds / base, 2) for kind, seconds in medians.items()}
        report.note(f"{engine}: growth of {what}", {"ratios": ratios, "medians_s": medians})
        told = ", ".join(f"{kind} {1000 * medians[kind]:.2f} ms ({ratios[kind]})" for kind in kinds)
        say(f"{engine}: a turn of {what}: {told}")


if __name__ == "__main__":
    main()
