"""The checker of histories accepts what one copy of the right could have answered, and nothing else."""

from __future__ import annotations

import pytest

from .linearizable import NOBODY, Operation, Right, first_misfit

LEASE = 1000


def op(
    verb: str,
    watcher: str,
    span: tuple[int, int],
    told: tuple[str, int, int],
    *,
    changed: bool = True,
    now: int = 0,
    to: str = "",
    lease: int = LEASE,
) -> Operation:
    process = int(watcher[1:] or 0)
    return Operation(process, verb, watcher, *span, now, changed, Right(*told), to, lease)


A1 = op("acquire", "w1", (0, 10), ("w1", 1, LEASE))
GOOD = {
    "in turn": [
        A1,
        op("acquire", "w2", (11, 20), ("w1", 0, LEASE), changed=False, now=5),
        op("release", "w1", (21, 30), (NOBODY, 1, 0), now=6),
        op("acquire", "w2", (31, 40), ("w2", 2, 7 + LEASE), now=7),
    ],
    "at once, seen in another order than begun": [
        op("acquire", "w2", (0, 100), ("w2", 2, 30 + LEASE), now=30),
        op("acquire", "w1", (1, 100), ("w1", 1, 10 + LEASE), now=10),
        op("release", "w1", (2, 100), (NOBODY, 1, 0), now=20),
    ],
    "lapsed": [A1, op("acquire", "w2", (11, 20), ("w2", 2, 2 * LEASE), now=LEASE)],
    "handed over": [
        A1,
        op("hand over", "w1", (11, 20), ("w2", 2, 5 + LEASE), now=5, to="w2"),
        op("show", "w3", (15, 25), ("w1", 1, LEASE), changed=False, now=4),
        op("break", "w0", (21, 30), (NOBODY, 2, 0), now=8, to="w2"),
        op("renew", "w2", (31, 40), (NOBODY, 0, 0), now=9, changed=False),
    ],
    "kept as it is long enough": [
        A1,
        op("acquire", "w1", (11, 20), ("w1", 1, LEASE), now=5, lease=1, changed=False),
    ],
}
BAD = {
    "two holders at a time": [A1, op("acquire", "w2", (11, 20), ("w2", 2, 5 + LEASE), now=5)],
    "one fence for two": [A1, op("acquire", "w2", (5, 20), ("w2", 1, LEASE))],
    "a fence left out": [A1, op("acquire", "w2", (11, 20), ("w2", 3, 2 * LEASE), now=LEASE)],
    "a fence gone back": [
        A1,
        op("hand over", "w1", (11, 20), ("w2", 2, 5 + LEASE), now=5, to="w2"),
        op("hand over", "w2", (21, 30), ("w3", 1, 6 + LEASE), now=6, to="w3"),
    ],
    "a lost grant": [A1, op("show", "w2", (11, 20), (NOBODY, 0, 0), changed=False, now=5)],
    "released by another": [A1, op("release", "w2", (11, 20), (NOBODY, 1, 0), now=5)],
    "refused for one who had left": [
        A1,
        op("release", "w1", (11, 20), (NOBODY, 1, 0), now=5),
        op("acquire", "w2", (21, 30), ("w1", 0, LEASE), changed=False, now=6),
    ],
    "refused though vacant": [op("acquire", "w1", (0, 9), (NOBODY, 0, 0), changed=False)],
    "renewed after its end": [A1, op("renew", "w1", (11, 20), ("w1", 1, 3 * LEASE), now=2 * LEASE)],
    "an answer from before it was asked": [
        op("show", "w2", (0, 5), ("w1", 1, LEASE), changed=False),
        op("acquire", "w1", (6, 10), ("w1", 1, LEASE)),
    ],
    "handed over twice": [
        A1,
        op("hand over", "w1", (11, 20), ("w2", 2, 5 + LEASE), now=5, to="w2"),
        op("hand over", "w1", (12, 21), ("w3", 3, 5 + LEASE), now=5, to="w3"),
    ],
    "broken for another than its holder": [A1, op("break", "w0", (11, 20), (NOBODY, 1, 0), now=5, to="w2")],
}


@pytest.mark.parametrize("case", GOOD)
def test_history_of_one_copy_is_accepted(case: str) -> None:
    """Any order within the spans will do."""
    assert first_misfit(GOOD[case]) is None


@pytest.mark.parametrize("case", BAD)
def test_history_that_no_copy_gives_is_refused(case: str) -> None:
    """The operation that fits nowhere is named."""
    assert first_misfit(BAD[case]) in BAD[case]


@pytest.mark.parametrize("case", BAD)
def test_fault_is_found_behind_a_long_good_history(case: str) -> None:
    """Two thousand turns before it hide nothing."""
    long = []
    for turn in range(1, 2001):
        at = turn * 40
        told = (f"w{turn % 5}", turn, at + LEASE)
        long.append(op("acquire", told[0], (at, at + 25), told, now=at))
        long.append(op("release", told[0], (at + 20, at + 39), (NOBODY, turn, 0), now=at + 5))
    assert first_misfit(long) is None
    begin = 2001 * 40
    shifted = [
        Operation(
            each.process, each.verb, each.watcher, each.began + begin, each.ended + begin, each.now + begin,
            each.changed,
            Right(each.told.holder, each.told.fence + 2000 * (each.told.fence > 0),
                  each.told.until + begin * (each.told.until > 0)),
            each.to, each.lease,
        )
        for each in BAD[case]
    ]  # fmt: skip
    assert first_misfit([*long, *shifted]) in shifted
