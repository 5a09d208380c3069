"""The state file: private, durable, and refused with a hint where it cannot be trusted."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmm_automation.errors import DiskFull, StateUnusable, VmmError
from vmm_automation.state import schema, vms
from vmm_automation.state.sqlite import SqliteStore

from ..fake_clock import FakeClock


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with SqliteStore.open(tmp_path / "home" / "state.db") as opened:
        yield opened


def refusal(path: Path) -> VmmError:
    with pytest.raises(StateUnusable) as caught:
        SqliteStore.open(path)
    assert str(path) in caught.value.message or str(path.parent) in caught.value.message
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_missing_file_is_created_private(tmp_path: Path, umask: int) -> None:
    """Whatever the umask, the file is 0600 in a 0711 directory, and so are those that are added to it."""
    before = os.umask(umask)
    try:
        path = tmp_path / "home" / "state.db"
        with SqliteStore.open(path) as store, store.transaction() as tx:
            tx.execute("UPDATE counters SET value = value + 1")
            modes = {found.name: found.stat().st_mode & 0o777 for found in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert path.parent.stat().st_mode & 0o777 == 0o711
    assert modes == dict.fromkeys(("state.db", "state.db-wal", "state.db-shm", "state.db-turn"), 0o600)


def test_missing_file_opened_for_reading_is_empty(store: SqliteStore) -> None:
    """A listing on a new controller says that there is nothing, it does not fail."""
    with store.reading() as tx:
        assert vms.conditions(tx) == {}


def test_durability_settings_are_on(store: SqliteStore) -> None:
    """Write-ahead log, full sync and foreign keys hold on every connection."""
    with store.reading() as tx:
        found = [tx.one(f"PRAGMA {name}") for name in ("journal_mode", "synchronous", "foreign_keys")]
        timeout = tx.one("PRAGMA busy_timeout")
    assert [next(iter(row.values())) for row in found if row] == ["wal", 2, 1]
    assert timeout == {"timeout": 30_000}


def test_modes_too_open_are_mended(tmp_path: Path) -> None:
    """A file that others may read, or a directory that they may write to, is closed to them on opening."""
    path = tmp_path / "home" / "state.db"
    SqliteStore.open(path).close()
    path.chmod(0o644)
    path.parent.chmod(0o777)
    SqliteStore.open(path).close()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o022 == 0


def test_directory_shared_with_others_is_refused(tmp_path: Path) -> None:
    """State is not kept in a directory like /tmp, and its mode is not touched."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    assert "other users may write" in refusal(shared / "state.db").message
    assert shared.stat().st_mode & 0o7777 == 0o1777


def test_symlinked_state_file_is_refused(tmp_path: Path) -> None:
    """Nobody can make us write through a link."""
    elsewhere = tmp_path / "elsewhere.db"
    SqliteStore.open(elsewhere).close()
    link = tmp_path / "home" / "state.db"
    link.parent.mkdir()
    link.symlink_to(elsewhere)
    assert "symlink" in refusal(link).message


def test_directory_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    """What is not a regular file is not opened."""
    (tmp_path / "state.db").mkdir()
    assert "not a regular file" in refusal(tmp_path / "state.db").message


def test_file_in_the_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    """An impossible place is told, not traced back."""
    (tmp_path / "home").touch()
    refusal(tmp_path / "home" / "state.db")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_file_of_another_owner_is_refused(tmp_path: Path) -> None:
    """Root does not leave files beside a user's state that the user cannot open."""
    path = tmp_path / "state.db"
    SqliteStore.open(path).close()
    os.chown(path, 65534, 65534)
    error = refusal(path)
    assert "belongs to user" in error.message
    assert error.hint.startswith("sudo -u ")


def test_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """Garbage is called damaged, and left as it is."""
    path = tmp_path / "state.db"
    path.write_bytes(b"not a database at all, just some text\n" * 100)
    before = path.read_bytes()
    assert "damaged" in refusal(path).message
    assert path.read_bytes() == before


def test_damaged_pages_are_told_at_use(tmp_path: Path, clock: FakeClock) -> None:
    """Damage behind an intact first page is StateUnusable where it is met."""
    path = tmp_path / "state.db"
    with SqliteStore.open(path) as store, store.transaction() as tx:
        for number in range(5000):
            vms.mark_clean(tx, vm=f"vm-{number}", now=clock.now())
    content = bytearray(path.read_bytes())
    half = len(content) // 2  # the schema and the roots of the tables come first
    content[half:] = b"\xff" * (len(content) - half)
    path.write_bytes(content)
    with (
        SqliteStore.open(path) as store,
        store.reading() as tx,
        pytest.raises(StateUnusable, match="damaged"),
    ):
        vms.conditions(tx)


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    """Our tables are not put into somebody else's SQLite file."""
    path = tmp_path / "state.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE cookies (name TEXT)")
    other.close()
    assert "another program" in refusal(path).message


def test_newer_schema_is_refused(tmp_path: Path) -> None:
    """An older program does not touch what a newer one wrote."""
    path = tmp_path / "state.db"
    SqliteStore.open(path).close()
    newer = sqlite3.connect(path)
    newer.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    newer.close()
    assert "written by a newer version" in refusal(path).message


def test_older_schema_is_migrated_and_keeps_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new schema version is applied on opening; a migration that fails half-way changes nothing."""
    path = tmp_path / "state.db"
    with SqliteStore.open(path) as store, store.transaction() as tx:
        tx.execute("UPDATE counters SET value = 41")
    grow = "ALTER TABLE counters ADD COLUMN colour TEXT"
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, (grow, "UPDATE no_such_table SET a = 1")))
    with pytest.raises(sqlite3.OperationalError):
        SqliteStore.open(path)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS[:-1], (grow,)))
    with SqliteStore.open(path) as store, store.reading() as tx:
        assert tx.one("SELECT value, colour FROM counters") == {"value": 41, "colour": None}


def test_full_disk_is_told_and_loses_nothing(store: SqliteStore, clock: FakeClock) -> None:
    """Running out of space is DiskFull, undoes the transaction, and the state goes on working."""
    with pytest.raises(DiskFull), store.transaction() as tx:
        tx.execute("PRAGMA max_page_count = 1")  # SQLite takes it as: no more pages than now
        for number in range(100):
            vms.mark_clean(tx, vm=f"vm-{number}", reason="x" * 4000, now=clock.now())
    with store.transaction() as tx:
        assert vms.conditions(tx) == {}
        tx.execute("PRAGMA max_page_count = 100000")
        vms.mark_clean(tx, vm="vm-1", now=clock.now())
