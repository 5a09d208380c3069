"""Playbook runs through ansible-runner. The only file that imports ansible_runner.

What is done on top of it, each measured to be needed: a private data directory per run (0700, removed),
because runner writes the environment and variables into it; an environment allow-list, because it would
hand over everything; the interpreter's own bin directory first in PATH, because it looks ansible-playbook
up there; host key checking on, because it turns it off; an event handler that only queues, because it runs
inline; and our own cancel, because runner's leaves forked workers running.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from vmm_automation.adapters.private_directory import private_directory
from vmm_automation.adapters.run_outcome import RunOutcome, note_event, raise_failure
from vmm_automation.content import content_directory, plugin_directory
from vmm_automation.errors import Canceled, ToolMissing

#: variables that a playbook run may see, besides those that start with one of the prefixes
_ALLOWED = frozenset(
    {"HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "SSH_AUTH_SOCK", "TERM", "TMPDIR", "TZ", "USER"}
    | {"XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_CACHE_HOME", "http_proxy", "https_proxy", "no_proxy"}
    # of PostgreSQL's variables those that hold no secret: not PGPASSWORD
    | {"PGPASSFILE", "PGSERVICEFILE", "PGSSLMODE", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY"}
)
_ALLOWED_PREFIXES = ("ANSIBLE_", "VMM_", "PIP_", "SSL_CERT", "REQUESTS_CA")
_SECRET = frozenset({"VMM_WATCHER_TOKEN"})  # runner writes the environment to a file
#: what runner sets for its runs: a run within one would take its own callback for the one to call in turn
_OF_RUNNER = ("ANSIBLE_STDOUT_CALLBACK", "awx_display")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
#: VMs that are worked on at a time: a fork waits for its guest nearly all the time
_LEAST_FORKS, _FORKS_PER_CPU = 10, 4
_POLL_S = 1
_REAP_S = 10.0
_LOOK_S = 0.05

EventListener = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class PlaybookRun:
    """What to run: a playbook, its variables, and Ansible's own switches."""

    playbook: Path
    inventory: Path
    variables: Mapping[str, Any] = field(default_factory=dict)
    limit: str = ""
    check: bool = False
    extra_arguments: Sequence[str] = ()
    verbosity: int = 0


def run_playbook(request: PlaybookRun, *, runs: Path, listener: EventListener) -> RunOutcome:
    """Run a playbook to its end; ``listener`` gets each event after it is noted and must return quickly.

    Raises:
        ToolMissing: ansible-playbook is not installed beside this interpreter nor on PATH.
        Canceled: SIGINT or SIGTERM came; the playbook and all it started have ended.
        VmmError: the run failed, as the class that the failed task gave, or the class of the failure.
    """
    environment = run_environment(os.environ)
    if not shutil.which("ansible-playbook", path=environment["PATH"]):
        raise ToolMissing(
            "Program 'ansible-playbook' is not installed on the controller",
            hint=f"{sys.executable} -m pip install ansible-core",
            details={"program": "ansible-playbook"},
        )
    outcome = RunOutcome()
    with (
        private_directory(runs, prefix="run-") as private,
        _only_environment(environment),
        _cancellation() as cancel,
    ):
        _run(request, private=private, outcome=outcome, listener=listener, cancel=cancel)
    if cancel.signal:
        raise Canceled(
            f"Playbook '{request.playbook.stem}' was ended by {signal.Signals(cancel.signal).name}",
            hint="run the same command again: it finishes or undoes what was begun",
        )
    raise_failure(request.playbook, outcome)
    return outcome


def run_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What a playbook run may see of an environment, with what it needs added."""
    kept = {
        key: value
        for key, value in environment.items()
        if (key in _ALLOWED or (key.startswith(_ALLOWED_PREFIXES) and key not in _SECRET))
        and (key, value) != _OF_RUNNER
    }
    kept["PATH"] = f"{Path(sys.executable).parent}:{kept.get('PATH') or os.defpath}"
    kept.setdefault("ANSIBLE_HOST_KEY_CHECKING", "True")
    if "ANSIBLE_CONFIG" not in kept:
        kept["ANSIBLE_CONFIG"] = str(content_directory() / "ansible.cfg")
        kept.setdefault("ANSIBLE_FORKS", str(max(_LEAST_FORKS, _FORKS_PER_CPU * (os.cpu_count() or 1))))
    kept.setdefault("ANSIBLE_ACTION_PLUGINS", str(plugin_directory("action")))
    kept.setdefault("ANSIBLE_INVENTORY_PLUGINS", str(plugin_directory("inventory")))
    kept["PYTHONDONTWRITEBYTECODE"] = environment.get("PYTHONDONTWRITEBYTECODE", "")
    return kept


class _Cancel:
    """Which signal came, and the playbook process to pass it on to."""

    def __init__(self) -> None:
        self.signal = 0
        self.pid = 0
        self.passed_on = False

    def note(self, number: int, _frame: FrameType | None) -> None:
        """Signal handler: only notes."""
        self.signal = number

    def poll(self) -> bool:
        """Runner asks here whether to stop; we stop ansible-playbook ourselves, first."""
        if self.signal and self.pid and not self.passed_on:
            self.passed_on = True
            _end_tree(self.pid)
        return bool(self.signal)


@contextlib.contextmanager
def _cancellation() -> Iterator[_Cancel]:
    cancel = _Cancel()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, cancel.note) for number in numbers}
    try:
        yield cancel
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


@contextlib.contextmanager
def _only_environment(environment: Mapping[str, str]) -> Iterator[None]:
    """Runner copies this process's environment whole, so for the run it is cut down to what may be seen."""
    whole = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(whole)


def _run(
    request: PlaybookRun, *, private: Path, outcome: RunOutcome, listener: EventListener, cancel: _Cancel
) -> None:
    import ansible_runner

    def on_event(event: dict[str, Any]) -> bool:
        cancel.pid = int(event.get("pid") or cancel.pid)
        note_event(event, outcome)
        listener(event)
        return False  # not kept on disk

    arguments = [*request.extra_arguments, *(["--check", "--diff"] if request.check else [])]
    runner = ansible_runner.interface.init_runner(
        private_data_dir=str(private),
        playbook=str(request.playbook),
        inventory=str(request.inventory),
        extravars=dict(request.variables),
        limit=request.limit or None,
        verbosity=request.verbosity or None,
        quiet=True,
        cmdline=shlex.join(arguments) or None,
        settings={"pexpect_timeout": _POLL_S},
        event_handler=on_event,
        cancel_callback=cancel.poll,
    )
    runner.run()
    outcome.status = str(runner.status)
    outcome.return_code = int(runner.rc or 0)
    with runner.stdout as stdout:
        lines = [_COLOUR.sub("", line).strip() for line in stdout.read().splitlines()]
    outcome.stdout_tail = [line for line in lines if line][-8:]


def _end_tree(pid: int) -> None:
    """End ansible-playbook gracefully, then whatever it started and left; only descendants of ``pid``."""
    try:
        playbook = psutil.Process(pid)
        family = [playbook, *playbook.children(recursive=True)]
        playbook.terminate()
    except psutil.NoSuchProcess:
        return
    deadline = time.monotonic() + _REAP_S
    while (alive := _alive(family)) and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _alive(family: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Those that still work: looked at, not waited for, because the playbook's end is runner's to collect."""
    found = []
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found
