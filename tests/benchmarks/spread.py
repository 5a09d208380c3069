"""How well requests placed one by one are spread, against the best that could be done knowing all of them.

Small cases: up to a dozen VMs of one size in regions of different sizes, requests that some of the VMs fit.
Ours places each as it comes and never moves it. The optimum is an integer programme over all requests of a
case: as many placed as possible, then the smallest share held of any region. Needs the extra ``benchmarks``.
"""

from __future__ import annotations

import random
import statistics
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from tests.benchmarks.figures import Report, options_of, say
from vmm_automation.errors import NoVmFits
from vmm_automation.model.terminal import TerminalProfile
from vmm_automation.model.ua import Requirements, UaDefinition, UaVersion
from vmm_automation.model.vm import Offers, Vm, VmFacts, VmState
from vmm_automation.selection.select import select_vm

TERMINAL = TerminalProfile("t", 800, 600, protocols=("http",), video_codecs=("h264", "av1"))
REGIONS = ("east", "north", "south")
FEATURES = ("gpu", "ssd")


@dataclass(frozen=True)
class Case:
    """VMs that are free, and the UAs that are asked for, one after the other."""

    fleet: list[VmFacts]
    asked: list[UaDefinition]

    def fits(self, request: int, vm: int) -> bool:
        """By what the case was made of, not by our filters."""
        needed = self.asked[request].requirements.features
        return set(needed) <= set(self.fleet[vm].vm.features)


def made(number: int) -> Case:
    """A case by number."""
    chosen = random.Random(number)
    fleet = [_vm(chosen, each) for each in range(chosen.randint(6, 12))]
    return Case(fleet, [_ua(chosen) for _ in range(chosen.randint(3, len(fleet)))])


def _vm(chosen: random.Random, number: int) -> VmFacts:
    features = tuple(each for each in FEATURES if chosen.random() < 0.6)
    vm = Vm(
        f"vm-{number:02}", "", "", VmState.RUNNING, "p", "", 2, 1024, 1, "", features, ("http",), ready=True
    )
    offers = Offers(region=chosen.choices(REGIONS, weights=(5, 3, 2))[0])
    return VmFacts(vm, active_uas={"ua": "1"}, offers=offers)


def _ua(chosen: random.Random) -> UaDefinition:
    needs = Requirements(features=tuple(each for each in FEATURES if chosen.random() < 0.3))
    return UaDefinition("ua", "UA", (UaVersion("1", "deb", packages=("x",)),), requirements=needs)


def one_by_one(case: Case) -> dict[str, str]:
    """Region of each VM taken, as selection places the requests."""
    fleet, got = list(case.fleet), {}
    for number, ua in enumerate(case.asked):
        try:
            name = select_vm(
                ua=ua, terminal=TERMINAL, facts=fleet, version=None, wanted_vm=None, avoid=(), last_vm=None
            ).best.vm
        except NoVmFits:
            continue
        position = next(at for at, each in enumerate(fleet) if each.vm.name == name)
        assert case.fits(number, position)
        assert fleet[position].session is None
        fleet[position] = replace(fleet[position], session=f"s-{number}")
        got[name] = fleet[position].offers.region
    return got


def best(case: Case) -> tuple[int, float]:
    """How many can be placed at most, and the smallest share held of the fullest region with that many."""
    from scipy.optimize import milp

    pairs = [
        (request, vm)
        for request in range(len(case.asked))
        for vm in range(len(case.fleet))
        if case.fits(request, vm)
    ]
    if not pairs:
        return 0, 0.0
    sizes = Counter(each.offers.region for each in case.fleet)
    rows = [
        *([int(pair[0] == request) for pair in pairs] + [0] for request in range(len(case.asked))),
        *([int(pair[1] == vm) for pair in pairs] + [0] for vm in range(len(case.fleet))),
        *([*_held(case, pairs, region), -size] for region, size in sizes.items()),
    ]
    most = [1] * (len(case.asked) + len(case.fleet)) + [0] * len(sizes)
    # one more placed is worth more than any share; the last variable is the share
    found = milp(
        [-10] * len(pairs) + [1],
        integrality=[1] * len(pairs) + [0],
        bounds=(0, 1),
        constraints=(rows, [-float("inf")] * len(rows), most),
    )
    assert found.success, found.message
    return round(sum(found.x[:-1])), float(found.x[-1])


def _held(case: Case, pairs: list[tuple[int, int]], region: str) -> list[int]:
    return [int(case.fleet[vm].offers.region == region) for _, vm in pairs]


def compared(number: int) -> dict[str, Any]:
    """One case both ways."""
    case = made(number)
    sizes = Counter(each.offers.region for each in case.fleet)
    got = one_by_one(case)
    held = Counter(got.values())
    share = max((held[region] / size for region, size in sizes.items()), default=0.0)
    placed, least = best(case)
    assert len(got) <= placed, f"case {number}: the optimum is not one"
    return {"asked": len(case.asked), "placed": len(got), "best": placed, "share": share, "least": least}


def main() -> None:
    """Many cases; how far ours is from the optimum."""
    parser = options_of("spread", runs=500, description=__doc__ or "")
    options = parser.parse_args()
    found = [compared(number) for number in range(options.runs)]
    alike = [each for each in found if each["placed"] == each["best"]]
    over = [each["share"] - each["least"] for each in alike]
    row = {
        "cases": len(found),
        "placed": sum(each["placed"] for each in found),
        "optimum": sum(each["best"] for each in found),
        "cases with all placed that can be": len(alike),
        "of these as well spread as can be": sum(each < 1e-6 for each in over),
        "share of the fullest region, mean": round(statistics.mean(each["share"] for each in alike), 3),
        "at the optimum": round(statistics.mean(each["least"] for each in alike), 3),
        "largest difference": round(max(over), 3),
    }
    say(", ".join(f"{key} {value}" for key, value in row.items()))
    report = Report("spread")
    report.note("spread", row)
    report.write(options.json)


if __name__ == "__main__":
    main()
