"""What a UA brings for its data, run in a guest of namespaces: frozen captures, dumps, converters."""

from __future__ import annotations

import os
import sqlite3
import tarfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vmm_automation.errors import TaskFailed
from vmm_automation.images.borg import BorgStore
from vmm_automation.model.image import Manifest
from vmm_automation.model.ua import CaptureRules, Converter, Hook, UaDefinition, UserData
from vmm_automation.operations.user_image import clean, deploy
from vmm_automation.operations.user_image_hooks import run_hooks
from vmm_automation.operations.user_image_scripts import SessionAccount, capture_script

from ..postgres_server import server_programs
from .local_guest import UA, LocalGuest, captured, leftovers

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces with accounts need root")

# Each row is committed before its number is written to the log: what the log has, the database must have.
_WRITER = """
import os, sqlite3
os.makedirs(".config/notes", exist_ok=True)
db = sqlite3.connect(".config/notes/db", isolation_level=None)
db.execute("PRAGMA journal_mode=wal")
db.execute("CREATE TABLE rows (n INTEGER PRIMARY KEY, filling BLOB)")
log = open(".config/notes/log", "w")
n = 0
while True:
    n += 1
    db.execute("INSERT INTO rows VALUES (?, randomblob(2000))", (n,))
    log.write(f"{n}\\n")
    log.flush()
"""

_SERVER = """
PATH={programs}:$PATH
export HOME=$PWD PGDATA=$PWD/.config/notes/data PGHOST=/tmp PGUSER=session PGDATABASE=postgres
case $1 in
    begin)
        mkdir -p .config/notes
        initdb --username=session --auth=trust --no-instructions >/dev/null
        echo "listen_addresses=''" >>$PGDATA/postgresql.conf
        echo "unix_socket_directories='/tmp'" >>$PGDATA/postgresql.conf
        pg_ctl -w -l .config/notes/server start >/dev/null
        psql -qc "CREATE TABLE rows (n INTEGER PRIMARY KEY, filling TEXT)"
        ;;
    write)
        n=0
        while n=$((n + 1)); psql -qc "INSERT INTO rows VALUES ($n, repeat('x', 3000))"; do
            echo $n >>.config/notes/log
        done
        ;;
    count)
        pg_ctl -w -l .config/notes/server start >/dev/null
        psql -Atqc "SELECT count(*) || ' ' || max(n) FROM rows" >rows
        pg_ctl -w -m fast stop >/dev/null
        ;;
esac
"""


def hooked(**hooks: Any) -> UaDefinition:
    return replace(UA, capture=CaptureRules(**hooks))


def shell(text: str, *, deadline_s: int = 10) -> Hook:
    return Hook(("sh", "-c", text), deadline_s)


def read_back(
    guest: LocalGuest, store: BorgStore, tmp_path: Path, *, ua: UaDefinition = UA, number: int = 1
) -> tuple[Manifest, Path]:
    """Captured, and its tar as the store has it."""
    manifest, archive = captured(guest, store, tmp_path, ua=ua, number=number)
    return manifest, store.read(archive, into=tmp_path / "out")[0]


def write_rows(guest: LocalGuest) -> None:
    guest.outside("/home/session/writer.py").write_text(_WRITER)
    guest.in_background("python3 writer.py")
    log = guest.outside("/home/session/.config/notes/log")
    while not log.exists() or log.stat().st_size < 500:
        time.sleep(0.05)


def grows(file: Path) -> bool:
    before = file.stat().st_size
    for _ in range(100):
        time.sleep(0.1)
        if file.stat().st_size > before:
            return True
    return False


def test_database_under_write_load_is_captured_whole(
    guest: LocalGuest, store: BorgStore, tmp_path: Path
) -> None:
    """SQLite in WAL mode, row after row: three captures are frozen and whole, and miss no committed row."""
    write_rows(guest)
    for number in (1, 2, 3):
        manifest, tar = read_back(guest, store, tmp_path, number=number)
        assert manifest.consistency == "frozen"
        with tarfile.open(tar) as archive:
            archive.extractall(tmp_path / str(number), filter="data")
        with sqlite3.connect(tmp_path / f"{number}/.config/notes/db") as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            (rows,) = database.execute("SELECT max(n) FROM rows").fetchone()
            assert database.execute("SELECT count(*) FROM rows").fetchone() == (rows,)
        logged = (tmp_path / f"{number}/.config/notes/log").read_text().splitlines()
        assert rows >= int(logged[-1]) > 0
        assert grows(guest.outside("/home/session/.config/notes/log"))
    assert leftovers(guest, tmp_path) == []


def test_server_under_write_load_is_captured_whole(
    guest: LocalGuest, store: BorgStore, tmp_path: Path
) -> None:
    """PostgreSQL, row after row: deployed again, it starts and has every row that it had told of."""
    ua = replace(UA, user_data=UserData(settings=(".config/notes",), exclude=("postmaster.pid",)))
    guest.outside("/home/session/server.sh").write_text(_SERVER.format(programs=server_programs()))
    guest.as_session("sh server.sh begin")
    guest.in_background("sh server.sh write")
    log = guest.outside("/home/session/.config/notes/log")
    while not log.exists() or log.stat().st_size < 100:
        time.sleep(0.05)
    manifest, tar = read_back(guest, store, tmp_path, ua=ua)
    assert manifest.consistency == "frozen"
    assert grows(log)
    clean(guest)
    deploy(guest, tar=tar, manifest=manifest, ua=ua, session="s-2")
    guest.outside("/home/session/server.sh").write_text(_SERVER.format(programs=server_programs()))
    guest.as_session("sh server.sh count")
    count, newest = guest.outside("/home/session/rows").read_text().split()
    assert int(count) == int(newest) >= int(log.read_text().split()[-1]) > 0


def test_processes_that_stand_still_too_long_go_on_and_the_capture_is_live(
    guest: LocalGuest, store: BorgStore, tmp_path: Path
) -> None:
    """More to read than fits into the time of a freeze: the UA goes on in time, and the grade says so."""
    guest.as_session("mkdir -p .config/notes; head -c 200000000 /dev/zero >.config/notes/large")
    write_rows(guest)
    manifest, _ = captured(guest, store, tmp_path, ua=hooked(freeze_s=0.1))
    assert manifest.consistency == "live"
    assert grows(guest.outside("/home/session/.config/notes/log"))


def test_script_that_is_killed_leaves_nothing_standing_still(guest: LocalGuest) -> None:
    """Kill -9 of the script in the guest while all stands still: the UA goes on when the time is over."""
    guest.as_session("mkdir -p .config/notes; head -c 300000000 /dev/zero >.config/notes/large")
    write_rows(guest)
    log = guest.outside("/home/session/.config/notes/log")
    script = capture_script(SessionAccount(), operation="1", ua=hooked(freeze_s=2))
    guest.outside("/root/capture.sh").write_text(script)
    guest.run(
        "setsid sh /root/capture.sh </dev/null >/dev/null 2>&1 & echo $! >/root/pid;"
        "until grep -qs ^State:.*T /proc/[0-9]*/status; do sleep 0.05; done; kill -9 -$(cat /root/pid)"
    )
    size = log.stat().st_size
    assert log.stat().st_size == size
    assert grows(log)


def test_dump_is_part_of_the_capture(guest: LocalGuest, store: BorgStore, tmp_path: Path) -> None:
    """What the UA wrote when it was asked to is in the image; a UA that runs no more is not asked."""
    ua = hooked(dump=shell("echo whole >.config/notes/dump"), stop=shell("echo asked >.config/notes/stopped"))
    assert not run_hooks(guest, ua=ua, names=("dump", "stop"))
    guest.as_session("mkdir -p .config/notes")
    guest.in_background("exec sleep 1000")
    assert run_hooks(guest, ua=ua, names=("dump",))
    manifest, _ = captured(guest, store, tmp_path, ua=ua)
    assert [entry.path for entry in manifest.files] == [".config/notes", ".config/notes/dump"]


@pytest.mark.parametrize(
    ("hook", "why"),
    [
        (shell("echo no >&2; exit 3"), "its hook 'dump' ended with status 3"),
        (shell("sleep 60", deadline_s=1), "its hook 'dump' did not end within 1 s"),
        (
            shell("trap '' TERM; sleep 60 & wait; sleep 60", deadline_s=1),
            "its hook 'dump' did not end within 1 s",
        ),
        (Hook(("/nowhere/program",)), "its hook 'dump' ended with status 127"),
        (shell("cat /root/secret"), "its hook 'dump' ended with status 1"),
    ],
)
def test_dump_that_fails_is_no_capture(guest: LocalGuest, hook: Hook, why: str) -> None:
    """A status, no end, no end on request, no such program, what only root may read: said in one clause."""
    guest.run("echo x >/root/secret; chmod 0700 /root")
    guest.in_background("exec sleep 1000")
    with pytest.raises(TaskFailed) as failure:
        run_hooks(guest, ua=hooked(dump=hook), names=("dump",))
    assert failure.value.message.endswith(why)


def test_hooks_freeze_and_thaw_stand_in_for_the_signal(
    guest: LocalGuest, store: BorgStore, tmp_path: Path
) -> None:
    """Asked before and after; thaw comes also after a capture that failed."""
    guest.as_session("mkdir -p .config/notes")
    guest.in_background("exec sleep 1000")
    ua = hooked(freeze=shell("echo on >.config/notes/frozen"), thaw=shell("mv .config/notes/frozen thawed"))
    manifest, _ = captured(guest, store, tmp_path, ua=ua)
    assert manifest.consistency == "frozen"
    assert ".config/notes/frozen" in {entry.path for entry in manifest.files}
    assert guest.outside("/home/session/thawed").exists()
    failing = replace(ua, capture=replace(ua.capture, freeze=shell("echo on >.config/notes/frozen; exit 1")))
    guest.run("rm /home/session/thawed")
    with pytest.raises(TaskFailed, match="hook 'freeze' ended with status 1"):
        captured(guest, store, tmp_path, ua=failing)
    assert guest.outside("/home/session/thawed").exists()
    assert leftovers(guest, tmp_path) == []


def test_older_data_are_converted_before_the_user_sees_them(
    guest: LocalGuest, store: BorgStore, tmp_path: Path
) -> None:
    """Two converters after each other, in a home of their own; one that fails leaves the home as it was."""
    guest.as_session("mkdir -p .config/notes; echo one >.config/notes/settings")
    manifest, tar = read_back(guest, store, tmp_path)
    guest.as_session("echo present >.config/notes/settings")
    first = Converter(2, 3, shell("mv .config/notes/settings .config/notes/v3; pwd >.config/notes/where"))
    failing = Converter(3, 4, shell("echo broken >.config/notes/v3; exit 9"))
    before = guest.tree()
    with pytest.raises(TaskFailed, match="converter from data version 3 to 4 ended with status 9"):
        deploy(guest, tar=tar, manifest=manifest, ua=UA, session="s-2", converters=(first, failing))
    assert guest.tree() == before
    second = Converter(3, 4, shell("mv .config/notes/v3 .config/notes/v4; test $HOME = $(pwd)"))
    deploy(guest, tar=tar, manifest=manifest, ua=UA, session="s-2", converters=(first, second))
    notes = guest.outside("/home/session/.config/notes")
    assert sorted(path.name for path in notes.iterdir()) == ["v4", "where"]
    assert (notes / "v4").read_text() == "one\n"
    assert (notes / "where").read_text() != "/home/session\n"
    assert leftovers(guest, tmp_path) == []
