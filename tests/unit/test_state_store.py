"""What a store promises whatever its engine: all or nothing, one moment, one writer, and no fork."""

from __future__ import annotations

import os
import threading

import pytest

from vmm_automation.errors import RuleBroken
from vmm_automation.state import vms
from vmm_automation.state.store import Engine

from ..fake_clock import FakeClock
from ..real_state import RealState


def test_exception_in_a_transaction_undoes_it(store: Engine, clock: FakeClock) -> None:
    """Either all of a block is kept or nothing."""
    with pytest.raises(ZeroDivisionError), store.transaction() as tx:
        vms.mark_clean(tx, vm="vm-1", now=clock.now())
        raise ZeroDivisionError
    with store.reading() as tx:
        assert vms.conditions(tx) == {}


def test_transaction_not_kept_is_undone(store: Engine, clock: FakeClock) -> None:
    """A dry run sees what it wrote, and nobody else ever does."""
    with store.transaction(keep=False) as tx:
        vms.mark_clean(tx, vm="vm-1", now=clock.now())
        assert vms.conditions(tx)
    with store.reading() as snapshot:
        assert vms.conditions(snapshot) == {}


def test_reader_sees_one_moment(store: Engine, real_state: RealState, clock: FakeClock) -> None:
    """What a writer commits meanwhile does not change what a reading block sees, and neither waits."""
    with real_state.open() as other, store.reading() as snapshot:
        assert vms.conditions(snapshot) == {}
        with other.transaction() as tx:
            vms.mark_clean(tx, vm="vm-1", now=clock.now())
        assert vms.conditions(snapshot) == {}
    with store.reading() as snapshot:
        assert list(vms.conditions(snapshot)) == ["vm-1"]


def test_transaction_inside_a_transaction_is_a_mistake(store: Engine) -> None:
    """Nesting fails loudly, and the outer transaction goes on."""
    with store.transaction() as tx:
        with pytest.raises(RuntimeError), store.transaction():
            pass
        tx.execute("UPDATE counters SET value = 7")
    with store.reading() as snapshot:
        assert snapshot.one("SELECT value FROM counters") == {"value": 7}


def test_threads_share_a_store(store: Engine) -> None:
    """Eight threads that count on one store lose no count."""

    def count() -> None:
        for _ in range(20):
            with store.transaction() as tx:
                vms.next_fence(tx)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.reading() as snapshot:
        assert snapshot.one("SELECT value FROM counters") == {"value": 160}


def test_store_opened_before_a_fork_is_refused_in_the_child(store: Engine) -> None:
    """Neither file locks nor connections pass a fork: using the parent's store fails loudly."""
    child = os.fork()
    if child == 0:
        try:
            with store.reading():
                os._exit(1)
        except RuntimeError:
            os._exit(0)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_text_sorts_byte_by_byte(store: Engine, clock: FakeClock) -> None:
    """Lists come in the same order from both engines, whatever language the server was set up in."""
    names = ["B", "a", "a-b", "a.b", "a1", "a10", "a2", "a_b", "ab", "é"]
    with store.transaction() as tx:
        for name in reversed(names):
            vms.mark_clean(tx, vm=name, now=clock.now())
        assert list(vms.conditions(tx)) == sorted(names)


def test_text_of_all_kinds_is_kept(store: Engine, clock: FakeClock) -> None:
    """Quotes, percent signs, colons and every plane of Unicode come back as they went in."""
    reason = 'it\'s 100% "done": :vm %(vm)s \\ \n\t 𝄞 \u202e'
    with store.transaction() as tx:
        vms.mark_dirty(tx, vm="vm-1", reason=reason, now=clock.now())
        row = tx.one("SELECT reason, ':vm 100%' AS quoted FROM vm_conditions WHERE vm = :vm", vm="vm-1")
    assert row == {"reason": reason, "quoted": ":vm 100%"}


def test_broken_rule_is_told_and_undoes_the_block(store: Engine, clock: FakeClock) -> None:
    """What the schema forbids is refused by both engines alike: twice the same key, an unknown value."""
    for wrong in ("counters (name, value) VALUES ('session_fence', 1)", "counters (name) VALUES ('other')"):
        with pytest.raises(RuleBroken), store.transaction() as tx:
            vms.mark_clean(tx, vm="vm-1", now=clock.now())
            tx.execute(f"INSERT INTO {wrong}")
    with store.reading() as tx:
        assert vms.conditions(tx) == {}


def test_numbers_go_to_the_limit_of_the_engines(store: Engine) -> None:
    """Sizes and counters are whole numbers of 64 bits."""
    with store.transaction() as tx:
        tx.execute("UPDATE counters SET value = :value", value=2**63 - 1)
        assert tx.one("SELECT value FROM counters") == {"value": 2**63 - 1}


def test_closed_store_opens_anew(store: Engine) -> None:
    """Closing twice does nothing, and a closed store opens anew at its next use."""
    store.close()
    store.close()
    with store.reading() as tx:
        assert vms.conditions(tx) == {}


def test_transaction_that_asks_again_sees_what_it_wrote(store: Engine, clock: FakeClock) -> None:
    """An answer is kept only until a row of its table is written, by whatever statement; so in each block."""
    for turn in range(2):
        with store.transaction() as tx:
            for vm in ("vm-1", "vm-2"):
                vms.mark_clean(tx, vm=vm, now=clock.now())
                assert vms.condition(tx, vm=vm) == "clean"
            vms.mark_dirty(tx, vm="vm-1", reason="", now=clock.now())
            assert [vms.condition(tx, vm=vm) for vm in ("vm-1", "vm-2")] == ["dirty", "clean"]
            assert [vms.next_fence(tx), vms.next_fence(tx)] == [2 * turn + 1, 2 * turn + 2]
            tx.execute("\n  DELETE FROM vm_conditions WHERE vm = :vm", vm="vm-1")
            assert tx.one("SELECT vm FROM vm_conditions WHERE vm = :vm", vm="vm-1") is None
