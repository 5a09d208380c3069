"""Probes after an activation, in a guest made of a directory: they hold, or the version before is back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.programs.sandbox_guest import SandboxGuest
from tests.programs.test_ua_scripts import DEFINITION, V1, V2, archive_bundle
from vmm_automation.errors import TaskFailed
from vmm_automation.model.ua import Probe, UaDefinition
from vmm_automation.operations import ua
from vmm_automation.schema.definitions import ua_from_mapping

ONLY_1 = Probe("command", ("grep", "version 1", "{version_dir}/app/program"), deadline_s=1)
PROVEN = replace(DEFINITION, probe=ONLY_1)
AT_ONCE = replace(DEFINITION, probe=replace(ONLY_1, deadline_s=0))
STEPS = ["unpack", "keep", "unit", "switch", "reload", "start", "listen", "probe", "return", "unit", "switch"]


def program(guest: SandboxGuest) -> str:
    return (guest.root / "opt/vmm/ua/demo/current/app/program").read_text().strip()


def settled(guest: SandboxGuest) -> bool:
    """Nothing is unfinished, and nothing of a trial is left."""
    left = [
        path for path in (guest.root / "run").rglob("*") if "vmm-ua-demo" in path.name or "probe" in path.name
    ]
    return not ua.read_status(guest).ua("demo").unfinished and not left


def test_probe_that_holds_is_planned_and_done_once(guest: SandboxGuest, files: Path) -> None:
    """The service is tried out and stopped again; a second run does not probe."""
    bundle = archive_bundle(files, V1, PROVEN)
    planned = ua.install(guest, definition=PROVEN, version=V1, bundle=bundle, check=True)
    done = ua.install(guest, definition=PROVEN, version=V1, bundle=bundle)
    assert done["actions"] == planned["actions"] == ["deliver", "install_unit", "switch", "probe"]
    assert "start vmm-ua-demo.service" in (guest.root / "state/systemctl.log").read_text()
    assert not ua.read_status(guest).ua("demo").running
    assert settled(guest)
    assert ua.install(guest, definition=PROVEN, version=V1, bundle=bundle)["changed"] is False


@pytest.mark.parametrize("running", [False, True])
def test_failed_probe_brings_the_version_before_back(guest: SandboxGuest, files: Path, running: bool) -> None:
    """By itself, in the same script; a service that ran runs again, and the error says what is active."""
    ua.install(guest, definition=PROVEN, version=V1, bundle=archive_bundle(files, V1, PROVEN))
    if running:
        ua.start(guest, definition=PROVEN, version="1.0")
    scripts = len(guest.scripts)
    with pytest.raises(TaskFailed, match=r"probe did not hold.*version 1\.0 is active again") as failed:
        ua.update(guest, definition=PROVEN, version=V2, bundle=archive_bundle(files, V2, PROVEN))
    assert len(guest.scripts) == scripts + 2
    assert failed.value.details["returned"] == "1.0"
    there = ua.read_status(guest).ua("demo")
    assert (there.active, there.running, program(guest)) == ("1.0", running, "version 1.0")
    assert settled(guest)
    with pytest.raises(TaskFailed, match="did not hold"):
        ua.activate(guest, definition=PROVEN, version="2.0")
    assert ua.read_status(guest).ua("demo").active == "1.0"


def test_failed_probe_of_the_first_version_leaves_none_active(guest: SandboxGuest, files: Path) -> None:
    """There is nothing good to go back to; the version lies there, inactive, and can be removed."""
    clean = guest.tree()
    with pytest.raises(TaskFailed, match="no version is active now"):
        ua.install(guest, definition=PROVEN, version=V2, bundle=archive_bundle(files, V2, PROVEN))
    there = ua.read_status(guest).ua("demo")
    assert (there.active, list(there.versions), there.unit_sha256) == ("", ["2.0"], "")
    assert settled(guest)
    ua.remove(guest, ua="demo")
    assert guest.tree() == clean


def test_failed_probe_of_a_redelivery_brings_the_older_content_back(guest: SandboxGuest, files: Path) -> None:
    """The same version with other content is two things: the one that worked is kept until the probe held."""
    probe = Probe("command", ("grep", "x=1", "{config_dir}/demo.conf"), deadline_s=1)
    first = replace(DEFINITION, probe=probe)
    ua.install(guest, definition=first, version=V1, bundle=archive_bundle(files, V1, first))
    digest = ua.read_status(guest).ua("demo").versions["1.0"]
    other = replace(first, files={"demo.conf": "x=2\n"})
    with pytest.raises(TaskFailed, match=r"version 1\.0 is active again"):
        ua.install(guest, definition=other, version=V1, bundle=archive_bundle(files, V1, other))
    assert ua.read_status(guest).ua("demo").versions == {"1.0": digest}
    assert settled(guest)


@pytest.mark.parametrize("number", range(1, len(STEPS) + 1))
def test_killed_at_any_step_the_next_run_decides(guest: SandboxGuest, files: Path, number: int) -> None:
    """An activation whose probe was not decided counts as unfinished: it is probed, and taken back."""
    ua.install(guest, definition=AT_ONCE, version=V1, bundle=archive_bundle(files, V1, AT_ONCE))
    bundle = archive_bundle(files, V2, AT_ONCE)
    guest.kill_at_step = number
    with pytest.raises(TaskFailed) as killed:
        ua.install(guest, definition=AT_ONCE, version=V2, bundle=bundle)
    if killed.value.details["status"] == -9 and killed.value.details["step"] != "unpack":
        assert ".probing" in ua.read_status(guest).ua("demo").unfinished
        planned = ua.install(guest, definition=AT_ONCE, version=V2, bundle=bundle, check=True)
        assert planned["actions"][-1] == "probe"
    with pytest.raises(TaskFailed, match="did not hold"):
        ua.install(guest, definition=AT_ONCE, version=V2, bundle=bundle)
    assert (ua.read_status(guest).ua("demo").active, program(guest)) == ("1.0", "version 1.0")
    assert settled(guest)


def test_probe_must_hold_for_as_long_as_it_says(guest: SandboxGuest, files: Path) -> None:
    """What answers once and then no more is not stable; without that demand once is enough."""
    once = ("sh", "-c", "mkdir {version_dir}/../../once")
    for stable, works in ((1, False), (0, True)):
        definition = replace(DEFINITION, probe=Probe("command", once, deadline_s=1, stable_for_s=stable))
        bundle = archive_bundle(files, V1, definition)
        if works:
            (guest.root / "opt/vmm/ua/once").rmdir()
            ua.install(guest, definition=definition, version=V1, bundle=bundle)
        else:
            with pytest.raises(TaskFailed, match="did not hold"):
                ua.install(guest, definition=definition, version=V1, bundle=bundle)


class _Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Healthy at one path."""
        self.send_response(200 if self.path == "/healthy" else 500)
        self.end_headers()

    def log_message(self, *_words: object) -> None:
        """Say nothing."""


@contextmanager
def answering() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), _Answering)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _tried(guest: SandboxGuest, files: Path, probe: Probe) -> str:
    definition: UaDefinition = replace(DEFINITION, probe=probe)
    try:
        ua.install(guest, definition=definition, version=V1, bundle=archive_bundle(files, V1, definition))
    except TaskFailed as failure:
        return failure.message
    return "held"


def test_every_kind_of_probe_asks_what_it_says(guest: SandboxGuest, files: Path) -> None:
    """HTTP by status, TCP by a listener, the unit by its state; each failure says what was seen."""
    with answering() as port:
        assert "/sick on port" in _tried(guest, files, Probe("http", port=port, path="/sick", deadline_s=1))
        assert _tried(guest, files, Probe("http", port=port, path="/healthy", deadline_s=1)) == "held"
        ua.remove(guest, ua="demo")
        assert _tried(guest, files, Probe("tcp", port=port, deadline_s=1)) == "held"
        ua.remove(guest, ua="demo")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        said = _tried(guest, files, Probe("tcp", port=port, deadline_s=1))
    assert f"nothing listens on port {port}" in said
    ua.remove(guest, ua="demo")
    assert _tried(guest, files, Probe("unit", deadline_s=1)) == "held"
    ua.remove(guest, ua="demo")
    (guest.root / "state/refuse-start").touch()
    assert "no version is active now" in _tried(guest, files, Probe("unit", deadline_s=1))


def test_tool_without_service_is_probed_by_a_command(guest: SandboxGuest, files: Path) -> None:
    """Nothing is started for it."""
    tool = replace(DEFINITION, command=(), probe=Probe("command", ("test", "-n", "$HOME"), deadline_s=1))
    done = ua.install(guest, definition=tool, version=V1, bundle=archive_bundle(files, V1, tool))
    assert done["actions"] == ["deliver", "switch", "probe"]
    log = guest.root / "state/systemctl.log"
    assert not log.exists() or "start" not in log.read_text()


@pytest.mark.parametrize(
    ("probe", "where"),
    [
        ({"kind": "http"}, "probe"),
        ({"kind": "command"}, "probe"),
        ({"kind": "smell"}, "probe.kind"),
        ({"kind": "unit"}, "there is no 'command' or 'unit' for one"),
        ({"kind": "command", "command": ["{verson_dir}/x"]}, "unknown placeholder '{verson_dir}'"),
        ({"kind": "command", "command": ["x"], "stable_for_s": -1}, "probe.stable_for_s"),
    ],
)
def test_wrong_probe_is_refused_with_its_path(probe: dict[str, object], where: str) -> None:
    """Before anything runs, and by the place in the file."""
    document = {"probe": probe, "versions": {"1": {"kind": "deb", "packages": ["cron"]}}}
    definition, errors = ua_from_mapping("demo", document, where="uas/demo.yml")
    assert definition is None
    assert where in "\n".join(errors), errors
