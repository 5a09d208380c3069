"""Export, import and backup: the same state, byte for byte, on whatever engine, or nothing at all."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmm_automation.errors import Conflict, UsageError, VmmError
from vmm_automation.operations.state_check import check_state
from vmm_automation.operations.state_transfer import back_up, export_state, import_state
from vmm_automation.state import schema, sessions, transfer, vms
from vmm_automation.state.sqlite import SqliteStore
from vmm_automation.state.store import Engine
from vmm_automation.state.tables import tables

from ..fake_clock import FakeClock
from ..postgres_server import PostgresServer
from ..real_state import RealState
from .filled_state import events_after, fill, last_event


@pytest.fixture
def used(store: Engine, clock: FakeClock) -> Engine:
    """A state with rows in every table."""
    fill(store, clock)
    return store


@pytest.fixture
def other(real_state: RealState, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An empty state of the engine that ``store`` is not."""
    if real_state.url:
        elsewhere = RealState(tmp_path / "other")
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        elsewhere = RealState(tmp_path / "other", server.text(server.emptied()))
    with elsewhere.open() as opened:
        yield opened


def test_round_trip_over_both_engines_is_the_same_byte_for_byte(
    used: Engine, other: Engine, tmp_path: Path, clock: FakeClock
) -> None:
    """A to B to A: three equal files, and the same fences, numbers and history go on after them."""
    files = [tmp_path / f"{number}.jsonl" for number in range(3)]
    exported = export_state(used, path=files[0])
    assert exported["rows"] > 200
    imported = import_state(other, path=files[0])
    assert (imported["sha256"], imported["engine"]) == (exported["sha256"], other.name)
    export_state(other, path=files[1])
    with SqliteStore.open(tmp_path / "back" / "state.db") as back:
        import_state(back, path=files[1])
        export_state(back, path=files[2])
    assert files[0].read_bytes() == files[1].read_bytes() == files[2].read_bytes()
    assert check_state(other)["problems"] == []
    with used.transaction(keep=False) as tx, other.transaction(keep=False) as same:
        assert vms.next_fence(tx) == vms.next_fence(same)
        assert sessions.list_sessions(tx) == sessions.list_sessions(same)
        last = last_event(same)
    assert events_after(other, clock) == last + 1


def test_export_holds_every_table_and_is_private(used: Engine, tmp_path: Path) -> None:
    """Nothing is left out, and nobody else may read it."""
    path = tmp_path / "state.jsonl"
    before = os.umask(0)
    try:
        export_state(used, path=path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert list(dict.fromkeys(line["table"] for line in lines[1:-1])) == [table.name for table in tables()]
    assert lines[0]["schema"] == schema.VERSION
    assert sorted(found.name for found in tmp_path.iterdir() if found.name.startswith(".")) == []


def test_existing_file_is_not_overwritten(used: Engine, tmp_path: Path) -> None:
    """An export never costs the one before it, nor follows a link."""
    path = tmp_path / "state.jsonl"
    path.write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for taken in (path, tmp_path / "link"):
        for save in (export_state, back_up):
            with pytest.raises(Conflict, match="exists already"):
                save(used, path=taken)
    assert path.read_text() == "precious"


def test_file_that_cannot_be_created_is_told(used: Engine, tmp_path: Path) -> None:
    """A directory that is not there is the user's to correct."""
    with pytest.raises(UsageError, match="No such file"):
        export_state(used, path=tmp_path / "missing" / "state.jsonl")


def test_export_of_an_older_version_is_brought_up(
    store: Engine, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup outlives the schema it was made with."""
    path = tmp_path / "state.jsonl"
    with SqliteStore.open(tmp_path / "from" / "state.db") as source:
        fill(source, clock)
        export_state(source, path=path)
    grow = "ALTER TABLE events ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'"
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, (grow,)))
    with store.transaction(keep=False) as tx:
        tx.define(grow)  # what opening it with this version would have done
        transfer.replace_all(tx, transfer.examine(path))
        row = tx.one("SELECT COUNT(*) AS n, MIN(colour) AS colour FROM events")
    assert row is not None
    assert row["n"] > 200
    assert row["colour"] == "red"


def test_state_that_is_in_use_is_not_overwritten(used: Engine, tmp_path: Path) -> None:
    """Importing over rows, even one's own, is refused, and they are still there."""
    path = tmp_path / "state.jsonl"
    sha256 = export_state(used, path=path)["sha256"]
    with pytest.raises(Conflict, match="not empty"):
        import_state(used, path=path)
    assert export_state(used, path=tmp_path / "after.jsonl")["sha256"] == sha256


def test_import_in_check_mode_tells_and_keeps_nothing(used: Engine, other: Engine, tmp_path: Path) -> None:
    """A dry run takes the real path up to the commit."""
    path = tmp_path / "state.jsonl"
    export_state(used, path=path)
    assert import_state(other, path=path, check=True)["rows"] > 200
    with other.reading() as tx:
        assert sessions.list_sessions(tx) == []
    import_state(other, path=path)


def test_backup_during_a_transaction_has_what_was_committed(
    used: Engine, real_state: RealState, clock: FakeClock, tmp_path: Path
) -> None:
    """A backup waits for nobody, holds nobody up, and has nothing half done in it; it is a whole state."""
    path = tmp_path / "backup"
    with real_state.open() as second, second.transaction() as tx:
        vms.mark_clean(tx, vm="half-done", now=clock.now())
        made = back_up(used, path=path)
    assert path.stat().st_mode & 0o777 == 0o600
    restored = tmp_path / "restored" / "state.db"
    with SqliteStore.open(restored) as store:
        if made["form"] == "export":
            import_state(store, path=path)
        else:
            store.close()
            restored.write_bytes(path.read_bytes())
            for beside in ("state.db-wal", "state.db-shm"):
                (restored.parent / beside).unlink(missing_ok=True)
        assert check_state(store)["problems"] == []
        with store.reading() as snapshot, used.reading() as tx:
            assert sessions.list_sessions(snapshot) == sessions.list_sessions(tx)
            assert "half-done" not in vms.conditions(snapshot)


def test_backup_of_a_damaged_file_fails(tmp_path: Path, clock: FakeClock) -> None:
    """A backup that could not be restored is not called one."""
    path = tmp_path / "home" / "state.db"
    with SqliteStore.open(path) as store, store.transaction() as tx:
        for number in range(5000):
            vms.mark_clean(tx, vm=f"vm-{number}", now=clock.now())
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = b"\xff" * (len(content) - len(content) // 2)
    path.write_bytes(content)
    with SqliteStore.open(path) as store, pytest.raises(VmmError, match="damaged"):
        back_up(store, path=tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


def test_tables_are_those_of_the_schema(tmp_path: Path) -> None:
    """Names and keys read from the statements are what SQLite made of them; a table has a key."""
    SqliteStore.open(tmp_path / "state.db").close()
    connection = sqlite3.connect(tmp_path / "state.db")
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert names - {"sqlite_sequence"} == {table.name for table in tables()}
    for table in tables():
        columns = connection.execute(f"PRAGMA table_info({table.name})").fetchall()
        key = sorted((column[5], column[1]) for column in columns if column[5])
        assert table.key == tuple(name for _, name in key) != ()
    assert {table.name for table in tables() if table.numbered} == {"grant_history", "events"}
    connection.close()
