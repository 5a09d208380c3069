"""Retention as a pure decision: what stays, and by which rule."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from vmm_automation.model.image import Generation
from vmm_automation.model.retention import Retention
from vmm_automation.model.times import from_text, to_text

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)


def made(number: int, *, hours_ago: float, pinned: bool = False) -> Generation:
    at = to_text(NOW - timedelta(hours=hours_ago))
    return Generation("ann", "cal", number, f"a{number}", "", 0, 0, "1", 1, "", 1, at, pinned=pinned)


def test_each_rule_keeps_its_own() -> None:
    """Newest of each day and of each ISO week, the last ones, and what is young enough."""
    ages = [24 * 21, 24 * 14, 24 * 8, 24 * 7, 26, 25, 2, 1]
    found = [made(number, hours_ago=age) for number, age in enumerate(ages, start=1)]
    assert set(Retention(last=3).kept(found, now=NOW)) == {6, 7, 8}
    assert set(Retention(daily=2).kept(found, now=NOW)) == {6, 8}
    assert set(Retention(weekly=3).kept(found, now=NOW)) == {2, 4, 8}
    assert set(Retention(within=timedelta(days=2)).kept(found, now=NOW)) == {5, 6, 7, 8}
    pinned = [replace(found[0], pinned=True), *found[1:]]
    assert Retention(last=1).kept(pinned, now=NOW) == {8: "newest", 1: "pinned"}
    assert Retention(last=1).kept([], now=NOW) == {}


@given(
    ages=st.lists(st.integers(0, 2000), max_size=30),
    pins=st.sets(st.integers(1, 30)),
    rule=st.builds(
        Retention,
        last=st.integers(0, 5),
        daily=st.integers(0, 5),
        weekly=st.integers(0, 5),
        within=st.timedeltas(timedelta(), timedelta(days=30)),
    ),
)
def test_whatever_the_rule_the_newest_and_the_pinned_stay(
    ages: list[int], pins: set[int], rule: Retention
) -> None:
    """Also: what is kept does not shrink by pruning first and asking again."""
    ordered = sorted(ages, reverse=True)
    found = [made(n, hours_ago=age, pinned=n in pins) for n, age in enumerate(ordered, start=1)]
    kept = rule.kept(found, now=NOW)
    left = [one for one in found if one.number in kept]
    assert set(rule.kept(left, now=NOW)) == set(kept)
    assert {one.number for one in found if one.pinned} <= set(kept)
    assert not found or found[-1].number in kept
    assert {one.number for one in found[-rule.last :] if rule.last} <= set(kept)
    young = {one.number for one in found if from_text(one.captured_at) >= NOW - rule.within}
    assert not rule.within or young <= set(kept)
