"""Which VMs a rollout is about, in which order and batch, and what it would do on each: pure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vmm_automation.errors import InvalidName, NotFound, UsageError
from vmm_automation.model.session import Session, SessionState
from vmm_automation.model.vm import Offers, VmFacts, VmState
from vmm_automation.operations.ua_rollout_plan import Terms, batch_sizes, plan_rollout
from vmm_automation.operations.ua_targets import select_targets

from .one_vm import OneVm


def fact(name: str, created_at: str = "", *, pool: str = "", state: VmState = VmState.RUNNING) -> VmFacts:
    return VmFacts(replace(OneVm().vm(name), created_at=created_at, state=state), pool=pool)


THERE = [
    fact("vm-1", "2026-03"),
    fact("vm-2", "2026-01"),
    fact("vm-10", "2026-02"),
    fact("db-1", "2026-02"),
]
POOLED = [
    fact("vm-1"),
    fact("web-1", pool="web"),
    fact("web-2", pool="web", state=VmState.PARKED),
    fact("off-1", pool="off", state=VmState.STOPPED),
]


@pytest.mark.parametrize(
    ("names", "limit", "found"),
    [
        ([], "", ["db-1", "vm-1", "vm-10", "vm-2"]),
        (["vms"], "vm-*", ["vm-1", "vm-10", "vm-2"]),
        (["vm-?"], "", ["vm-1", "vm-2"]),
        (["vm-1", "db-1"], "vm-*", ["vm-1"]),
        ([], "vm-*,!vm-1", ["vm-10", "vm-2"]),
        ([], "!vm-*", ["db-1"]),
        ([], "vm-1:db-1", ["db-1", "vm-1"]),
    ],
)
def test_vms_are_those_named_within_the_limit(names: list[str], limit: str, found: list[str]) -> None:
    """Names and shell patterns, several with commas or colons, and exceptions."""
    assert [each.name for each in select_targets(THERE, names, limit=limit)] == found


@pytest.mark.parametrize(
    ("names", "pool", "limit", "found"),
    [
        ([], "", "", ["vm-1", "web-1"]),
        ([], "web", "", ["web-1"]),
        (["web-2"], "", "", ["web-2"]),
        (["web-2", "vm-1"], "web", "", ["web-2"]),
        ([], "", "web-*", ["web-1"]),
    ],
)
def test_vms_are_those_of_the_pool_that_run(
    names: list[str], pool: str, limit: str, found: list[str]
) -> None:
    """A refill brings the others along; one that is named is meant as it is."""
    assert [each.name for each in select_targets(POOLED, names, pool=pool, limit=limit)] == found


@pytest.mark.parametrize(
    ("names", "pool", "why"),
    [
        (["vm-1"], "web", "none of vm-1 is in pool 'web'"),
        ([], "off", "none of vm-1, web-1, web-2, off-1 is in pool 'off' and runs"),
    ],
)
def test_pool_of_which_nothing_is_meant_is_told(names: list[str], pool: str, why: str) -> None:
    """With what was asked for, and where to look."""
    with pytest.raises(NotFound) as nothing:
        select_targets(POOLED, names, pool=pool)
    assert nothing.value.message == f"No VM is left: {why}"
    assert nothing.value.hint == f"vmm pool show {pool}"


def test_vms_come_in_the_order_asked_for() -> None:
    """By name, or by creation; of those created at once, by name."""
    orders = {
        order: [each.name for each in select_targets(THERE, [], order=order)]
        for order in ("oldest", "newest")
    }
    assert orders == {
        "oldest": ["vm-2", "db-1", "vm-10", "vm-1"],
        "newest": ["vm-1", "db-1", "vm-10", "vm-2"],
    }
    for order in ("random", "label:", "canary"):
        with pytest.raises(UsageError, match=f"'{order}' is no order"):
            select_targets(THERE, [], order=order)


@pytest.mark.parametrize("label", ["gpu", "small-canary", "oslo", "canaries"])
def test_vms_that_carry_the_label_come_first(label: str) -> None:
    """A feature, a profile, a region or a pool; the rest by name."""
    canary = VmFacts(
        replace(OneVm().vm("vm-9"), features=("gpu",), profile="small-canary"),
        offers=Offers(region="oslo"),
        pool="canaries",
    )
    order = [each.name for each in select_targets([*THERE, canary], [], order=f"label:{label}")]
    assert order == ["vm-9", "db-1", "vm-1", "vm-10", "vm-2"]
    among = select_targets([*THERE, canary], ["vm-1", "db-1"], order=f"label:{label}")
    assert [each.name for each in among] == ["db-1", "vm-1"]


def test_label_that_no_vm_carries_is_not_found() -> None:
    """A mistyped one never means any order."""
    with pytest.raises(NotFound, match="'smal': there are small; did you mean 'small'"):
        select_targets(THERE, [], order="label:smal")


@pytest.mark.parametrize(
    ("names", "limit"), [(["vm-9"], ""), ([], "vm-9"), ([], "x*"), ([], "!x*"), ([], "vm-1,!vm-1")]
)
def test_pattern_that_is_no_vms_is_not_found(names: list[str], limit: str) -> None:
    """A mistyped name never means no VM, nor all."""
    with pytest.raises(NotFound):
        select_targets(THERE, names, limit=limit)


def test_name_that_none_can_have_is_refused() -> None:
    """Before it is looked for."""
    with pytest.raises(InvalidName):
        select_targets(THERE, ["../vm-1"])
    with pytest.raises(NotFound, match="no VMs yet"):
        select_targets([], [])


@pytest.mark.parametrize(
    ("count", "batch", "sizes"),
    [
        (5, "", [5]),
        (5, "1", [1, 1, 1, 1, 1]),
        (10, "1,10%,50%", [1, 1, 5, 3]),
        (3, "10%", [1, 1, 1]),
        (2, "5", [2]),
        (0, "1", []),
    ],
)
def test_batches_have_the_last_size_again_until_all_had_their_turn(
    count: int, batch: str, sizes: list[int]
) -> None:
    """A percentage is of all VMs, and at least one."""
    assert batch_sizes(count, batch) == sizes


@pytest.mark.parametrize("batch", ["0", "x", "1,", "-1", "0%", "1;2"])
def test_batch_that_is_no_number_is_refused(batch: str) -> None:
    """None of these would end."""
    with pytest.raises(UsageError):
        batch_sizes(3, batch)


def session(ua: str) -> Session:
    return Session(
        id="s-1", user="ann", ua=ua, version="1", vm="vm-1", state=SessionState.ACTIVE, terminal="t", fence=1,
        created_at="", changed_at="",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("terms", "active", "live", "does"),
    [
        (Terms("2"), "", None, "install"),
        (Terms("2"), "1", None, "update"),
        (Terms("2"), "2", None, "nothing"),
        (Terms("2", update=True), "", None, "fail"),
        (Terms("2"), "1", "cal", "fail"),
        (Terms("2"), "1", "mail", "update"),
        (Terms("2", batch="1"), "1", "mail", "skip"),
        (Terms("2", batch="1", force=True), "1", "mail", "update"),
        (Terms("2", batch="1", force=True), "1", "cal", "skip"),
        (Terms("2", drain_s=60), "1", "cal", "wait"),
    ],
)
def test_step_says_what_would_be_done(terms: Terms, active: str, live: str | None, does: str) -> None:
    """By what is active, who uses the VM, and what the terms allow."""
    (step,) = plan_rollout(
        ["vm-1"],
        terms=terms,
        ua_id="cal",
        active={"vm-1": active} if active else {},
        live={"vm-1": session(live)} if live else {},
    )
    assert (step.does, step.batch, step.active) == (does, 1, active)
    assert bool(step.why) == (does in {"nothing", "fail", "skip", "wait"})
