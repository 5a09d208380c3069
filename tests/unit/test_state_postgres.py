"""The PostgreSQL engine against a real server: refusals with a hint, lost connections, locks, secrets."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest

from vmm_automation.errors import Conflict, DiskFull, StateUnusable, Timeout
from vmm_automation.model.state_url import parse_state_url
from vmm_automation.state import postgres, schema, vms
from vmm_automation.state.postgres import PostgresStore

from ..fake_clock import FakeClock
from ..postgres_server import PostgresServer

SECRET = "s3cr%t p@ss:/?"
QUOTED = "s3cr%25t%20p%40ss%3A%2F%3F"


@pytest.fixture
def store(postgres_server: PostgresServer) -> Iterator[PostgresStore]:
    with PostgresStore.open(postgres_server.url(postgres_server.emptied())) as opened:
        yield opened


def refusal(text: str) -> StateUnusable:
    with pytest.raises(StateUnusable) as caught:
        PostgresStore.open(parse_state_url(text))
    assert caught.value.hint
    return caught.value


def kill_all(server: PostgresServer, database: str = "state") -> None:
    server.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")


def test_server_that_is_not_there_is_told() -> None:
    """A wrong address says so within seconds, and how to look."""
    error = refusal("postgresql://vmm@127.0.0.1:1/vmm")
    assert "'postgresql://vmm@127.0.0.1:1/vmm'" in error.message
    assert error.hint == "pg_isready --dbname postgresql://vmm@127.0.0.1:1/vmm"


def test_missing_database_is_told_with_how_to_make_it(postgres_server: PostgresServer) -> None:
    """The hint makes what is missing."""
    error = refusal(postgres_server.text("nowhere"))
    assert "does not exist" in error.message
    assert error.hint == "createdb --encoding UTF8 --template template0 nowhere"


def test_unknown_option_in_the_url_is_told(postgres_server: PostgresServer) -> None:
    """A mistyped option is named."""
    assert "colour" in refusal(postgres_server.text("state") + "&colour=red").message


@pytest.mark.parametrize("password", [QUOTED, "wr0ng"])
def test_password_is_never_told(postgres_server: PostgresServer, password: str) -> None:
    """Right or wrong, it is in no message, no detail, no representation and no cause."""
    postgres_server.run("DROP ROLE IF EXISTS locked")
    postgres_server.run(f"CREATE ROLE locked LOGIN PASSWORD '{SECRET}'")
    url = postgres_server.url("state", user="locked", more=f"&password={password}")
    with pytest.raises(StateUnusable) as caught:  # the right one fails for want of rights
        PostgresStore.open(url)
    assert ("permission" if password == QUOTED else "password authentication") in caught.value.message
    assert caught.value.hint
    told = repr([caught.value.to_document(), url, caught.value.__cause__, url.location])
    assert not [word for word in (SECRET, QUOTED, "wr0ng") if word in told]


def test_database_of_another_encoding_is_refused(postgres_server: PostgresServer) -> None:
    """Names of users are not turned into question marks later."""
    postgres_server.run("DROP DATABASE IF EXISTS latin")
    postgres_server.run("CREATE DATABASE latin TEMPLATE template0 ENCODING LATIN1 LOCALE 'C'")
    assert "its encoding is not UTF8" in refusal(postgres_server.text("latin")).message
    postgres_server.drop("latin")


def test_another_programs_tables_are_left_alone(
    postgres_server: PostgresServer, postgres_database: str
) -> None:
    """Our tables are not put among somebody else's."""
    postgres_server.run("CREATE TABLE cookies (name TEXT)", database=postgres_database)
    assert "another program ('cookies')" in refusal(postgres_server.text(postgres_database)).message


def test_newer_schema_is_refused(postgres_server: PostgresServer, postgres_database: str) -> None:
    """An older program does not touch what a newer one wrote."""
    url = postgres_server.url(postgres_database)
    PostgresStore.open(url).close()
    postgres_server.run(f"UPDATE vmm_schema SET version = {schema.VERSION + 1}", database=postgres_database)
    assert "newer version" in refusal(postgres_server.text(postgres_database)).message


def test_older_schema_is_migrated_and_keeps_its_rows(
    postgres_server: PostgresServer, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new schema version is applied on opening; a migration that fails half-way changes nothing."""
    url = postgres_server.url(postgres_database)
    assert PostgresStore.version_of(url) == 0
    with PostgresStore.open(url) as opened, opened.transaction() as tx:
        tx.execute("UPDATE counters SET value = 41")
    grow = "ALTER TABLE counters ADD COLUMN colour TEXT"
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, (grow, "UPDATE no_such_table SET a = 1")))
    with pytest.raises(psycopg.errors.UndefinedTable):
        PostgresStore.open(url)
    assert PostgresStore.version_of(url) == schema.VERSION - 1
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS[:-1], (grow,)))
    with PostgresStore.open(url) as opened, opened.reading() as tx:
        assert tx.one("SELECT value, colour FROM counters") == {"value": 41, "colour": None}


def test_writer_that_waits_too_long_is_told_who_holds_it_up(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    """The message names the other program and its server process; a reader does not wait at all."""
    monkeypatch.setattr(postgres, "_BEGIN_WRITING", postgres._BEGIN_WRITING.replace("'30s'", "'100ms'"))
    with PostgresStore.open(store.url) as other, other.transaction() as tx:
        vms.mark_clean(tx, vm="vm-1", now=clock.now())
        pid = tx.one("SELECT pg_backend_pid() AS pid")
        with pytest.raises(Timeout) as caught, store.transaction():
            pass
        with store.reading() as snapshot:
            assert vms.conditions(snapshot) == {}
    assert pid == {"pid": caught.value.details["pid"]}
    assert "'vmm, process " in caught.value.message
    with store.transaction() as tx:
        assert list(vms.conditions(tx)) == ["vm-1"]


def test_writer_sees_what_it_waited_for(store: PostgresStore) -> None:
    """A transaction that began while another was the writer reads what that one committed."""
    waiting, seen = threading.Event(), []

    def second() -> None:
        waiting.set()
        with store.transaction() as tx:
            seen.append(vms.next_fence(tx))

    with store.transaction() as tx:
        thread = threading.Thread(target=second)
        thread.start()
        waiting.wait()
        assert vms.next_fence(tx) == 1
        thread.join(timeout=0.2)
        assert thread.is_alive()
    thread.join()
    assert seen == [2]


def test_connection_lost_inside_a_transaction_keeps_nothing(
    store: PostgresStore, postgres_server: PostgresServer, clock: FakeClock
) -> None:
    """It is told, what was written is gone, and the next transaction connects anew."""
    with pytest.raises(StateUnusable), store.transaction() as tx:
        vms.mark_clean(tx, vm="vm-1", now=clock.now())
        kill_all(postgres_server)
        vms.mark_clean(tx, vm="vm-2", now=clock.now())
    with store.transaction() as tx:
        assert vms.conditions(tx) == {}


def test_connection_lost_before_the_commit_is_told(
    store: PostgresStore, postgres_server: PostgresServer, clock: FakeClock
) -> None:
    """Nobody is told that something was kept which was not."""
    with pytest.raises(StateUnusable), store.transaction() as tx:
        vms.mark_clean(tx, vm="vm-1", now=clock.now())
        kill_all(postgres_server)


def test_connection_lost_between_transactions_is_not_noticed(
    store: PostgresStore, postgres_server: PostgresServer
) -> None:
    """A restart of the server while nothing was under way costs nothing."""
    with store.reading():
        pass
    kill_all(postgres_server)
    with store.transaction() as tx:
        assert vms.next_fence(tx) == 1


def test_process_that_hangs_inside_a_transaction_lets_go(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends a writer that does nothing for a minute, so that others are not held up for ever."""
    monkeypatch.setattr(postgres, "_BEGIN_WRITING", postgres._BEGIN_WRITING.replace("'60s'", "'100ms'"))
    with pytest.raises(StateUnusable, match="did nothing for a minute"), store.transaction() as tx:
        vms.next_fence(tx)
        threading.Event().wait(0.5)
        vms.next_fence(tx)
    with store.transaction() as tx:
        assert vms.next_fence(tx) == 1


def test_failed_statement_that_was_caught_does_not_commit_silently(store: PostgresStore) -> None:
    """PostgreSQL answers such a commit with a roll-back; whoever asked for it hears of that."""
    with pytest.raises(RuntimeError, match="could not be kept"), store.transaction() as tx:
        vms.next_fence(tx)
        with pytest.raises(psycopg.errors.UndefinedTable):
            tx.execute("UPDATE no_such_table SET a = 1")
    with store.transaction() as tx:
        assert vms.next_fence(tx) == 1


def test_full_disk_of_the_server_is_told_and_loses_nothing(
    postgres_server: PostgresServer, postgres_database: str
) -> None:
    """The server's own report of a full disk is DiskFull, and undoes the transaction."""
    full = "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
    full += " $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$"
    with PostgresStore.open(postgres_server.url(postgres_database)) as own:
        postgres_server.run(full, database=postgres_database)
        trigger = "CREATE TRIGGER full_disk BEFORE UPDATE ON vm_conditions EXECUTE FUNCTION full_disk()"
        postgres_server.run(trigger, database=postgres_database)
        with pytest.raises(DiskFull), own.transaction() as tx:
            vms.next_fence(tx)
            tx.execute("UPDATE vm_conditions SET fence = 1")
        with own.transaction() as tx:
            assert vms.next_fence(tx) == 1


def test_nul_in_a_text_does_not_stop_the_state(store: PostgresStore, clock: FakeClock) -> None:
    """A garbled reason is stored with the one character replaced that PostgreSQL cannot hold."""
    with store.transaction() as tx:
        vms.mark_dirty(tx, vm="vm-1", reason="a\0b", now=clock.now())
        assert tx.one("SELECT reason FROM vm_conditions") == {"reason": "a\N{REPLACEMENT CHARACTER}b"}


def test_server_that_may_lose_commits_is_a_problem(
    postgres_server: PostgresServer, postgres_database: str
) -> None:
    """A state is as safe as its server: the check says when that is not very."""
    url = postgres_server.url(postgres_database)
    with PostgresStore.open(url) as own:
        assert own.problems() == []
    postgres_server.run(f"ALTER DATABASE {postgres_database} SET synchronous_commit = off")
    with PostgresStore.open(url) as own:
        (problem,) = own.problems()
    assert "'synchronous_commit' is off" in problem


def test_database_belongs_to_one_site(postgres_server: PostgresServer, postgres_database: str) -> None:
    """The first site that works with it keeps it: another one's VMs of the same names are not mixed in."""
    url = postgres_server.url(postgres_database)
    with PostgresStore.open(url) as one, PostgresStore.open(url) as other:
        one.reserve_for("north")
        one.reserve_for("north")
        with pytest.raises(Conflict, match="that of site 'north', not of 'south'"):
            other.reserve_for("south")


def test_two_states_in_one_database_do_not_wait_for_each_other(
    postgres_server: PostgresServer, postgres_database: str
) -> None:
    """A schema of its own, chosen by search_path, is a state of its own."""
    stores = []
    for name in ("one", "two"):
        postgres_server.run(f"CREATE SCHEMA {name}", database=postgres_database)
        more = f"&options=-csearch_path%3D{name}"
        stores.append(PostgresStore.open(postgres_server.url(postgres_database, more=more)))
    one, two = stores
    with one.transaction() as tx, two.transaction() as other:
        assert (vms.next_fence(tx), vms.next_fence(tx), vms.next_fence(other)) == (1, 2, 1)
    for store in stores:
        store.close()
    assert (
        "search_path"
        in refusal(postgres_server.text(postgres_database) + "&options=-csearch_path%3Dnowhere").message
    )
