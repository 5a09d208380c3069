"""Placement at scale on SQLite: requests and departures by several processes over a state with many VMs.

A placement is one transaction: selection over the seats, the claim, the VM marked dirty, the audit entry.
Each request that finds no VM is asked again of every clean VM without a session, one by one: a VM that
fits then was free though rejected.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tests.benchmarks.figures import Report, options_of, say
from vmm_automation.errors import Conflict, NoVmFits
from vmm_automation.model.session import SessionState
from vmm_automation.model.terminal import TerminalProfile
from vmm_automation.model.ua import Requirements, UaDefinition, UaVersion
from vmm_automation.model.vm import Offers, Vm, VmFacts, VmState
from vmm_automation.operations import placement
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import session_change
from vmm_automation.operations.seat_lookup import TOLD
from vmm_automation.selection.select import select_vm
from vmm_automation.site import Site
from vmm_automation.state import seats, sessions, vms
from vmm_automation.state.sqlite import SqliteStore
from vmm_automation.state.store import Tx

REGIONS = ("north", "south")
CODECS = (("h264", "vp9"), ("h264",), ("av1", "h264"))
VERSIONS = ("1", "2", "3")
STARTING = frozenset({SessionState.STARTING})
CLOSING = frozenset({SessionState.CLOSING})


@dataclass(frozen=True)
class World:
    """How large the simulation is, and where its state lies."""

    path: Path
    vms: int
    uas: int
    requests: int
    processes: int

    def ua(self, number: int) -> UaDefinition:
        """UA by number; every third needs a codec, every fifth more memory."""
        needs = Requirements(
            video_codecs=("av1", "h264") if number % 3 == 0 else (),
            memory_mib=2048 if number % 5 == 0 else 0,
            min_screen_width_px=640 if number % 7 == 0 else 0,
        )
        versions = tuple(UaVersion(each, "deb", packages=("x",)) for each in VERSIONS)
        return UaDefinition(f"ua-{number}", f"UA {number}", versions, requirements=needs)

    def facts(self, number: int) -> VmFacts:
        """VM by number, one of 12 kinds, with one UA active."""
        chosen = random.Random(number)
        vm = Vm(
            f"vm-{number:06}", "", "", VmState.RUNNING, "p", "", 2,
            chosen.choice((1024, 4096)), 1, "", (), ("http",), ready=True,
        )  # fmt: skip
        offers = Offers(video_encoders=chosen.choice(CODECS), region=chosen.choice(REGIONS))
        active = {f"ua-{chosen.randrange(self.uas)}": chosen.choice(VERSIONS)}
        return VmFacts(vm, active_uas=active, offers=offers)


def terminal(number: int) -> TerminalProfile:
    """One of 200 terminals."""
    return TerminalProfile(
        f"t-{number}",
        320 + 8 * number,
        200 + 5 * number,
        protocols=("http",),
        video_codecs=CODECS[number % 3],
    )


def fill(world: World) -> None:
    """All VMs, clean and learnt."""
    now = datetime.now(UTC)
    with SqliteStore.open(world.path) as store, store.transaction() as tx:
        for number in range(world.vms):
            facts = world.facts(number)
            vms.mark_clean(tx, vm=facts.vm.name, now=now)
            placement.learn(tx, facts)


class Client:
    """One process: the more of its share of the VMs it holds, the likelier one departs before a request."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.number = world, number
        self.random = random.Random(number)
        self.context = Context(site=Site(world.path.parent, "bench"), actor="bench")
        self.times: list[tuple[float, float]] = []
        self.held: list[tuple[str, str, int]] = []
        self.stays: list[tuple[str, int, int]] = []
        self.wrong = self.none = 0

    def run(self, requests: int) -> None:
        """Place and release."""
        share = min(int(self.world.vms * 0.9) // self.world.processes, requests // 2)
        with SqliteStore.open(self.world.path) as store:
            for turn in range(requests):
                if self.random.random() * share < len(self.held):
                    with store.transaction() as tx:
                        self._release(tx)
                began, cpu = time.perf_counter(), time.process_time()
                with store.transaction() as tx:
                    claimed = self._place(tx, f"s-{self.number}-{turn}")
                if claimed:
                    self.times.append((time.perf_counter() - began, time.process_time() - cpu))
                    self.held.append(claimed)
            self.stays += [(vm, since, time.monotonic_ns()) for _, vm, since in self.held]

    def _place(self, tx: Tx, session: str) -> tuple[str, str, int] | None:
        ua = self.world.ua(self.random.randrange(self.world.uas))
        asked = terminal(self.random.randrange(200))
        user = f"u-{self.number}-{self.random.randrange(10**9)}"
        try:
            found = placement.place(tx, user=user, ua=ua, terminal=asked)
        except NoVmFits:
            self.none += 1
            self.wrong += self._is_free_after_all(tx, ua, asked)
            return None
        now = datetime.now(UTC)
        with session_change(tx, self.context, session, action="session.claim", now=now):
            sessions.claim(
                tx, session_id=session, user=user, ua=ua.id, version=found.best.version, vm=found.best.vm,
                terminal=asked.name, explanation=found.to_document(most=TOLD), owner="", now=now,
            )  # fmt: skip
            vms.mark_dirty(tx, vm=found.best.vm, reason=session, now=now)
        return session, found.best.vm, time.monotonic_ns()

    def _release(self, tx: Tx) -> None:
        session, vm, since = self.held.pop(self.random.randrange(len(self.held)))
        self.stays.append((vm, since, time.monotonic_ns()))
        now = datetime.now(UTC)
        sessions.move_to(tx, session_id=session, state=SessionState.CLOSING, expected=STARTING, now=now)
        sessions.move_to(tx, session_id=session, state=SessionState.CLOSED, expected=CLOSING, now=now)
        vms.mark_clean(tx, vm=vm, now=now)

    def _is_free_after_all(self, tx: Tx, ua: UaDefinition, asked: TerminalProfile) -> bool:
        rows = tx.all(
            "SELECT seats.vm FROM seats JOIN vm_conditions ON vm_conditions.vm = seats.vm"
            " WHERE seats.ua = :ua AND condition = 'clean' AND NOT EXISTS (SELECT 1 FROM sessions"
            " WHERE sessions.vm = seats.vm AND state IN ('starting', 'active', 'suspended', 'closing'))",
            ua=ua.id,
        )
        free = [replace(self.world.facts(int(row["vm"][3:])), session=None) for row in rows]
        try:
            select_vm(ua=ua, terminal=asked, facts=free, version=None, wanted_vm=None, avoid=(), last_vm=None)
        except NoVmFits:
            return False
        return True


def client(world: World, number: int) -> dict[str, Any]:
    """What one process found; an unexpected Conflict is a double claim that the state refused."""
    one = Client(world, number)
    try:
        one.run(world.requests // world.processes)
    except Conflict as refused:
        return {"times": one.times, "stays": one.stays, "none": one.none, "wrong": 1, "refused": str(refused)}
    return {"times": one.times, "stays": one.stays, "none": one.none, "wrong": one.wrong, "refused": ""}


def overlaps(stays: list[tuple[str, int, int]]) -> int:
    """How often a VM was held twice at a time."""
    ordered = sorted(stays)
    return sum(one[0] == other[0] and other[1] < one[2] for one, other in pairwise(ordered))


def simulated(world: World) -> dict[str, Any]:
    """Fill, run all processes, and put their findings together."""
    began = time.perf_counter()
    fill(world)
    filled = time.perf_counter()
    with ProcessPoolExecutor(world.processes, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(client, [world] * world.processes, range(world.processes)))
    times = sorted(each for one in found for each, _ in one["times"])
    cpu = [each for one in found for _, each in one["times"]]
    with SqliteStore.open(world.path) as store, store.reading() as tx:
        groups = len(seats.groups(tx, ua="ua-0"))
    return {
        "vms": world.vms,
        "processes": world.processes,
        "placed": len(times),
        "p50_ms": round(statistics.median(times) * 1000, 2),
        "p99_ms": round(times[int(len(times) * 0.99)] * 1000, 2),
        "p50_cpu_ms": round(statistics.median(cpu) * 1000, 2),
        "none fitted": sum(one["none"] for one in found),
        "rejected though free": sum(one["wrong"] for one in found),
        "double claims": overlaps([stay for one in found for stay in one["stays"]]),
        "refused": [one["refused"] for one in found if one["refused"]],
        "groups of a UA": groups,
        "filling_s": round(filled - began, 1),
        "running_s": round(time.perf_counter() - filled, 1),
    }


def main() -> None:
    """Each size with one process, the largest with many."""
    parser = options_of("selection", runs=1, description=__doc__ or "")
    parser.add_argument("--vms", type=int, nargs="+", default=[1000, 10_000], help="sizes, smallest first")
    parser.add_argument("--uas", type=int, default=50, help="UAs (default 50)")
    parser.add_argument("--requests", type=int, default=2000, help="requests for each size (default 2000)")
    parser.add_argument("--alone", type=int, help="requests with one process (default as --requests)")
    parser.add_argument("--processes", type=int, default=16, help="for the largest size (default 16)")
    options = parser.parse_args()
    alone = options.alone or options.requests
    report = Report("selection")
    rows = []
    together = (options.vms[-1], options.processes, options.requests)
    for size, processes, requests in [*((each, 1, alone) for each in options.vms), together]:
        with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="vmm-bench-") as directory:
            path = Path(directory) / "state" / "state.db"
            path.parent.mkdir(mode=0o700)
            rows.append(simulated(World(path, size, options.uas, requests, processes)))
        say(", ".join(f"{key} {value}" for key, value in rows[-1].items()))
    growth = rows[len(options.vms) - 1]["p50_ms"] / rows[0]["p50_ms"]
    say(f"growth of p50 from {options.vms[0]} to {options.vms[-1]} VMs: {growth:.2f}")
    report.note("placement", {"rows": rows, "growth": round(growth, 2)})
    report.write(options.json)


if __name__ == "__main__":
    main()
