"""Selection over the seats that the state has learnt agrees with selection over every VM."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmm_automation.errors import NoVmFits
from vmm_automation.model.session import LIVE, SessionState
from vmm_automation.model.vm import Offers, VmCondition, VmFacts, VmState
from vmm_automation.operations import placement
from vmm_automation.selection.select import select_vm
from vmm_automation.state import seats, sessions, vms
from vmm_automation.state.sqlite import SqliteStore
from vmm_automation.state.store import Engine, Tx

from ..fake_clock import FakeClock
from .selection_cases import RICH, VERSIONS, a_ua, a_vm

UA = a_ua(video_codecs=("av1", "h264"))


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Engine]:
    """One state for all examples; each undoes what it did."""
    (tmp_path / "state").mkdir(mode=0o700)
    with SqliteStore.open(tmp_path / "state" / "state.db") as store:
        yield store


def a_seat(number: int, **changes: Any) -> VmFacts:
    return a_vm(f"vm-{number}", **{"offers": Offers(("h264",), region="north"), **changes})


SEATS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "memory_mib": st.sampled_from([512, 768]),
        "offers": st.sampled_from(
            [Offers((codec,), region=region) for codec in ("av1", "vp8") for region in "ns"]
        ),
        "active_uas": st.sampled_from([{}, *({"radicale": each, "other": "1"} for each in VERSIONS)]),
        "state": st.sampled_from([VmState.RUNNING] * 4 + list(VmState)),
        "ready": st.sampled_from([True, True, True, False]),
        "pool": st.sampled_from(["", "shown"]),
        "drained": st.sampled_from([False, False, False, True]),
        "condition": st.sampled_from([*[VmCondition.CLEAN] * 3, VmCondition.DIRTY]),
        "session": st.sampled_from([None, None, "s-1"]),
    }
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fleet=st.lists(SEATS, max_size=9), pack=st.booleans(), last=st.integers(0, 9))
def test_seats_lead_to_the_vm_that_looking_at_all_leads_to(
    sqlite_store: Engine, fleet: list[dict[str, Any]], pack: bool, last: int
) -> None:
    """The same VM, as warm, with the same score, or none by both ways; whatever state the VMs are in."""
    facts = [a_seat(number, **changes) for number, changes in enumerate(fleet)]
    last_vm = f"vm-{last}"
    with sqlite_store.transaction(keep=False) as tx:
        had_before(tx, last_vm)
        for each in facts:
            placement.learn(tx, each)
        asked: dict[str, Any] = {"version": None, "wanted_vm": None, "avoid": (), "last_vm": last_vm}
        try:
            best = select_vm(ua=UA, terminal=RICH, facts=facts, pack=pack, **asked).best
        except NoVmFits:
            with pytest.raises(NoVmFits):
                placement.place(tx, user="ann", ua=UA, terminal=RICH, pack=pack)
            return
        chosen = placement.place(tx, user="ann", ua=UA, terminal=RICH, pack=pack).best
        assert chosen == best


def had_before(tx: Tx, vm: str) -> None:
    """The user's session of last time was on this VM."""
    now = datetime.now(UTC)
    vms.mark_clean(tx, vm=vm, now=now)
    sessions.claim(
        tx, session_id="s-0", user="ann", ua="radicale", version="1", vm=vm, terminal="t", explanation={},
        owner="", now=now,
    )  # fmt: skip
    sessions.move_to(tx, session_id="s-0", state=SessionState.FAILED, expected=LIVE, now=now)


def test_seat_follows_the_condition_of_its_vm(store: Engine, clock: FakeClock) -> None:
    """Free, held by a claim, free again once clean, gone once forgotten; the group's numbers with it."""
    with store.transaction() as tx:
        vms.mark_clean(tx, vm="vm-1", now=clock.now())
        placement.learn(tx, a_seat(1))
        placement.learn(tx, a_seat(1))
    seen = [_numbers(store)]
    with store.transaction() as tx:
        best = placement.place(tx, user="ann", ua=UA, terminal=RICH).best
        sessions.claim(
            tx, session_id="s-1", user="ann", ua="radicale", version=best.version, vm=best.vm, terminal="t",
            explanation={}, owner="", now=clock.now(),
        )  # fmt: skip
        vms.mark_dirty(tx, vm="vm-1", reason="", now=clock.now())
    seen.append(_numbers(store))
    with store.transaction() as tx:
        with pytest.raises(NoVmFits, match="1 not clean"):
            placement.place(tx, user="bo", ua=UA, terminal=RICH)
        tx.execute("UPDATE sessions SET state = 'closed'")
        vms.mark_clean(tx, vm="vm-1", now=clock.now())
    seen.append(_numbers(store))
    with store.transaction() as tx:
        assert placement.place(tx, user="ann", ua=UA, terminal=RICH).best.terms["same_vm"].points == 50
        vms.forget(tx, vm="vm-1")
    seen.append(_numbers(store))
    assert seen == [(1, 0), (1, 1), (1, 0), (0, 0)]


def test_seats_learnt_before_warmth_was_are_of_vms_that_run(store: Engine) -> None:
    """So they were; the next look at the VM itself says more."""
    with store.transaction() as tx:
        placement.learn(tx, a_seat(1))
        tx.execute("UPDATE vm_kinds SET document = replace(document, '\"warmth\"', '\"other\"')")
        assert placement.place(tx, user="ann", ua=UA, terminal=RICH).best.vm == "vm-1"


def _numbers(store: Engine) -> tuple[int, int]:
    with store.reading() as tx:
        found = seats.groups(tx, ua="radicale")
        assert [(each.total, each.held) for each in found] == [
            (each.total, each.held) for each in seats.groups(tx, ua="")
        ]
    return sum(each.total for each in found), sum(each.held for each in found)
