"""What a playbook run left, read from its events, and the one error that tells why it failed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vmm_automation.errors import (
    GuestUnreachable,
    Partial,
    TaskFailed,
    UsageError,
    VmmError,
    error_from_document,
)

_EXIT_PARSE_ERROR = 4


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


def raise_failure(playbook: Path, outcome: RunOutcome) -> None:
    """Raise what a run that did not succeed failed with, as the most telling class.

    Raises:
        VmmError: the error that the last failed task gave; Partial where other hosts succeeded; else the
            class of what happened.
    """
    if outcome.status == "successful":
        return
    name = playbook.stem
    if not outcome.failures:
        reason = " ".join(outcome.stdout_tail[-3:]) or "it printed nothing"
        kind = UsageError if outcome.return_code == _EXIT_PARSE_ERROR else TaskFailed
        raise kind(
            f"Playbook '{name}' ended with status {outcome.return_code}: {reason}",
            hint=f"ansible-playbook --syntax-check {playbook}",
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
