"""A real PostgreSQL server of the test run's own: an ordinary user's, on a Unix socket, ended with it."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from vmm_automation.model.state_url import StateUrl, parse_state_url
from vmm_automation.state import schema
from vmm_automation.state.postgres import PostgresStore
from vmm_automation.state.tables import tables

_START_S = 60
_PROGRAMS = ("initdb", "postgres")
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "on",
    "max_connections": "100",
    "shared_buffers": "16MB",
    "dynamic_shared_memory_type": "mmap",
    "unix_socket_permissions": "0700",
    "log_min_messages": "fatal",
}
#: `locked` has a password, `trusted` none; the rest of the world is not let in
_ACCESS = "local all locked scram-sha-256\nlocal all all trust\n"


class PostgresServer:
    """A running server. Tests that only write rows share the database ``state``, one after another."""

    def __init__(self, directory: Path, command: list[str]) -> None:
        self.directory, self._command = directory, command
        self._numbers = itertools.count()
        self.start()

    def start(self) -> None:
        """Start it on what is there, and wait until it answers."""
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/"
            )
        _wait_until_it_answers(self)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it. SIGINT: "fast", ends connections, writes everything; SIGTERM: "smart", waits until all have
        left; SIGQUIT: "immediate", as if the machine had crashed. No change if it has ended.
        """
        self.process.send_signal(how)
        self.process.wait(timeout=_START_S)

    def url(self, database: str, *, user: str = "vmm", more: str = "") -> StateUrl:
        """How to reach a database."""
        return parse_state_url(f"postgresql:///{database}?host={self.directory}&user={user}{more}")

    def text(self, database: str, *, user: str = "vmm") -> str:
        """The same, as an operator writes it."""
        return f"postgresql://{user}@/{database}?host={self.directory}"

    def run(self, statement: str, *, database: str = "postgres") -> None:
        """Run a statement as the server's owner."""
        with psycopg.connect(dbname=database, host=str(self.directory), user="vmm", autocommit=True) as owner:
            owner.execute(statement.encode())

    def new_database(self) -> str:
        """Create an empty database: a quarter of a second, most of it for the disk."""
        name = f"test_{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE template0")
        return name

    def emptied(self) -> str:
        """The database ``state``, as if it had just been made; a hundred times quicker than to make one."""
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'state'"
        self.run(f"{others} AND pid <> pg_backend_pid()")
        with PostgresStore.open(self.url("state")) as store, store.transaction() as tx:
            tx.execute("UPDATE vmm_schema SET site = ''")
            for table in reversed(tables()):
                tx.execute(f"DELETE FROM {table.name}")
                if table.numbered:
                    tx.continue_numbering(table=table.name, column=table.numbered)
            for statement in (statement for part in schema.MIGRATIONS for statement in part):
                if statement.startswith("INSERT") and " SELECT " not in statement:
                    tx.define(statement)
        return "state"

    def drop(self, database: str) -> None:
        """Delete a database, whoever is connected."""
        self.run(f"DROP DATABASE {database} WITH (FORCE)")


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """Start a server and end it."""
    programs = server_programs()
    directory = Path(tempfile.mkdtemp(prefix="vmm-postgres-"))  # short: the path of a socket is limited
    user = _ordinary_user()
    os.chown(directory, user.pw_uid, user.pw_gid)
    base = directory / "base"
    try:
        made = ["-U", "vmm", "-E", "UTF8", "--locale=C.UTF-8", "-A", "trust", "--no-sync"]
        _as(user, [programs / "initdb", "-D", base, *made])
        (base / "pg_hba.conf").write_text(_ACCESS)
        settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        command = _words(user, [programs / "postgres", "-D", base, "-k", directory, *settings])
        server = PostgresServer(directory, command)
        try:
            server.run("CREATE DATABASE state TEMPLATE template0")
            PostgresStore.open(server.url("state")).close()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory)


def server_programs() -> Path:
    """Where initdb and postgres are."""
    found = [Path(path) for path in (os.environ.get("VMM_POSTGRES_BIN"),) if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))[::-1]
    if on_path := shutil.which("postgres"):
        found.append(Path(on_path).parent)
    for directory in found:
        if all((directory / program).is_file() for program in _PROGRAMS):
            return directory
    pytest.fail(
        "The tests of the PostgreSQL engine need its server: run 'scripts/setup --test', or"
        " 'apt-get install postgresql', or set VMM_POSTGRES_BIN",
        pytrace=False,
    )


def _ordinary_user() -> pwd.struct_passwd:
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid())
    names = {user.pw_name: user for user in pwd.getpwall()}
    return names.get("postgres") or names["nobody"]  # PostgreSQL refuses to run as root


def _words(user: pwd.struct_passwd, words: list[str | Path]) -> list[str]:
    # ended with this process, whatever ends that
    dropped = [] if os.geteuid() else [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return ["setpriv", "--pdeathsig", "INT", *dropped, "--", *map(str, words)]


def _as(user: pwd.struct_passwd, words: list[str | Path]) -> None:
    done = subprocess.run(_words(user, words), capture_output=True, check=False, text=True, cwd="/")
    assert done.returncode == 0, done.stderr


def _wait_until_it_answers(server: PostgresServer) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            return server.run("SELECT 1")
        except psycopg.OperationalError:
            log = (server.directory / "log").read_text()
            assert server.process.poll() is None, log
            assert time.monotonic() < deadline, log
            time.sleep(0.05)
