"""What a pool's plan promises, whatever was found: nobody is disturbed, it ends, never all are away."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmm_automation.model.pool import Levels, Warmth
from vmm_automation.operations.pool_plan import Act, Member, Plan, Wanted, plan
from vmm_automation.state.pools import Drain

READY, PARKED, COLD = Warmth


@st.composite
def members(draw: st.DrawFn) -> Member:
    """A VM in any state that can be found."""
    there, made = draw(st.booleans()) or draw(st.booleans()), draw(st.booleans()) or draw(st.booleans())
    clean, busy = draw(st.booleans()) or draw(st.booleans()), draw(st.booleans()) and draw(st.booleans())
    serving = there and made and clean and (draw(st.booleans()) or draw(st.booleans()))
    return Member(
        vm="",
        warmth=draw(st.sampled_from([READY, READY, PARKED, COLD, None])) if there else None,
        there=there,
        made=there and made,
        busy=busy,
        clean=clean,
        current=serving and draw(st.booleans()),
        serving=serving,
        outdated=draw(st.booleans()),
        late=not made and draw(st.booleans()),
        leaving=draw(st.booleans()) and draw(st.booleans()) and draw(st.booleans()),
    )


@st.composite
def pools(draw: st.DrawFn) -> tuple[Wanted, list[Member]]:
    """What is wanted, and what is there."""
    levels = Levels(*(draw(st.integers(0, 4)) for _level in Warmth))
    wanted = Wanted(levels, levels.total + draw(st.integers(0, 3)), draw(st.integers(1, 3)))
    found = draw(st.lists(members(), max_size=9))
    return wanted, [replace(member, vm=f"p-{number}") for number, member in enumerate(found)]


def done(found: list[Member], planned: Plan, names: count[int]) -> list[Member]:
    """The members after a run in which everything succeeded."""
    after = {member.vm: member for member in found}
    for step in planned.steps:
        if step.act is Act.DELETE:
            del after[step.vm]
        elif step.act is Act.CREATE:
            name = f"n-{next(names):03}"
            after[name] = Member(name, step.warmth)
        elif step.act is Act.START:
            after[step.vm] = replace(after[step.vm], warmth=READY, made=True)
        elif step.act is Act.PREPARE:
            after[step.vm] = replace(after[step.vm], clean=True, current=True, serving=True)
        else:
            after[step.vm] = replace(after[step.vm], warmth=PARKED if step.act is Act.PARK else COLD)
    return list(after.values())


@given(pools())
def test_vm_in_a_session_is_never_touched(pool: tuple[Wanted, list[Member]]) -> None:
    """No step names a VM that a session holds, drained or not."""
    wanted, found = pool
    busy = {member.vm for member in found if member.busy}
    for drain in Drain:
        assert not busy & {step.vm for step in plan(replace(wanted, drain=drain), found).steps}


@given(pools())
def test_no_more_vms_than_allowed_are_made(pool: tuple[Wanted, list[Member]]) -> None:
    """All together, those in sessions too, are never more than the bound because of this plan."""
    wanted, found = pool
    planned = plan(wanted, found)
    after = len(found) - len(planned.of(Act.DELETE)) + len(planned.of(Act.CREATE))
    assert after <= max(wanted.most, len(found))


@given(pools())
def test_changes_take_no_more_away_than_allowed_and_never_all(pool: tuple[Wanted, list[Member]]) -> None:
    """Of VMs that a session could get only so many are away for a change, and one stays if one is wanted."""
    wanted, found = pool
    planned = plan(wanted, found)
    superfluous = {step.vm for step in planned.of(Act.DELETE) if step.reason == "more than wanted"}
    serving = {member.vm for member in found if member.serving and not (member.busy or member.leaving)}
    away = {step.vm for step in planned.of(Act.DELETE, Act.PREPARE)} & serving
    missing = sum(step.reason == "missing" for step in planned.of(Act.CREATE))
    assert len(away - superfluous) <= max(0, wanted.max_unavailable - missing)
    busy = sum(member.busy for member in found)
    if serving and wanted.levels.total and wanted.most > busy:
        assert serving - away


def test_last_vm_that_serves_stays_until_another_does_though_it_is_more_than_wanted() -> None:
    """One cold VM is wanted, and the one there is dirty: the running one goes when that is clean."""
    wanted = Wanted(Levels(0, 0, 1), 1, 2)
    dirty = Member("p-0", COLD, clean=False, current=False, serving=False)
    running = Member("p-1", READY)
    assert plan(wanted, [dirty, running]).of(Act.DELETE) == []
    cleaned = replace(dirty, clean=True, current=True, serving=True)
    assert [step.vm for step in plan(wanted, [cleaned, running]).of(Act.DELETE)] == ["p-1"]


@given(pools())
def test_order_of_what_was_found_does_not_matter(pool: tuple[Wanted, list[Member]]) -> None:
    """The same VMs give the same plan."""
    wanted, found = pool
    assert plan(wanted, found) == plan(wanted, list(reversed(found)))


@given(pools())
@settings(max_examples=300)
def test_done_again_and_again_it_ends_with_what_is_wanted(pool: tuple[Wanted, list[Member]]) -> None:
    """After some runs nothing is left to do; levels are met as far as the bound and the sessions allow."""
    wanted, found = pool
    names = count()
    for _run in range(40):
        planned = plan(wanted, found)
        found = done(found, planned, names)
        if not planned.steps:
            break
    else:
        raise AssertionError(planned)
    idle = [member for member in found if not member.busy]
    assert not any(member.leaving or not member.there for member in idle)
    room = max(0, wanted.most - (len(found) - len(idle)))
    assert len(idle) == min(wanted.levels.total, room)
    ready = min(wanted.levels.ready, room)
    assert sum(member.warmth is READY for member in idle) == ready
    assert sum(member.warmth is PARKED for member in idle) == min(wanted.levels.parked, room - ready)
    if len(idle) > 1 or len(found) < wanted.most:  # the only one cannot be changed where no other may be made
        assert not any(member.stale for member in idle)


def acts(planned: Plan) -> list[tuple[str, str]]:
    return [(str(step.act), step.vm) for step in planned.steps]


def test_empty_pool_is_filled_ready_first_up_to_its_bound() -> None:
    """Of three that are wanted and two that may be, the ready ones are made."""
    planned = plan(Wanted(Levels(2, 1), 2), [])
    assert [(step.act, step.warmth) for step in planned.steps] == [(Act.CREATE, READY), (Act.CREATE, READY)]


def test_vm_of_another_level_is_moved_before_one_is_made() -> None:
    """One ready too many and one parked too few: it is parked."""
    found = [Member("a"), Member("b"), Member("c")]
    assert acts(plan(Wanted(Levels(2, 1), 3), found)) == [("park", "c")]


@pytest.mark.parametrize(
    ("member", "expected"),
    [
        (Member("a", PARKED), [("start", "a")]),
        (Member("a", COLD), [("start", "a")]),
        (Member("a", made=False, serving=False, current=False), [("start", "a"), ("prepare", "a")]),
        (Member("a", serving=False, current=False), [("prepare", "a")]),
        (Member("a", clean=False, serving=False), [("prepare", "a")]),
        (Member("a", made=False, serving=False, late=True), [("delete", "a"), ("create", "")]),
        (Member("a", None, there=False, serving=False), [("delete", "a"), ("create", "")]),
        (Member("a", leaving=True), [("delete", "a"), ("create", "")]),
        (Member("a", busy=True), []),
        (Member("a"), []),
    ],
)
def test_one_vm_is_brought_to_ready_from_whatever_it_is(
    member: Member, expected: list[tuple[str, str]]
) -> None:
    """Cut off, saved, off, dirty, gone: each has its way."""
    assert acts(plan(Wanted(Levels(1), 1), [member])) == expected


def test_outdated_vms_are_replaced_one_at_a_time() -> None:
    """A new base image takes one VM away per run, the others go on serving and are told to wait."""
    found = [Member(name, outdated=True) for name in "abc"]
    planned = plan(Wanted(Levels(3), 3), found)
    assert (acts(planned), planned.waiting) == ([("delete", "a"), ("create", "")], ("b", "c"))


def test_only_vm_is_changed_once_another_takes_over() -> None:
    """Where there may be one more, it comes first; where there may not, the old one stays."""
    old = Member("a", outdated=True)
    assert acts(plan(Wanted(Levels(1), 2), [old])) == [("create", "")]
    assert acts(plan(Wanted(Levels(1), 2), [old, Member("b")])) == [("delete", "a")]
    alone = plan(Wanted(Levels(1), 1), [old])
    assert (acts(alone), alone.waiting) == ([], ("a",))


def test_drained_pool_makes_nothing_and_deletes_only_if_asked() -> None:
    """What is left of it is what sessions hold."""
    found = [Member("a"), Member("b", busy=True)]
    assert acts(plan(Wanted(Levels(5), 5, drain=Drain.KEEP), found)) == []
    assert acts(plan(Wanted(Levels(5), 5, drain=Drain.DELETE), found)) == [("delete", "a")]
