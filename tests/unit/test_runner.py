"""What is made of a playbook run's events, and what a run may see of the environment; nothing is run here."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from vmm_automation.adapters.run_outcome import RunOutcome, note_event, raise_failure
from vmm_automation.adapters.runner import run_environment
from vmm_automation.errors import (
    GuestUnreachable,
    NotPermitted,
    Partial,
    TaskFailed,
    UsageError,
    VmmError,
)

PLAYBOOK = Path("/p/vm_start.yml")


def event(kind: str, host: str = "localhost", *, ignored: bool = False, **result: Any) -> dict[str, Any]:
    data = {"host": host, "task": "Start it", "res": result, "ignore_errors": ignored}
    return {"event": kind, "event_data": data}


def outcome_of(*events: dict[str, Any], status: str = "failed", code: int = 2) -> RunOutcome:
    outcome = RunOutcome(status=status, return_code=code)
    for each in events:
        note_event(each, outcome)
    return outcome


def raised(*events: dict[str, Any], code: int = 2) -> VmmError:
    with pytest.raises(VmmError) as failed:
        raise_failure(PLAYBOOK, outcome_of(*events, code=code))
    return failed.value


def test_environment_is_an_allow_list() -> None:
    """A secret of the parent's environment never reaches a run; what Ansible, SSH and we need does."""
    secrets = {
        "AWS_SECRET_ACCESS_KEY": "x",
        "PGPASSWORD": "x",
        "BORG_PASSPHRASE": "x",
        "MY_ANSIBLE_TOKEN": "x",
        "VMM_WATCHER_TOKEN": "x",
    }
    needed = {"HOME": "/h", "SSH_AUTH_SOCK": "/s", "VMM_HOME": "/v", "ANSIBLE_FORKS": "3", "TZ": "UTC"}
    kept = run_environment({**secrets, **needed, "PATH": "/bin"})
    assert not kept.keys() & secrets.keys()
    assert needed.items() <= kept.items()


def test_programs_of_the_interpreter_come_first() -> None:
    """An environment that is not activated still runs its own ansible-playbook."""
    assert run_environment({"PATH": "/bin"})["PATH"] == f"{Path(sys.executable).parent}:/bin"
    assert run_environment({})["PATH"].endswith(os.defpath)


def test_host_keys_are_checked_unless_said_otherwise() -> None:
    """Runner would turn it off where nothing is said."""
    assert run_environment({})["ANSIBLE_HOST_KEY_CHECKING"] == "True"


def test_own_plugins_and_configuration_are_found_from_anywhere() -> None:
    """A run does not depend on the directory it is started from; an operator's own setting wins."""
    kept = run_environment({"ANSIBLE_CONFIG": "/mine.cfg"})
    assert kept["ANSIBLE_CONFIG"] == "/mine.cfg"
    assert Path(kept["ANSIBLE_ACTION_PLUGINS"], "vmm_vm.py").is_file()
    assert Path(kept["ANSIBLE_INVENTORY_PLUGINS"], "vmm.py").is_file()


def test_forks_grow_with_the_processors_unless_said_otherwise() -> None:
    """An operator's own number, and own configuration, are left as they are."""
    assert run_environment({})["ANSIBLE_FORKS"] == str(max(10, 4 * (os.cpu_count() or 1)))
    assert run_environment({"ANSIBLE_FORKS": "3"})["ANSIBLE_FORKS"] == "3"
    assert "ANSIBLE_FORKS" not in run_environment({"ANSIBLE_CONFIG": "/mine.cfg"})


def test_failed_task_with_our_error_is_that_error() -> None:
    """Class, hint and details travel; host and task are added."""
    document = NotPermitted("no", hint="ask", details={"holder": "bo"}).to_document()
    error = raised(event("runner_on_failed", vmm_error=document, msg="no"))
    assert (type(error), error.message, error.hint) == (NotPermitted, "no", "ask")
    assert error.details == {"holder": "bo", "host": "localhost", "task": "Start it"}


def test_failed_item_of_a_loop_is_told_instead_of_its_task() -> None:
    """The task of a loop only says that some item failed."""
    document = GuestUnreachable("vm-2 is gone").to_document()
    items = [{"msg": "fine"}, {"failed": True, "msg": "gone", "vmm_error": document}]
    error = raised(event("runner_on_failed", msg="One or more items failed", results=items))
    assert (type(error), error.message) == (GuestUnreachable, "vm-2 is gone")


@pytest.mark.parametrize(
    ("kind", "error_class", "verb"),
    [
        ("runner_on_failed", TaskFailed, "failed at"),
        ("runner_on_unreachable", GuestUnreachable, "could not be reached at"),
    ],
)
def test_failure_of_other_modules_is_classified_by_its_event(
    kind: str, error_class: type[VmmError], verb: str
) -> None:
    """Host, task and reason are in the sentence."""
    error = raised(event("runner_on_ok", "localhost"), event(kind, "vm-1", msg="no disk"))
    assert type(error) is error_class
    assert error.message == f"Host 'vm-1' {verb} task 'Start it': no disk"


def test_some_hosts_failed_is_partial_with_both_lists() -> None:
    """What is done and what is not are told apart; the controller's own tasks do not count as a success."""
    error = raised(
        event("runner_on_ok", "localhost"),
        event("runner_on_ok", "vm-1"),
        event("runner_on_ok", "vm-2"),
        event("runner_on_failed", "vm-2", msg="no disk"),
    )
    assert isinstance(error, Partial)
    assert error.details["succeeded"] == ["vm-1"]
    assert [failure["host"] for failure in error.details["failures"]] == ["vm-2"]


def test_failure_on_the_controller_is_never_partial() -> None:
    """Where the controller's own step failed, the request failed."""
    error = raised(event("runner_on_ok", "vm-1"), event("runner_on_failed", "localhost", msg="full"))
    assert isinstance(error, TaskFailed)


def test_ignored_and_rescued_failures_do_not_fail_a_run() -> None:
    """The playbook decides; only the last failure that it did not forgive counts."""
    assert outcome_of(event("runner_on_failed", ignored=True)).failures == []
    rescued = outcome_of(event("runner_on_failed", msg="x"), event("runner_on_ok"), status="successful")
    raise_failure(PLAYBOOK, rescued)
    last = NotPermitted("the cause").to_document()
    error = raised(event("runner_on_failed", msg="first"), event("runner_on_failed", vmm_error=last))
    assert error.message == "the cause"


def test_run_that_ended_before_any_task_is_told_by_its_output() -> None:
    """A playbook that cannot be parsed is wrong usage, anything else a failure; what was printed is shown."""
    for code, error_class in ((4, UsageError), (1, TaskFailed)):
        outcome = RunOutcome(status="failed", return_code=code, stdout_tail=["ERROR! no such role"])
        with pytest.raises(error_class, match="no such role"):
            raise_failure(PLAYBOOK, outcome)


def test_result_is_what_the_run_leaves_in_its_stats() -> None:
    """The result document, and whether any task changed something."""
    stats = {"event": "playbook_on_stats", "event_data": {"artifact_data": {"vmm": {"vms": {}}}}}
    outcome = outcome_of(event("runner_on_ok", changed=True), event("runner_on_ok", changed=False), stats)
    assert (outcome.result, outcome.changed) == ({"vms": {}}, True)
    assert not outcome_of(event("runner_on_ok"), {"event": "verbose"}).changed


def test_run_within_a_run_does_not_inherit_its_callback() -> None:
    """One that a person set is kept."""
    kept = [
        "ANSIBLE_STDOUT_CALLBACK" in run_environment({"ANSIBLE_STDOUT_CALLBACK": callback})
        for callback in ("awx_display", "yaml")
    ]
    assert kept == [False, True]
