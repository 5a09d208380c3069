"""A request waits for a VM: served in turn, given up, canceled, dropped with its process; on both engines."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from vmm_automation.errors import (
    Canceled,
    Conflict,
    NotFound,
    NoVmFits,
    RequestCanceled,
    UsageError,
    WaitedInVain,
)
from vmm_automation.operations import audit_log
from vmm_automation.operations.context import Context
from vmm_automation.operations.queue_places import SILENCE_S
from vmm_automation.operations.session_claim import claim, considered
from vmm_automation.operations.session_queue import cancel, claim_or_wait, queue
from vmm_automation.state import transfer, vms
from vmm_automation.state.store import Engine

from .waiting_fleet import GONE, Moments, a_context, a_site, asks, end, waits


@pytest.fixture
def clock() -> Moments:
    return Moments()


@pytest.fixture
def context(store: Engine, clock: Moments, tmp_path: Path) -> Context:
    """A small VM and a large one."""
    site = a_site(tmp_path / "site")
    return a_context(store, clock, site, tmp_path, memory={"vm-1": 1024, "vm-2": 4096})


@pytest.fixture
def full(context: Context) -> Context:
    """The same, both in use."""
    for name in ("x", "y"):
        claim(context, asks(name))
    return context


def entries(context: Context, prefix: str = "request.") -> list[tuple[str, Any]]:
    assert audit_log.verify(context.store)["valid"]
    events = audit_log.read(context.store)["events"]
    return [(each["action"], each["result"]) for each in events if each["action"].startswith(prefix)]


def names(context: Context) -> list[str]:
    return [each["user"] for each in queue(context.store, context.clock)]


def test_request_is_served_as_soon_as_a_vm_is_free(full: Context, clock: Moments) -> None:
    """It waits as long as the VM is held, no longer than an interval after, and says where it stood."""
    clock.coming[7.2] = lambda: end(full, "vm-1")
    done = claim_or_wait(full, asks("ann"), wait_s=60)
    assert (done["vm"], done["session"]["user"], done["queue"]["position"]) == ("vm-1", "ann", 1)
    assert 7.2 <= done["queue"]["waited_s"] <= 7.7
    assert names(full) == []
    (enqueued, asked), (served, told) = entries(full)
    assert (enqueued, asked["position"], served) == ("request.enqueue", 1, "request.serve")
    assert (told["session"], told["vm"]) == (done["session"]["id"], "vm-1")
    said = full.__dict__["said"]
    assert any("waits at position 1 of 1, until 12:01:00Z" in line for line in said)


def test_request_that_finds_a_vm_does_not_wait(context: Context) -> None:
    """It never joins the queue, and its document says so."""
    done = claim_or_wait(context, asks("ann"), wait_s=60)
    assert done["queue"] == {"request": None, "position": 0, "priority": 0, "waited_s": 0.0}
    assert entries(context) == []
    assert "queue" not in claim_or_wait(context, asks("bo"))


def test_request_gives_up_at_its_deadline(full: Context, clock: Moments) -> None:
    """Not before, with a code of its own, the position it had, and nothing left behind."""
    waits(full, "older")
    with pytest.raises(WaitedInVain) as raised:
        claim_or_wait(full, asks("ann"), wait_s=20)
    assert raised.value.exit_code == 12
    assert (raised.value.details["position"], raised.value.details["waited_s"]) == (2, 20.0)
    assert (clock.now() - clock.began).total_seconds() == 20
    assert names(full) == ["older"]
    assert [(action, told.get("reason")) for action, told in entries(full)][-1] == (
        "request.give_up",
        "deadline",
    )


def test_without_waiting_a_request_fails_at_once(full: Context) -> None:
    """As it always did."""
    with pytest.raises(NoVmFits, match="2 in use"):
        claim_or_wait(full, asks("ann"))


def test_request_that_no_vm_could_ever_serve_fails_at_once(full: Context, clock: Moments) -> None:
    """Waiting would not help: nothing that is held would fit."""
    with pytest.raises(NoVmFits, match="screen width"):
        claim_or_wait(full, asks("ann", ua="radicale", terminal="text-only"), wait_s=60)
    with pytest.raises(NoVmFits):
        claim_or_wait(full, asks("ann", ua="large", vm="vm-1"), wait_s=60)
    assert clock.now() == clock.began
    assert entries(full) == []


def test_vm_that_is_dirty_or_paused_in_its_session_is_waited_for(full: Context, clock: Moments) -> None:
    """Both may be free one day."""
    full.hypervisor.pause("vm-1")
    with pytest.raises(WaitedInVain):
        claim_or_wait(full, asks("ann"), wait_s=5)
    full.hypervisor.resume("vm-1")
    end(full, "vm-1")
    with full.store.transaction() as tx:
        vms.mark_dirty(tx, vm="vm-1", reason="test", now=clock.now())
    with pytest.raises(WaitedInVain):
        claim_or_wait(full, asks("ann", vm="vm-1"), wait_s=5)


def test_newcomer_does_not_overtake(full: Context) -> None:
    """What one who waits is about to get is kept, and both kinds of newcomers are told by whom."""
    older = waits(full, "older")
    end(full, "vm-1")
    with pytest.raises(NoVmFits, match=r"1 kept for requests that wait") as raised:
        claim(full, asks("ann"))
    rejected = {each["vm"]: each for each in raised.value.details["rejected"]}
    assert rejected["vm-1"]["filter"] == "kept"
    assert "request 'r-older'" in rejected["vm-1"]["sentence"]
    assert rejected["vm-2"]["filter"] == "free"
    with pytest.raises(NoVmFits):
        considered(full, asks("ann"))
    assert claim(full, older)["vm"] == "vm-1"


def test_newcomer_gets_what_those_ahead_cannot_use(full: Context) -> None:
    """A VM is kept for one only where it fits that one; of two that fit, one is left over."""
    waits(full, "older", ua="large")
    end(full, "vm-1")
    assert claim(full, asks("ann"))["vm"] == "vm-1"
    end(full, "vm-1")
    end(full, "vm-2")
    assert [each["vm"] for each in considered(full, asks("bo"))["ranked"]] == ["vm-1"]


def test_larger_priority_goes_first_and_equal_ones_in_order(full: Context) -> None:
    """By the list, and by what each can get."""
    first, second = waits(full, "first"), waits(full, "second")
    urgent = waits(full, "urgent", priority=5)
    assert names(full) == ["urgent", "first", "second"]
    end(full, "vm-1")
    for behind in (second, first):
        with pytest.raises(NoVmFits):
            claim(full, behind)
    assert claim(full, asks("newcomer", priority=6))["vm"] == "vm-1"
    end(full, "vm-2")
    assert claim(full, urgent)["vm"] == "vm-2"


def test_canceled_request_ends_its_command(full: Context, clock: Moments) -> None:
    """Who canceled it is told to the one who waits, and kept."""
    clock.coming[3] = lambda: cancel(full, queue(full.store, clock)[0]["request"])
    with pytest.raises(RequestCanceled, match=r"was canceled by 'root'") as raised:
        claim_or_wait(full, asks("ann"), wait_s=60)
    assert raised.value.exit_code == 14
    assert [action for action, _ in entries(full)] == ["request.enqueue", "request.cancel"]
    with pytest.raises(NotFound):
        cancel(full, raised.value.details["request"])


def test_dry_run_of_waiting_and_canceling_changes_nothing(full: Context) -> None:
    """The position that it would have is told."""
    waits(full, "older")
    with full.store.reading() as tx:
        before = transfer.sha256(tx)
    told = claim_or_wait(full, asks("ann"), wait_s=60, check=True)
    assert (told["changed"], told["vm"], told["queue"]["position"]) == (True, None, 2)
    assert cancel(full, "r-older", check=True)["request"]["position"] == 1
    with full.store.reading() as tx:
        assert transfer.sha256(tx) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_leaves_the_queue(full: Context, clock: Moments, number: signal.Signals) -> None:
    """At the next look, with an entry that names the signal; afterwards signals do what they did."""
    before = signal.getsignal(number)
    clock.coming[3] = lambda: os.kill(os.getpid(), number)
    with pytest.raises(Canceled, match=number.name):
        claim_or_wait(full, asks("ann"), wait_s=60)
    assert names(full) == []
    assert entries(full)[-1][0] == "request.give_up"
    assert number.name in entries(full)[-1][1]["reason"]
    assert signal.getsignal(number) is before


def test_request_of_a_dead_process_stands_in_nobodys_way(full: Context) -> None:
    """Whoever claims next drops it, and an entry tells."""
    dead = ":".join([*_own_host(), "999999999", "1"])
    waits(full, "dead", owner=dead)
    assert names(full) == []
    end(full, "vm-1")
    assert claim(full, asks("ann"))["vm"] == "vm-1"
    assert entries(full)[-1] == (
        "request.drop",
        {"user": "dead", "ua": "plain", "reason": "its process is gone or late"},
    )


def test_process_of_another_controller_is_dropped_once_silent(full: Context, clock: Moments) -> None:
    """It cannot be seen from here, so it counts as long as it says that it is alive."""
    waits(full, "far", owner=GONE)
    clock.advance(seconds=SILENCE_S - 1)
    assert names(full) == ["far"]
    clock.advance(seconds=2)
    assert names(full) == []


def test_process_that_is_stopped_past_its_deadline_stands_in_nobodys_way(
    full: Context, clock: Moments
) -> None:
    """It lives, and does not leave: a while after its deadline it counts no longer."""
    waits(full, "stopped")
    clock.advance(hours=1, seconds=SILENCE_S - 1)
    assert names(full) == ["stopped"]
    clock.advance(seconds=2)
    assert names(full) == []


def test_process_that_waits_long_keeps_its_place(full: Context, clock: Moments) -> None:
    """Seen from another controller too: it says that it is alive, whatever the state of the VMs."""
    seen: list[list[str]] = []
    clock.coming[170] = lambda: seen.append(names(full))
    with pytest.raises(WaitedInVain):
        claim_or_wait(full, asks("ann"), wait_s=180, run=GONE)
    assert seen == [["ann"]]


def test_request_dropped_by_mistake_is_told(full: Context, clock: Moments) -> None:
    """A controller that slept for too long does not go on as if nothing had been."""

    def silence() -> None:
        clock.advance(seconds=SILENCE_S + 1)
        end(full, "vm-1")
        claim(full, asks("bo"))

    clock.coming[1] = silence
    with pytest.raises(RequestCanceled, match="taken for dead"):
        claim_or_wait(full, asks("ann"), wait_s=600, run=GONE)


def test_user_cannot_wait_twice_for_one_ua_nor_beyond_the_limit(
    full: Context, tmp_path: Path, clock: Moments
) -> None:
    """Both would be refused when it is their turn: told at once."""
    waits(full, "ann")
    with pytest.raises(Conflict, match=r"request 'r-ann'"):
        claim_or_wait(full, asks("ann"), wait_s=60)
    site = a_site(tmp_path / "limited", policies="sessions_per_user: 1")
    limited = a_context(full.store, clock, site, tmp_path, memory={"vm-1": 1024, "vm-2": 4096})
    with pytest.raises(Conflict, match="1 allowed"):
        claim_or_wait(limited, asks("x", ua="large"), wait_s=60)
    assert names(full) == ["ann"]


def test_hypervisor_is_left_alone_while_nothing_is_free(full: Context) -> None:
    """A look at the state is enough; two looks are for the claim at first and for whether to wait."""
    before = full.hypervisor.looks  # type: ignore[attr-defined]
    with pytest.raises(WaitedInVain):
        claim_or_wait(full, asks("ann"), wait_s=300)
    assert full.hypervisor.looks - before == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize(("wait_s", "priority"), [(-1, 0), (700_000, 0), (5, 10), (5, -1)])
def test_time_or_priority_out_of_range_is_refused(full: Context, wait_s: int, priority: int) -> None:
    """By every door alike."""
    with pytest.raises(UsageError):
        claim_or_wait(full, asks("ann", priority=priority), wait_s=wait_s)


def _own_host() -> list[str]:
    from vmm_automation.operations.ownership import owner_token

    return owner_token(os.getpid()).split(":")[:2]
