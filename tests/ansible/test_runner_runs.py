"""Runs of small playbooks through the real ansible-runner: what they see, and what they leave."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from vmm_automation.adapters.run_outcome import RunOutcome
from vmm_automation.adapters.runner import PlaybookRun, run_playbook
from vmm_automation.content import content_directory
from vmm_automation.errors import TaskFailed, ToolMissing, UsageError

SECRET = "correct-horse-battery-staple"
DEADLINE_S = 60
PROGRAM = """
import sys
from pathlib import Path
from vmm_automation.adapters.runner import PlaybookRun, run_playbook
from vmm_automation.errors import Canceled
playbook, runs = map(Path, sys.argv[1:])
try:
    run_playbook(PlaybookRun(playbook, playbook.with_name("hosts")), runs=runs, listener=lambda event: None)
except Canceled as canceled:
    print(canceled.message)
    sys.exit(canceled.exit_code)
"""


def playbook(place: Path, tasks: str) -> Path:
    path = place / "play.yml"
    path.write_text(f"- hosts: localhost\n  gather_facts: false\n  tasks:\n{tasks}")
    (place / "hosts").write_text(
        f"localhost ansible_connection=local ansible_python_interpreter={sys.executable}\n"
    )
    (place / "ansible.cfg").write_text("")
    return path


def run(path: Path, *, events: list[dict[str, Any]] | None = None, **wanted: Any) -> RunOutcome:
    request = PlaybookRun(path, path.with_name("hosts"), **wanted)
    return run_playbook(
        request, runs=path.parent / "runs", listener=(events if events is not None else []).append
    )


@pytest.fixture(autouse=True)
def own_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_CONFIG", str(tmp_path / "ansible.cfg"))


def test_secret_of_the_parent_reaches_neither_run_nor_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A playbook that prints its environment cannot show it, nor can a file that runner writes meanwhile."""
    monkeypatch.setenv("PGPASSWORD", SECRET)
    found = f"grep -rls {SECRET[:-1]}[{SECRET[-1]}] {tmp_path / 'runs'} || true"
    path = playbook(
        tmp_path,
        "    - ansible.builtin.command: env\n"
        f"    - ansible.builtin.shell: {found}\n"
        "    - ansible.builtin.command: sh -c 'stat -c %a \"$1\"' sh " + str(tmp_path / "runs") + "\n",
    )
    events: list[dict[str, Any]] = []
    run(path, events=events)
    printed = [str((each.get("event_data") or {}).get("res", {}).get("stdout", "")) for each in events]
    assert "PATH=" in "".join(printed)
    assert SECRET not in str(events)
    assert os.environ["PGPASSWORD"] == SECRET
    assert "700" in printed


@pytest.mark.parametrize("module", ["ansible.builtin.command: stat -c %a {place}", "ansible.builtin.fail:"])
def test_private_directory_is_closed_to_others_and_gone_afterwards(tmp_path: Path, module: str) -> None:
    """0700 while it is there, and nothing left of it after success or failure."""
    seen: list[int] = []

    def look(_event: dict[str, Any]) -> None:
        seen.extend(stat.S_IMODE(place.stat().st_mode) for place in (tmp_path / "runs").iterdir())

    path = playbook(tmp_path, f"    - {module.format(place=tmp_path)}\n")
    request = PlaybookRun(path, tmp_path / "hosts", variables={"a_secret": SECRET})
    if "fail" in module:
        with pytest.raises(TaskFailed, match="Host 'localhost' failed"):
            run_playbook(request, runs=tmp_path / "runs", listener=look)
    else:
        run_playbook(request, runs=tmp_path / "runs", listener=look)
    assert set(seen) == {0o700}
    assert list((tmp_path / "runs").iterdir()) == []


def test_variables_reach_the_run_whole(tmp_path: Path) -> None:
    """Lists, numbers and text with quotes, braces and line ends arrive as they were."""
    value = {"list": ["a b", "c'd"], "number": 3, "text": 'x "y" \n z', "none": None}
    path = playbook(tmp_path, "    - ansible.builtin.set_stats: {data: {vmm: '{{ given }}'}}\n")
    assert run(path, variables={"given": value}).result == value


def test_playbook_that_cannot_be_parsed_is_wrong_usage(tmp_path: Path) -> None:
    """The parser's own words are told, with the command that shows them again."""
    path = playbook(tmp_path, "    - no_such_module_anywhere:\n")
    with pytest.raises(UsageError, match="no_such_module_anywhere") as failed:
        run(path)
    assert failed.value.hint == f"ansible-playbook --syntax-check {path}"


def test_ansibles_own_switches_are_passed_on(tmp_path: Path) -> None:
    """Words with spaces stay words."""
    path = playbook(tmp_path, "    - ansible.builtin.set_stats: {data: {vmm: {said: '{{ word }}'}}}\n")
    assert run(path, extra_arguments=["-e", "word='two words'"]).result == {"said": "two words"}


def test_absent_ansible_is_told_with_what_installs_it(tmp_path: Path) -> None:
    """A controller without ansible-playbook gets one sentence instead of status 127."""
    lonely = tmp_path / "bin" / "python"
    lonely.parent.mkdir()
    lonely.symlink_to(sys.executable)
    program = (
        "import sys; from pathlib import Path; sys.executable = sys.argv[1]\n"
        "from vmm_automation.adapters.runner import PlaybookRun, run_playbook\n"
        "from vmm_automation.errors import ToolMissing\n"
        "try: run_playbook(PlaybookRun(Path('p'), Path('i')), runs=Path('runs'), listener=print)\n"
        "except ToolMissing as missing: print(missing.message, missing.hint)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(lonely)],
        capture_output=True,
        check=True,
        cwd=tmp_path,
        env={"PATH": str(tmp_path), "PYTHONPATH": str(content_directory())},
        text=True,
    )
    assert "'ansible-playbook' is not installed" in done.stdout
    assert f"{lonely} -m pip install ansible-core" in done.stdout
    assert ToolMissing.exit_code == 8


def sleepers(mark: str) -> list[psutil.Process]:
    """Processes that were started with a duration that only this test uses."""
    return [process for process in psutil.process_iter() if mark in _words(process)]


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _works(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_the_run_with_all_that_it_started(tmp_path: Path, number: signal.Signals) -> None:
    """The work stops with the command, its private directory is gone, and the status says canceled."""
    mark = f"300.{os.getpid()}{int(number)}"
    path = playbook(tmp_path, f"    - ansible.builtin.command: sleep {mark}\n")
    started = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path), str(tmp_path / "runs")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(content_directory())},
        start_new_session=True,  # a signal of this test's is meant for it alone
        text=True,
    )
    deadline = time.monotonic() + DEADLINE_S
    while not sleepers(mark):
        assert time.monotonic() < deadline, "the playbook did not begin"
        time.sleep(0.1)
    family = psutil.Process(started.pid).children(recursive=True)
    started.send_signal(number)
    said, _ = started.communicate(timeout=DEADLINE_S)
    assert (started.returncode, said) == (14, f"Playbook 'play' was ended by {number.name}\n")
    assert sleepers(mark) == []
    assert [process for process in family if _works(process)] == []
    assert list((tmp_path / "runs").iterdir()) == []
