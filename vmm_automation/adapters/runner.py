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
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from vmm_automation.content import content_directory, plugin_directory
from vmm_automation.errors import (
    Canceled,
    GuestUnreachable,
    Partial,
    TaskFailed,
    ToolMissing,
    UsageError,
    VmmError,
    error_from_document,
)

#: variables that a playbook run may see, besides those that start with one of the prefixes
_ALLOWED = frozenset(
    {"HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "SSH_AUTH_SOCK", "TERM", "TMPDIR", "TZ", "USER"}
    | {"XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_CACHE_HOME", "http_proxy", "https_proxy", "no_proxy"}
    # of PostgreSQL's variables those that hold no secret: not PGPASSWORD
    | {"PGPASSFILE", "PGSERVICEFILE", "PGSSLMODE", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY"}
)
_ALLOWED_PREFIXES = ("ANSIBLE_", "VMM_", "PIP_", "SSL_CERT", "REQUESTS_CA")
_POLL_S = 1
_REAP_S = 10.0
_EXIT_PARSE_ERROR = 4

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


@dataclass
class RunOutcome:
    """What a run left: the result document from ``set_stats``, failures, and hosts by what became of them."""

    result: dict[str, Any] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)
    ok_hosts: set[str] = field(default_factory=set)
    changed: bool = False
    status: str = ""
    return_code: int = 0
    stdout_tail: list[str] = field(default_factory=list)


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
    runs.mkdir(mode=0o700, parents=True, exist_ok=True)
    private = Path(tempfile.mkdtemp(prefix="run-", dir=runs))
    outcome = RunOutcome()
    try:
        with _only_environment(environment), _cancellation() as cancel:
            _run(request, private=private, outcome=outcome, listener=listener, cancel=cancel)
    finally:
        shutil.rmtree(private, ignore_errors=True)
    if cancel.signal:
        raise Canceled(
            f"Playbook '{request.playbook.stem}' was ended by {signal.Signals(cancel.signal).name}",
            hint="run the same command again: it finishes or undoes what was begun",
        )
    _raise_failure(request, outcome)
    return outcome


def run_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What a playbook run may see of an environment, with what it needs added."""
    kept = {
        key: value
        for key, value in environment.items()
        if key in _ALLOWED or key.startswith(_ALLOWED_PREFIXES)
    }
    kept["PATH"] = f"{Path(sys.executable).parent}:{kept.get('PATH') or os.defpath}"
    kept.setdefault("ANSIBLE_HOST_KEY_CHECKING", "True")
    kept.setdefault("ANSIBLE_CONFIG", str(content_directory() / "ansible.cfg"))
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
    before = {number: signal.getsignal(number) for number in numbers}
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
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, cancel.note)
    runner.run()
    outcome.status = str(runner.status)
    outcome.return_code = int(runner.rc or 0)
    with runner.stdout as stdout:
        outcome.stdout_tail = [line.strip() for line in stdout.read().splitlines() if line.strip()][-8:]


def note_event(event: dict[str, Any], outcome: RunOutcome) -> None:
    """Take from one event what the outcome needs."""
    kind = event.get("event")
    details = event.get("event_data") or {}
    if kind == "runner_on_ok":
        outcome.ok_hosts.add(str(details.get("host")))
        outcome.changed |= bool((details.get("res") or {}).get("changed"))
    elif kind == "runner_on_failed" and not details.get("ignore_errors"):
        outcome.failures.append(_failure(details, unreachable=False))
    elif kind == "runner_on_unreachable":
        outcome.failures.append(_failure(details, unreachable=True))
    elif kind == "playbook_on_stats":
        outcome.result = dict((details.get("artifact_data") or {}).get("vmm") or {})


def _failure(details: dict[str, Any], *, unreachable: bool) -> dict[str, Any]:
    result = details.get("res") or {}
    # of a loop, the first item that failed: the task itself only says that one did
    result = next((item for item in result.get("results") or [] if item.get("failed")), result)
    return {
        "host": str(details.get("host")),
        "task": str(details.get("task")),
        "reason": str(result.get("msg") or result.get("stderr") or "no reason given").strip(),
        "unreachable": unreachable,
        "error": result.get("vmm_error"),
    }


def _raise_failure(request: PlaybookRun, outcome: RunOutcome) -> None:
    if outcome.status == "successful":
        return
    name = request.playbook.stem
    if not outcome.failures:
        reason = " ".join(outcome.stdout_tail[-3:]) or "it printed nothing"
        kind = UsageError if outcome.return_code == _EXIT_PARSE_ERROR else TaskFailed
        raise kind(
            f"Playbook '{name}' ended with status {outcome.return_code}: {reason}",
            hint=f"ansible-playbook --syntax-check {request.playbook}",
            details={"playbook": name, "status": outcome.return_code},
        )
    last = outcome.failures[-1]
    failed_hosts = {failure["host"] for failure in outcome.failures}
    succeeded = outcome.ok_hosts - failed_hosts - {"localhost"}
    if succeeded and "localhost" not in failed_hosts:
        raise Partial(
            f"{len(failed_hosts)} hosts failed ({', '.join(sorted(failed_hosts))}); {_sentence(last)}",
            hint=str((last["error"] or {}).get("hint", "")),
            details={"failures": outcome.failures, "succeeded": sorted(succeeded), **outcome.result},
        )
    raise _classified(last, outcome)


def _classified(failure: dict[str, Any], outcome: RunOutcome) -> VmmError:
    if isinstance(failure["error"], dict):
        error = error_from_document(failure["error"])
        error.details.setdefault("host", failure["host"])
        error.details.setdefault("task", failure["task"])
        return error
    kind = GuestUnreachable if failure["unreachable"] else TaskFailed
    return kind(_sentence(failure), details={"failures": outcome.failures})


def _sentence(failure: dict[str, Any]) -> str:
    what = "could not be reached" if failure["unreachable"] else "failed"
    return f"Host '{failure['host']}' {what} at task '{failure['task']}': {failure['reason']}"


def _end_tree(pid: int) -> None:
    """End ansible-playbook gracefully, then whatever it started and left; only descendants of ``pid``."""
    try:
        playbook = psutil.Process(pid)
        family = [playbook, *playbook.children(recursive=True)]
        playbook.terminate()
    except psutil.NoSuchProcess:
        return
    _gone, alive = psutil.wait_procs(family, timeout=_REAP_S)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
