"""The audit chain: every change is in it, and nobody alters it unseen."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from vmm_automation.errors import ArtifactInvalid, AuditBroken, Conflict, NotFound, UsageError
from vmm_automation.operations import audit_log, watcher
from vmm_automation.state import audit, schema
from vmm_automation.state.audit import Author
from vmm_automation.state.audit_chain import hash_of
from vmm_automation.state.sqlite import SqliteStore
from vmm_automation.state.store import Engine

from ..fake_clock import FakeClock

ENTRIES = 9


def write(store: Engine, clock: FakeClock, *, count: int = ENTRIES, result: Any = None) -> None:
    with store.transaction() as tx:
        for number in range(count):
            audit.append(
                tx,
                author=Author("ann", "cli"),
                action="vm.start",
                object_name=f"vm-{number}",
                result=result or {"status": "ok", "é": number},
                now=clock.advance(seconds=-1),
                before={"number": number},
            )


@pytest.fixture
def chain(store: Engine, clock: FakeClock) -> Engine:
    """A state with nine entries, written while the clock went back."""
    write(store, clock)
    return store


def alter(store: Engine, *statements: str) -> None:
    with store.transaction() as tx:
        for statement in statements:
            tx.execute(statement)


def findings(store: Engine, **more: Any) -> list[tuple[int, str]]:
    with pytest.raises(AuditBroken) as caught:
        audit_log.verify(store, **more)
    assert caught.value.exit_code == 9
    return [(found["seq"], found["kind"]) for found in caught.value.details["findings"]]


def test_entry_has_all_that_is_asked_of_it(chain: Engine) -> None:
    """Number, time, actor, from where, action, object, digests, result, the hash before and its own."""
    first, second = audit_log.read(chain)["events"][:2]
    assert first["previous"] == "0" * 64
    assert second["previous"] == first["hash"] == hash_of(first)
    assert first["from"] == {"host": os.uname().nodename, "pid": os.getpid(), "door": "cli"}
    assert (first["actor"], first["action"], first["object"]) == ("ann", "vm.start", "vm-0")
    assert (len(first["before"]), first["after"], first["result"]) == (64, "", {"status": "ok", "é": 0})


def test_untouched_chain_is_valid(chain: Engine) -> None:
    """All entries are counted; any hash of the chain is an anchor."""
    events = audit_log.read(chain)["events"]
    found = audit_log.verify(chain, anchor=events[3]["hash"])
    assert (found["valid"], found["events"], found["head"]["hash"]) == (True, ENTRIES, events[-1]["hash"])


def test_empty_chain_is_valid(store: Engine) -> None:
    """Nothing was done, nothing is wrong; and what should have been done is missed."""
    assert audit_log.verify(store)["valid"]
    assert findings(store, anchor="1" * 64) == [(0, "unanchored")]


@pytest.mark.parametrize("column", ["at", "actor", "origin", "action", "object", "result", "before_digest"])
def test_edited_entry_is_found(chain: Engine, column: str) -> None:
    """Whatever part of an entry is changed, its number is told."""
    alter(chain, f"UPDATE audit_events SET {column} = '\"x\"' WHERE seq = 4")
    assert findings(chain) == [(4, "edited")]


def test_edited_entry_with_a_new_hash_is_found(chain: Engine) -> None:
    """Whoever also corrects the entry's hash breaks the link of the next one."""
    with chain.transaction() as tx:
        event = audit.log(tx)[3]
        event["actor"] = "eve"
        tx.execute("UPDATE audit_events SET actor = 'eve', hash = :hash WHERE seq = 4", hash=hash_of(event))
    assert findings(chain) == [(5, "relinked")]


def test_exchanged_entries_are_found(chain: Engine) -> None:
    """Two entries in each other's place are both told, with where they belong."""
    alter(
        chain,
        "UPDATE audit_events SET seq = 99 WHERE seq = 3",
        "UPDATE audit_events SET seq = 3 WHERE seq = 6",
        "UPDATE audit_events SET seq = 6 WHERE seq = 99",
    )
    assert [found for found in findings(chain) if found[1] == "reordered"] == [
        (3, "reordered"),
        (6, "reordered"),
    ]


def test_entry_removed_in_the_middle_is_found(chain: Engine) -> None:
    """The gap has a number; so has one that was closed by counting anew."""
    alter(chain, "DELETE FROM audit_events WHERE seq IN (4, 5)")
    assert findings(chain) == [(4, "missing")]
    alter(chain, "UPDATE audit_events SET seq = seq - 2 WHERE seq > 5")
    assert findings(chain)[0][0] == 4


def test_entries_cut_off_at_the_end_are_found(chain: Engine) -> None:
    """By the end noted apart; where that was put back too, by a hash that was told to somebody before."""
    known = audit_log.read(chain)["head"]["hash"]
    alter(chain, "DELETE FROM audit_events WHERE seq > 6")
    assert findings(chain) == [(7, "truncated")]
    last = audit_log.read(chain, limit=1)["events"][0]
    alter(chain, f"UPDATE audit_head SET seq = 6, hash = '{last['hash']}'")
    assert audit_log.verify(chain)["valid"]
    assert findings(chain, anchor=known) == [(6, "unanchored")]


def test_chain_written_anew_is_found_by_an_anchor_only(chain: Engine, clock: FakeClock) -> None:
    """A forger with the state can make another consistent chain, but not one with a hash that was told."""
    known = audit_log.read(chain)["head"]["hash"]
    reset = f"UPDATE audit_head SET seq = 0, hash = '{'0' * 64}'"
    alter(chain, "DELETE FROM audit_events", reset)
    write(chain, clock, result={"status": "forged"})
    assert audit_log.verify(chain)["valid"]
    assert findings(chain, anchor=known) == [(ENTRIES, "unanchored")]


def test_anchor_that_is_no_hash_is_refused(chain: Engine) -> None:
    """A slip of the hand is not called a broken chain."""
    for wrong in ("x", "A" * 64, "0" * 63):
        with pytest.raises(UsageError):
            audit_log.verify(chain, anchor=wrong)


def test_transaction_that_is_undone_leaves_no_entry(chain: Engine, clock: FakeClock) -> None:
    """Change and entry are kept both or neither, and the next entry has the next number."""
    with pytest.raises(ZeroDivisionError), chain.transaction() as tx:
        audit.append(tx, author=Author("ann"), action="a", object_name="o", result={}, now=clock.now())
        raise ZeroDivisionError
    write(chain, clock, count=1)
    assert audit_log.verify(chain)["events"] == ENTRIES + 1


def test_secrets_are_not_kept(store: Engine, clock: FakeClock) -> None:
    """Values under names of secrets are hidden, however deep."""
    write(store, clock, count=1, result={"a": [{"api_token": "hunter2"}], "Password": "hunter2", "b": 1})
    (event,) = audit_log.read(store)["events"]
    assert event["result"] == {"a": [{"api_token": "(hidden)"}], "Password": "(hidden)", "b": 1}


def test_log_is_of_an_object_with_its_parts(live: Engine, clock: FakeClock) -> None:
    """A session's log has its Watchers; one whose name only begins like it has its own."""
    hour = timedelta(hours=1)
    watcher.assign(live, clock, session="s-1", watcher="bo", privileges=["view"], duration=hour, actor="root")
    with live.transaction() as tx:
        for name in ("s-1", "s-11", "s-1_/x"):
            audit.append(tx, author=Author("ann"), action="a", object_name=name, result={}, now=clock.now())
    found = audit_log.read(live, object_name="s-1")["events"]
    assert [event["object"] for event in found] == ["s-1/bo", "s-1"]
    assert [event["object"] for event in audit_log.read(live, limit=2)["events"]] == ["s-11", "s-1_/x"]


def test_log_of_schema_1_becomes_the_beginning_of_the_chain(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was logged before the upgrade is chained with the first entry after it, and stays readable."""
    path = tmp_path / "state.db"
    old = "INSERT INTO events (at, actor, action, object, result) VALUES ('t', 'bo', '{}', 's-1', '{{}}')"
    with monkeypatch.context() as before:
        before.setattr(schema, "VERSION", 1)
        before.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
        with SqliteStore.open(path) as store:
            alter(store, old.format("first"), old.format("second"))
    with SqliteStore.open(path) as store:
        assert audit_log.verify(store)["events"] == 0
        write(store, clock, count=2)
        assert audit_log.verify(store)["events"] == 4
        events = audit_log.read(store)["events"]
    assert [event["action"] for event in events] == ["first", "second", "vm.start", "vm.start"]
    assert events[0]["from"] == {"door": "schema 1"}


def test_export_is_verified_without_the_state(chain: Engine, tmp_path: Path) -> None:
    """The file is private, new, and says the same as the state; other files are refused."""
    path = tmp_path / "audit.jsonl"
    done = audit_log.export(chain, path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert audit_log.verify_file(path) == audit_log.verify(chain)
    assert audit_log.verify_file(path, anchor=done["head"]["hash"])["valid"]
    with pytest.raises(Conflict):
        audit_log.export(chain, path)
    for missing in (tmp_path / "none" / "a", tmp_path / "nothing"):
        with pytest.raises(NotFound):
            audit_log.verify_file(missing)
    (tmp_path / "other").write_text("{}\n")
    (tmp_path / "empty").touch()
    for other in ("other", "empty"):
        with pytest.raises(ArtifactInvalid, match="no export"):
            audit_log.verify_file(tmp_path / other)


def edit(lines: list[str]) -> None:
    lines[3] = lines[3].replace('"ann"', '"eve"')


def exchange(lines: list[str]) -> None:
    lines[3], lines[5] = lines[5], lines[3]


def delete(lines: list[str]) -> None:
    del lines[4]


def cut(lines: list[str]) -> None:
    del lines[-1]


def garble(lines: list[str]) -> None:
    lines[4] = lines[4][:40]


def strip(lines: list[str]) -> None:
    lines[4] = json.dumps({key: value for key, value in json.loads(lines[4]).items() if key != "at"})


@pytest.mark.parametrize("harm", [edit, exchange, delete, cut, garble, strip])
def test_altered_export_is_refused(chain: Engine, tmp_path: Path, harm: Callable[[list[str]], None]) -> None:
    """Edited, exchanged, removed, cut off or unreadable lines: none passes."""
    path = tmp_path / "audit.jsonl"
    audit_log.export(chain, path)
    lines = path.read_text().splitlines()
    harm(lines)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(AuditBroken):
        audit_log.verify_file(path)
