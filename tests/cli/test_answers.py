"""What a pipeline reads: one JSON document on standard output, prose on standard error, the exit status."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ..made_site import MadeSite, make_site

Prepare = Callable[[MadeSite], None]


def nothing(_site: MadeSite) -> None:
    """The site is as it is."""


def broken_site(site: MadeSite) -> None:
    (site.directory / "site.yml").write_text("name: [1\n")


def no_libvirt(site: MadeSite) -> None:
    (site.directory / "site.yml").write_text("name: made\nuri: qemu+unix:///system?socket=/nonexistent\n")


def damaged_state(site: MadeSite) -> None:
    (site.home / "state.db").write_bytes(b"no database" * 1000)
    (site.home / "state.db").chmod(0o600)


def assigned(site: MadeSite) -> None:
    site.claim()
    assert site.vmm("watcher", "assign", "s-1", "bo", "--privilege", "view").returncode == 0


def held(site: MadeSite) -> None:
    assigned(site)
    for name in ("di", "cy"):
        assert site.vmm("watcher", "assign", "s-1", name, "--privilege", "suspend").returncode == 0
    assert site.vmm("watcher", "lock", "acquire", "s-1", "cy").returncode == 0


FAILURES: dict[str, tuple[Prepare, str, str, int]] = {
    "unknown command": (nothing, "vm explode", "UsageError", 2),
    "missing argument": (nothing, "vm create", "UsageError", 2),
    "unknown option": (nothing, "vm list --loud", "UsageError", 2),
    "bad choice": (nothing, "watcher assign s-1 bo --privilege fly", "UsageError", 2),
    "bad duration": (nothing, "watcher assign s-1 bo --privilege view --for 1w", "UsageError", 2),
    "bad number": (nothing, "session open --user a --ua radicale --port 70000", "UsageError", 2),
    "bad variable": (nothing, "playbook run vm_start -e novalue", "UsageError", 2),
    "bad JSON": (nothing, "playbook run vm_start -e {x", "UsageError", 2),
    "bad name": (nothing, "session show a/b", "InvalidName", 2),
    "broken site": (broken_site, "vm list", "SiteInvalid", 3),
    "no terminal": (nothing, "session open --user a --ua radicale --terminal tv", "NotFound", 4),
    "no session": (nothing, "session show s-9", "NotFound", 4),
    "no VM": (nothing, "vm show vm-9", "NotFound", 4),
    "no playbook": (nothing, "playbook run dance", "NotFound", 4),
    "no site": (nothing, "vm list --site /nonexistent", "NotFound", 4),
    "no image": (nothing, "image show ann radicale", "NotFound", 4),
    "assigned twice": (assigned, "watcher assign s-1 bo --privilege view", "Conflict", 5),
    "right held": (held, "watcher lock acquire s-1 di", "LockHeld", 6),
    "no privilege": (held, "watcher lock acquire s-1 bo", "NotPermitted", 6),
    "no VM fits": (nothing, "session open --user a --ua radicale", "NoVmFits", 7),
    "no libvirt": (no_libvirt, "vm list", "HypervisorUnreachable", 8),
    "no libvirt in a playbook": (no_libvirt, "vm start vm-1", "HypervisorUnreachable", 8),
    "damaged state": (damaged_state, "session list", "StateUnusable", 8),
}


@pytest.mark.parametrize("case", FAILURES)
def test_failure_is_one_document_with_the_exit_status_of_its_class(site: MadeSite, case: str) -> None:
    """Class, code, message and hint on standard output; the same for a person on standard error."""
    prepare, line, kind, code = FAILURES[case]
    prepare(site)
    done = site.vmm(*line.split(), "--output", "json")
    document = json.loads(done.stdout)
    error = document["error"]
    assert (done.returncode, error["class"], error["exit_code"], document["status"]) == (
        code,
        kind,
        code,
        "error",
    )
    assert line.startswith(document["command"])
    assert set(error) == {"class", "exit_code", "message", "hint", "details"}
    assert f"Error: {error['message']}\n" in done.stderr
    assert f"Hint: {error['hint']}\n" in done.stderr


@pytest.mark.parametrize("case", ["unknown command", "no session", "right held"])
def test_failure_in_text_leaves_standard_output_empty(site: MadeSite, case: str) -> None:
    """Without JSON a failure is words for a person, and nothing a pipe would take for an answer."""
    prepare, line, _kind, code = FAILURES[case]
    prepare(site)
    done = site.vmm(*line.split())
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("Error: ")


@pytest.mark.parametrize(
    ("line", "command", "key"),
    [
        ("vm list", "vm list", "vms"),
        ("ua list", "ua list", "uas"),
        ("session list --all", "session list", "sessions"),
        ("session show s-1", "session show", "session"),
        ("watcher list", "watcher list", "grants"),
        ("watcher list s-1", "watcher list", "right"),
        ("watcher lock show s-1", "watcher lock show", "right"),
        ("image list", "image list", "generations"),
    ],
)
def test_success_is_one_document(site: MadeSite, session: str, line: str, command: str, key: str) -> None:
    """Every reading command answers with the same frame around its result, and changes nothing."""
    assert session == "s-1"
    code, document = site.json(*line.split())
    assert code == 0
    assert key in document.pop("result")
    assert document == {"command": command, "status": "ok", "changed": False, "check": False}


def test_name_that_is_a_word_is_not_taken_for_a_part_of_the_command(site: MadeSite) -> None:
    """The document of a failure names the command, not what it was given."""
    assert site.json("session", "show", "alpha")[1]["command"] == "session show"


def test_words_for_ansible_are_not_taken_for_options(site: MadeSite) -> None:
    """What follows -- belongs to ansible-playbook, even where it looks like a wish for JSON."""
    done = site.vmm("playbook", "run", "dance", "--", "--output", "json")
    assert (done.returncode, done.stdout) == (4, "")


def test_group_without_a_command_shows_its_help_as_wrong_usage(site: MadeSite) -> None:
    """Nothing is done, the help tells what there is, the status says that it was no answer."""
    for words in ((), ("vm",), ("watcher", "lock")):
        done = site.vmm(*words)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("Usage: vmm")


@pytest.mark.parametrize(
    "line",
    [
        "vm delete vm-1",
        "vm rebuild vm-1",
        "ua remove radicale",
        "image deploy s-1",
        "image delete ann radicale --generation 1",
        "image prune --keep-last 1",
        "pool drain calendars --delete",
        "session close s-1 --discard",
    ],
)
def test_destruction_without_terminal_and_yes_is_refused(site: MadeSite, line: str) -> None:
    """A pipeline must say --yes; nothing is begun before that."""
    code, document = site.json(*line.split())
    assert (code, document["error"]["class"]) == (2, "UsageError")
    assert document["error"]["hint"] == "add --yes"
    assert list(site.home.iterdir()) == []


@pytest.fixture
def taken_port() -> Iterator[int]:
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def test_wanted_port_that_is_taken_is_refused_before_a_vm_is_claimed(site: MadeSite, taken_port: int) -> None:
    """The status of PortTaken, and no session is left behind."""
    code, document = site.json(
        "session", "open", "--user", "ann", "--ua", "radicale", "--port", str(taken_port)
    )
    assert (code, document["error"]["class"]) == (5, "PortTaken")
    assert site.json("session", "list", "--all")[1]["result"] == {"sessions": []}


def test_guest_that_does_not_answer_has_its_own_status(tmp_path: Path) -> None:
    """The class of the failed task comes through the playbook run."""
    site = make_site(tmp_path, running=["vm-1"])
    code, document = site.json("ua", "remove", "radicale", "--vm", "vm-1", "--yes")
    assert (code, document["error"]["class"]) == (10, "GuestUnreachable")
    assert document["error"]["details"]["vm"] == "vm-1"


def test_vm_that_cannot_be_cleaned_holds_up_no_one(tmp_path: Path) -> None:
    """One broken VM is passed over with its reason; it does not make every request fail."""
    site = make_site(tmp_path, running=["vm-1"])
    code, document = site.json("session", "open", "--user", "ann", "--ua", "radicale")
    assert (code, document["error"]["class"]) == (7, "NoVmFits")
    assert document["error"]["details"]["rejected"][0]["filter"] == "clean"


def test_vm_made_from_another_home_is_neither_listed_nor_touched(tmp_path: Path) -> None:
    """Keys and disks of such a VM are in that home: the answer names it. Tried: create, stop and delete."""
    site = make_site(tmp_path, running=["vm-1"], made_from="/var/tmp/other")
    assert site.json("vm", "list")[1]["result"]["vms"] == []
    for words in (("create", "vm-1", "--check"), ("stop", "vm-1"), ("show", "vm-1")):
        status, document = site.json("vm", *words)
        error = document["error"]
        assert (status, error["class"], error["details"]["home"]) == (5, "Conflict", "/var/tmp/other"), words
        assert error["hint"] == "VMM_HOME=/var/tmp/other vmm vm show vm-1"
    status, document = site.json("vm", "delete", "vm-1", "--yes")
    assert (status, document["error"]["class"]) == (5, "Conflict")
