"""A playbook run as the command line does it: found by name, followed line by line."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vmm_automation.adapters.run_outcome import RunOutcome
from vmm_automation.adapters.runner import PlaybookRun, run_playbook
from vmm_automation.content import playbooks
from vmm_automation.errors import NotFound, UsageError
from vmm_automation.operations.actor import os_user
from vmm_automation.operations.ownership import owner_token
from vmm_automation.operations.tokens import TOKEN, TOKEN_FILE, in_memory
from vmm_automation.places import Places
from vmm_automation.site import Site

_PROGRESS_MARK = "vmm: "


def run_named(
    name: str,
    variables: Mapping[str, Any],
    *,
    site: Path,
    check: bool,
    say: Callable[[str], None],
    limit: str = "",
    extra_arguments: Sequence[str] = (),
) -> RunOutcome:
    """Run a playbook of the project on a site.

    Raises:
        NotFound: there is no such playbook.
        UsageError: a variable has bytes that are no text.
        VmmError: the run failed; see :func:`vmm_automation.adapters.runner.run_playbook`.
    """
    known = playbooks()
    if name not in known:
        raise NotFound(
            f"Playbook '{name}' does not exist: there are {', '.join(known)}",
            hint="vmm playbook run --help",
            details={"playbook": name},
        )
    _require_text(variables)
    with _token_file() as token:
        request = PlaybookRun(
            playbook=known[name],
            inventory=_inventory(Site.load(site)),
            variables={
                "vmm_actor": os_user(),
                "vmm_door": "cli",
                "vmm_run": owner_token(os.getpid()),
                **token,
                **variables,
            },
            limit=limit,
            check=check,
            extra_arguments=extra_arguments,
        )
        return run_playbook(request, runs=Places.from_environment().runs, listener=_Follower(say))


@contextmanager
def _token_file() -> Iterator[dict[str, str]]:
    """Where the playbook finds the Watcher's token of this environment, which a run does not get to see."""
    if token := os.environ.get(TOKEN):
        with in_memory(token) as file:
            yield {"vmm_token_file": str(file)}
    else:
        file_named = os.environ.get(TOKEN_FILE)
        yield {"vmm_token_file": str(Path(file_named).absolute())} if file_named else {}


def _require_text(variables: Mapping[str, Any]) -> None:
    """Refuse what Ansible cannot read: bytes of the command line that are not UTF-8."""
    for name, value in variables.items():
        text = json.dumps(value, ensure_ascii=False, default=str)
        try:
            text.encode()
        except UnicodeEncodeError as wrong:
            shown = text.encode("ascii", "backslashreplace").decode()[:40]
            raise UsageError(
                f"Value {shown} of variable '{name}' is not text in UTF-8",
                hint="locale charmap",
                details={"variable": name},
            ) from wrong


def _inventory(site: Site) -> Path:
    path = site.directory / "site.vmm.yml"
    if not path.is_file():
        raise NotFound(
            f"Site '{site.name}' has no inventory file '{path}'", hint=f"echo 'plugin: vmm' > {path}"
        )
    return path


class _Follower:
    """Says what a run is doing: the name of each task, and what long tasks say themselves."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._started = time.monotonic()

    def __call__(self, event: dict[str, Any]) -> None:
        """Take one event of the run."""
        kind = event.get("event")
        if kind == "playbook_on_task_start":
            task = str((event.get("event_data") or {}).get("task") or "")
            if not task.startswith("Validating arguments"):
                self._line(task)
        elif kind == "verbose":
            for line in str(event.get("stdout") or "").splitlines():
                if line.startswith(_PROGRESS_MARK):
                    self._line(f"  {line.removeprefix(_PROGRESS_MARK)}")

    def _line(self, text: str) -> None:
        self._say(f"[{time.monotonic() - self._started:6.1f} s] {text}")
