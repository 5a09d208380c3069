"""What our action plugins share: they run in the controller's process and call one operation each."""

from __future__ import annotations

import json
import os
import shlex
from abc import abstractmethod
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from vmm_automation.adapters.bounded_file import bounded
from vmm_automation.errors import Canceled, GuestUnreachable, UsageError, VmmError
from vmm_automation.operations.actor import os_user
from vmm_automation.operations.context import Context, open_context
from vmm_automation.operations.ownership import is_cut_off
from vmm_automation.operations.tokens import presented
from vmm_automation.ports import GuestResult
from vmm_automation.state import audit

PROGRESS_MARK = "vmm: "
_AWX_VARIABLES = ("awx_user_name", "tower_user_name")
_ACTOR_VARIABLES = ("vmm_actor", *_AWX_VARIABLES)
_DOORS = ("cli", "playbook", "awx")


class VmmAction(ActionBase):
    """One task: opens the site that the inventory belongs to, performs, and returns the result document.

    The document is registered as any task's result is, and joins the run's custom stats under ``vmm``, from
    where the CLI and AWX read it. A :class:`VmmError` becomes a failed task with ``vmm_error``.
    """

    _supports_check_mode = True
    _supports_async = False

    @abstractmethod
    def perform(self, context: Context, arguments: dict[str, Any], *, check: bool) -> dict[str, Any]:
        """Do the task; ``arguments`` are plain values."""

    def needs_token(self, arguments: dict[str, Any]) -> bool:
        """Whether a Watcher acts by this task, and proves it by the token of its grant."""
        del arguments
        return False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Entry point for Ansible."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        self.variables = task_vars or {}
        arguments = plain(self._task.args)
        try:
            self._require_run()
            context = self._context(arguments)
            check = bool(self._task.check_mode)
            document = {**self.perform(context, arguments, check=check), **_chain_end(context, check=check)}
        except VmmError as failure:
            result.update(failed=True, msg=_sentence(failure), vmm_error=plain(failure.to_document()))
            return result
        return {**result, **plain(document), "ansible_stats": _stats(document)}

    def guest(self) -> AnsibleGuest:
        """The guest of the task's host, or of the host it is delegated to."""
        name = str(self._task.delegate_to or self.variables.get("inventory_hostname", ""))
        return AnsibleGuest(self, name=name)

    def _require_run(self) -> None:
        """Begin nothing more once the command that runs this playbook was killed: the next one takes over."""
        run = str(self.variables.get("vmm_run") or "")
        if run and is_cut_off(run):
            raise Canceled("The command that ran this playbook is gone", hint="run the same command again")

    def _context(self, arguments: dict[str, Any]) -> Context:
        site = self.variables.get("vmm_site")
        if not site:
            raise UsageError(
                "Variable 'vmm_site' is not set: the inventory is not a site of this project",
                hint="ansible-playbook -i inventories/local/site.vmm.yml …",
            )
        token = ""
        if self.needs_token(arguments):
            named = arguments.get("token_file") or self.variables.get("vmm_token_file")
            token = presented(os.environ, str(named or ""))
        return open_context(
            str(site),
            actor=self._first(_ACTOR_VARIABLES),
            login=self._first(_AWX_VARIABLES) or os_user(),
            token=token,
            progress=_show,
            door=_door(self.variables),
        )

    def _first(self, names: tuple[str, ...]) -> str:
        """The first of some variables that says something."""
        return next((str(self.variables[name]) for name in names if self.variables.get(name)), "")


class AnsibleGuest:
    """The guest port over the connection that Ansible has for the host, become included."""

    def __init__(self, action: VmmAction, *, name: str) -> None:
        self._action = action
        self._name = name

    @property
    def name(self) -> str:
        """The VM's name."""
        return self._name

    def run(self, script: str, *, stdin: bytes = b"") -> GuestResult:
        """Run a POSIX shell script as root; a non-zero status does not raise."""
        try:
            # One word for the shell, because Ansible puts more words behind it; and always some input,
            # because without it Ansible asks for a terminal, which changes line ends in the output.
            command = f"/bin/sh -c {shlex.quote(script)}"
            done = self._action._low_level_execute_command(command, in_data=stdin or b"\n")
        except AnsibleConnectionFailure as failure:
            raise self._unreachable(failure) from failure
        return GuestResult(int(done["rc"]), _readable(done["stdout"]), _readable(done["stderr"]))

    def put(self, local: Path, remote: str) -> None:
        """Copy a file of the controller into the guest."""
        try:
            self._action._connection.put_file(str(local), remote)
        except AnsibleError as failure:
            raise self._unreachable(failure) from failure

    def fetch(self, remote: str, local: Path, *, limit: int) -> None:
        """Copy a file of the guest to the controller, ``limit`` bytes at most. Raises ArtifactInvalid."""
        with bounded(local, limit=limit, origin=f"File '{remote}' of VM '{self._name}'"):
            try:
                self._action._connection.fetch_file(remote, str(local))
            except AnsibleError as failure:
                raise self._unreachable(failure) from failure

    def _unreachable(self, failure: AnsibleError) -> GuestUnreachable:
        return GuestUnreachable(
            f"VM '{self._name}' could not be reached over SSH: {failure.message}",
            hint=f"vmm vm show {self._name}",
            details={"vm": self._name},
        )


def _readable(stream: Any) -> str:
    """What a guest wrote, without the lone surrogates that Ansible puts for what is not UTF-8."""
    return str(stream).encode(errors="surrogateescape").decode(errors="replace")


def plain(value: Any) -> Any:
    """The same value of built-in types only: Ansible marks the values it hands to plugins."""
    return json.loads(json.dumps(value, default=str))


def text_list(value: Any, *, name: str) -> list[str]:
    """A list of words from a list, or from a text with commas.

    Raises:
        UsageError: it is neither.
    """
    if isinstance(value, str):
        return [word.strip() for word in value.split(",") if word.strip()]
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return list(value)
    raise UsageError(f"Variable '{name}' must be a list of names", hint=f'-e \'{{"{name}": ["vm-1"]}}\'')


def _door(variables: dict[str, Any]) -> str:
    """Which door the run came through; a name that is no door is not kept."""
    if any(variables.get(key) for key in _AWX_VARIABLES):
        return "awx"
    named = str(variables.get("vmm_door") or "")
    return named if named in _DOORS else "playbook"


def _chain_end(context: Context, *, check: bool) -> dict[str, Any]:
    """The end of the audit chain after a task that may have added to it; a dry run kept nothing."""
    if check:
        return {"audit": None}
    with context.store.reading() as tx:
        return {"audit": audit.head(tx).to_document()}


def _stats(document: dict[str, Any]) -> dict[str, Any]:
    shown = {key: value for key, value in document.items() if key != "changed"}
    return {"data": {"vmm": plain(shown)}, "per_host": False, "aggregate": True}


def _sentence(failure: VmmError) -> str:
    return f"{failure.message}. Hint: {failure.hint}" if failure.hint else failure.message


def _show(line: str) -> None:
    Display().display(f"{PROGRESS_MARK}{line}")
