"""The check of the state finds what was broken past the program, and nothing where all is well."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from vmm_automation.operations.state_check import check_state
from vmm_automation.state.store import Engine

from ..fake_clock import FakeClock
from ..real_state import RealState
from .filled_state import fill

#: what somebody did to the tables by hand -> what the check says of it
BROKEN = {
    "mark of nothing": (
        ["UPDATE generation_marks SET number = 9"],
        "something is said of generation 9 of user 'ann', UA 'cal'",
    ),
    "two live sessions": (
        [
            "DROP INDEX one_live_session_per_vm",
            "UPDATE sessions SET state = 'active', vm = 'vm-live', ua = id",
        ],
        "VM 'vm-live' has 4 live sessions",
    ),
    "two sessions of a user": (
        ["DROP INDEX one_live_writer_per_user_and_ua", "UPDATE sessions SET state = 'active'"],
        "user 'ann' has 3 live sessions of UA 'cal' that write",
    ),
    "moving though in use": (
        ["UPDATE sessions SET state = 'active' WHERE id = 's-live'"],
        "session 's-live' is on its way to VM 'vm-next', and is active",
    ),
    "clean though reserved": (
        [
            "UPDATE pool_members SET vm = 'vm-live', reserved = 'pool ''calendars'': install'",
            "UPDATE vm_conditions SET condition = 'clean' WHERE vm = 'vm-live'",
        ],
        "VM 'vm-live' counts as clean while it is worked on by pool 'calendars': install",
    ),
    "index gone": (["DROP INDEX one_active_version"], "'one_active_version' of the schema is not there"),
    "fence went back": (
        ["UPDATE vm_conditions SET fence = 0"],
        "has fence 4, newer than VM 'vm-live' knows (0)",
    ),
    "counter went back": (["UPDATE counters SET value = 2"], "the counter stands at 2"),
    "counter gone": (["DELETE FROM counters"], "the counter of fences is not there"),
    "generation fenced wrongly": (
        ["UPDATE generations SET fence = 0 WHERE number = 3"],
        "generation 3 of user 'ann', UA 'cal' has an older fence",
    ),
    "grant of an ended session": (
        ["UPDATE sessions SET state = 'closed'"],
        "watcher 'bo' has a grant on session 's-live', which is over",
    ),
    "right without a grant": (
        ["UPDATE suspend_rights SET holder = 'di'"],
        "watcher 'di' holds the suspend right of session 's-live' without a grant",
    ),
    "right without the privilege": (
        ["UPDATE grants SET privileges = 'view'"],
        "watcher 'bo' holds the suspend right of session 's-live' without a grant to suspend",
    ),
    "right outlives the grant": (
        ["UPDATE suspend_rights SET expires_at = '2027-01-31T12:00:00.000000Z'"],
        "outlives the grant of watcher 'bo'",
    ),
    "no time": (["UPDATE sessions SET changed_at = 'yesterday'"], "has a changed_at that is no time"),
    "no document": (["UPDATE events SET result = '{'"], "has a result that cannot be read"),
    "entry changed": (["UPDATE audit_events SET actor = 'eve' WHERE seq = 2"], "entry 2 was changed"),
    "no explanation": (["UPDATE sessions SET explanation = ''"], "has an explanation that cannot be read"),
    "no manifest": (["UPDATE generations SET manifest = '{}'"], "has a manifest that cannot be read"),
    "another manifest": (
        ["UPDATE generations SET root_digest = 'ab'"],
        "has a manifest that is not the one it was stored with",
    ),
}


def test_state_in_order_has_no_problems(store: Engine, clock: FakeClock) -> None:
    """Neither an empty state nor a used one is called broken; every table is counted."""
    assert check_state(store)["problems"] == []
    fill(store, clock)
    found = check_state(store)
    assert found["problems"] == []
    assert found["rows"]["sessions"] == 4


@pytest.fixture
def own(new_state: RealState) -> Iterator[Engine]:
    """A state whose tables a test may spoil."""
    with new_state.open() as opened:
        yield opened


@pytest.mark.parametrize("case", BROKEN)
def test_broken_rule_is_told(own: Engine, clock: FakeClock, case: str) -> None:
    """Each rule that rows keep among themselves is looked at, on both engines."""
    statements, told = BROKEN[case]
    fill(own, clock)
    with own.transaction() as tx:
        for statement in statements:
            tx.execute(statement)
    assert [problem for problem in check_state(own)["problems"] if told in problem]
