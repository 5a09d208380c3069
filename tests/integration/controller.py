"""One controller under test: its own home and site, and the real programs that a person would start on it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import psutil

REPOSITORY = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
URI = "qemu:///system" if os.geteuid() == 0 else "qemu:///session"
_CHANGED = re.compile(r"\bchanged=(\d+)")
_CUSTOM_STATS = re.compile(r"^CUSTOM STATS: \*+.*?RUN: (\{.*)", re.DOTALL | re.MULTILINE)
#: what running guests, locks and connections change by themselves, and caches that a dry run may fill
_RESTLESS = re.compile(r"/ssh/cm/|/run$|\.lock$|state\.db|console\.log$|disk\.qcow2$|/artifacts|/bundles")


@dataclass(frozen=True)
class Result:
    """What a command line left: exit status, the one JSON document, and what was said meanwhile."""

    status: int
    document: dict[str, Any]
    stderr: str

    @property
    def result(self) -> dict[str, Any]:
        """The result member of a run that must have succeeded."""
        assert self.status == 0, f"exit status {self.status}: {self.document}\n{self.stderr}"
        assert self.document["status"] == "ok"
        result: dict[str, Any] = self.document["result"]
        return result

    @property
    def changed(self) -> bool:
        """Whether a run that must have succeeded says that it changed something."""
        assert self.result is not None
        return bool(self.document["changed"])

    def refused(self, kind: str, *, status: int, names: str) -> dict[str, Any]:
        """The error of a run that must have failed: class and status, name in its message, hint."""
        assert self.document.get("status") == "error", (self.status, self.document, self.stderr)
        error: dict[str, Any] = self.document["error"]
        assert (error["class"], self.status, error["exit_code"]) == (kind, status, status), error
        assert names in error["message"], error
        assert error["hint"], error
        assert "Traceback" not in self.stderr
        assert f"Error: {error['message'].splitlines()[0]}" in self.stderr
        return error


@dataclass(frozen=True)
class Played:
    """What a plain ``ansible-playbook`` run left: exit status, number of changes, document, output."""

    status: int
    changed: int
    document: dict[str, Any]
    output: str

    @property
    def result(self) -> dict[str, Any]:
        """The result document of a run that must have succeeded."""
        assert self.status == 0, self.output
        return self.document


@dataclass(frozen=True)
class Controller:
    """A ``VMM_HOME`` and a site directory; called with words, it runs ``vmm`` with them."""

    home: Path
    site: Path
    name: str
    uri: str = URI
    program: Path = BIN / "vmm"
    environment: Mapping[str, str] = field(default_factory=dict)

    def __call__(
        self,
        *arguments: str,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Result:
        """Run ``vmm …`` with a JSON answer."""
        done = subprocess.run(
            self.argv(*arguments),
            input=input or "",
            capture_output=True,
            text=True,
            env={**self.env, **(env or {})},
            timeout=600,
            check=False,
        )
        return Result(done.returncode, _document(done.stdout), done.stderr)

    def start(self, *arguments: str) -> Started:
        """Start ``vmm …`` and do not wait for it."""
        process = subprocess.Popen(
            self.argv(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.env,
        )
        return Started(process)

    @property
    def env(self) -> dict[str, str]:
        """The environment that makes programs work on this controller."""
        return {**os.environ, "VMM_HOME": str(self.home), "VMM_SITE": str(self.site), **self.environment}

    def argv(self, *arguments: str) -> list[str]:
        """The command line, with ``--output json`` before what follows ``--``."""
        words = list(arguments)
        end = words.index("--") if "--" in words else len(words)
        return [str(self.program), *words[:end], "--output", "json", *words[end:]]

    def play(self, playbook: str, *, check: bool = False, **variables: Any) -> Played:
        """Run a playbook as a person would who has only Ansible."""
        argv = [str(BIN / "ansible-playbook"), "-i", str(self.site / "site.vmm.yml")]
        argv += [f"playbooks/{playbook}.yml", "-e", json.dumps(variables), *(["--check"] if check else [])]
        done = self._ansible(argv)
        found = _CUSTOM_STATS.search(done.stdout)
        document = json.JSONDecoder().raw_decode(found[1])[0]["vmm"] if found else {}
        changed = sum(int(number) for number in _CHANGED.findall(done.stdout))
        return Played(done.returncode, changed, document, done.stdout + done.stderr)

    def on_guest(self, vm: str, script: str) -> str:
        """What a shell script prints as root in a guest, without empty lines."""
        argv = [str(BIN / "ansible"), "-i", str(self.site / "site.vmm.yml"), vm, "-m", "ansible.builtin.raw"]
        done = self._ansible([*argv, "-a", shlex.join(["/bin/sh", "-c", script])])
        assert done.returncode == 0, done.stdout + done.stderr
        lines = done.stdout.replace("\r", "").splitlines()[1:]
        kept = [line for line in lines if line and not line.startswith("Shared connection to ")]
        return "\n".join(kept)

    def _ansible(self, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        env = {**self.env, "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        return subprocess.run(
            argv, cwd=REPOSITORY, env=env, capture_output=True, text=True, timeout=600, check=False
        )

    def on_site(self, directory: Path, edit: Mapping[str, str]) -> Controller:
        """The same controller with a copy of its site in which some files have other content."""
        shutil.copytree(self.site, directory)
        for path, text in edit.items():
            (directory / path).write_text(text)
        return replace(self, site=directory)

    def virsh(self, *arguments: str) -> str:
        """What ``virsh`` prints."""
        argv = ["virsh", "-q", "-c", self.uri, *arguments]
        return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=True).stdout

    def domains(self) -> list[str]:
        """The names of the domains that belong to this site."""
        names = self.virsh("list", "--all", "--name").split()
        return sorted(name for name in names if name.startswith(f"vmm-{self.name}-"))

    def state(self) -> list[str]:
        """All that the state file holds, as SQL."""
        with closing(sqlite3.connect(f"file:{self.home / 'state.db'}?mode=ro", uri=True)) as connection:
            return list(connection.iterdump())

    def everything(self) -> dict[str, Any]:
        """State, domains and files, to be compared with the same at another time."""
        paths = [path for path in self.home.rglob("*") if not _RESTLESS.search(str(path))]
        return {
            "state": self.state(),
            "domains": {name: self.virsh("domstate", name) for name in self.domains()},
            "files": sorted((str(path), 0 if path.is_dir() else path.stat().st_size) for path in paths),
        }

    def live_sessions(self) -> list[dict[str, Any]]:
        """The sessions that hold a VM."""
        found: list[dict[str, Any]] = self("session", "list").result["sessions"]
        return found

    def condition(self, vm: str) -> str:
        """Whether a VM is known to be clean."""
        vms = {each["name"]: each for each in self("vm", "list").result["vms"]}
        return str(vms[vm]["condition"])

    def remove_vms(self) -> None:
        """Remove every domain of this site, whatever state it is in, and the SSH connections of this home."""
        for name in self.domains():
            if self.virsh("domstate", name).strip() != "shut off":
                self.virsh("destroy", name)
            self.virsh("undefine", name, "--managed-save", "--snapshots-metadata")
        for socket in (self.home / "ssh" / "cm").glob("*"):
            ending = ["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "127.0.0.1"]
            subprocess.run(ending, capture_output=True, timeout=30, check=False)


@dataclass
class Started:
    """A ``vmm`` run under way."""

    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)

    def wait_for(self, text: str) -> None:
        """Wait until a line of progress has ``text`` in it."""
        stream: IO[str] | None = self.process.stderr
        assert stream is not None
        for line in stream:
            self.said.append(line)
            if text in line:
                return
        raise AssertionError(f"'{text}' was never said, but:\n{''.join(self.said)}")

    def family(self) -> list[psutil.Process]:
        """The command's process and all that it started."""
        children: dict[int, list[psutil.Process]] = {}
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess):
                children.setdefault(process.ppid(), []).append(process)
        found = [psutil.Process(self.process.pid)]
        for process in found:
            found += children.get(process.pid, [])
        return found

    def kill_tree(self) -> None:
        """Kill all of it at once with SIGKILL, as a crash of the controller would."""
        doomed: list[psutil.Process] = []
        while fresh := [each for each in self.family() if each not in doomed]:
            for process in fresh:  # stopped first, so that none can start another unseen
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGSTOP)
            wait_until(lambda held=fresh: all(map(_stands_still, held)), what="all of the run stands still")
            doomed += fresh
        for process in reversed(doomed):  # children first: a parent's end wakes stopped groups
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        self.process.communicate()
        _gone, alive = psutil.wait_procs(doomed, timeout=30)
        assert not alive, alive

    def end(self, number: int) -> Result:
        """Send a signal to the command alone, and wait until it has ended."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> Result:
        """Wait until it has ended."""
        stdout, stderr = self.process.communicate(timeout=120)
        return Result(self.process.returncode, _document(stdout), "".join(self.said) + stderr)


def _stands_still(process: psutil.Process) -> bool:
    """Whether a process that was sent SIGSTOP has obeyed: one that was forking has done so only after it."""
    with suppress(psutil.NoSuchProcess):
        return process.status() in {psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP, psutil.STATUS_ZOMBIE}
    return True


def wait_until(condition: Any, *, what: str, seconds: float = 30) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)


def _document(stdout: str) -> dict[str, Any]:
    """The one JSON document; anything beside it on standard output is an error."""
    if not stdout.strip():
        return {}
    document: dict[str, Any] = json.loads(stdout)
    return document
