"""Whoever starts an operation, the `vmm` command or plain Ansible, gets the same result document."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from .controller import Controller

_TIME = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]+Z")
_OWN = re.compile(r"s-[0-9a-f]{8}(-[0-9a-f]{8})?")
_COUNTERS = {"audit", "archive", "deployed", "fence", "number"}


def alike(value: Any, key: str = "") -> Any:
    """A document without what differs between two runs of the same: times, session ids, counters."""
    if key in _COUNTERS or (key == "generation" and isinstance(value, int)):
        return "COUNTER"
    if isinstance(value, dict):
        return {name: alike(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [alike(item) for item in value]
    if isinstance(value, str):
        return _OWN.sub("s-x", _TIME.sub("TIME", re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", value)))
    return value


@pytest.fixture
def session(vmm: Controller, radicale: tuple[str, str]) -> Iterator[str]:
    """An active session."""
    opened = vmm("session", "open", "--user", "pat", "--ua", "radicale", "--vm", radicale[0]).result
    identifier: str = opened["session"]["id"]
    yield identifier
    vmm("session", "close", identifier)


def test_dry_runs_give_the_same_document_through_both_doors(
    vmm: Controller, radicale: tuple[str, str]
) -> None:
    """What would be done is told in the same words, and exactly the same values."""
    both = list(radicale)
    pairs: list[tuple[tuple[str, ...], str, dict[str, Any]]] = [
        (("vm", "create", "vm-8"), "vm_create", {"vm_names": ["vm-8"]}),
        (("vm", "stop", both[0]), "vm_stop", {"vm_names": [both[0]]}),
        (("vm", "delete", both[0]), "vm_delete", {"vm_names": [both[0]], "vm_allow_destroy": True}),
        (
            ("ua", "update", "radicale", "--version", "3.5.4"),
            "ua_update",
            {"ua_id": "radicale", "ua_version": "3.5.4"},
        ),
        (("ua", "remove", "radicale"), "ua_remove", {"ua_id": "radicale", "ua_allow_destroy": True}),
        (
            ("session", "open", "--user", "pat", "--ua", "radicale"),
            "session_open",
            {"session_user": "pat", "session_ua": "radicale"},
        ),
    ]
    for words, playbook, variables in pairs:
        assert vmm(*words, "--check").result == vmm.play(playbook, check=True, **variables).result, playbook


def test_unchanged_state_gives_the_same_document_through_both_doors(vmm: Controller, session: str) -> None:
    """Where nothing is to be done both doors say so with exactly the same values."""
    opened = {"session_user": "pat", "session_ua": "radicale"}
    pairs: list[tuple[tuple[str, ...], str, dict[str, Any]]] = [
        (("vm", "create", "vm-1", "vm-2"), "vm_create", {"vm_names": ["vm-1", "vm-2"]}),
        (("session", "open", "--user", "pat", "--ua", "radicale"), "session_open", opened),
        (("session", "resume", session), "session_resume", {"session_id": session}),
    ]
    for words, playbook, variables in pairs:
        assert vmm(*words).result == vmm.play(playbook, **variables).result, playbook


def test_session_and_image_give_the_same_document_through_both_doors(
    vmm: Controller, session: str, radicale: tuple[str, str]
) -> None:
    """A session opened, captured and closed by command and by playbook differs in times and counters only."""
    by_hand = {
        "captured": vmm("image", "capture", session).result,
        "closed": vmm("session", "close", session).result,
    }
    wanted: dict[str, Any] = {"session_user": "pat", "session_ua": "radicale", "session_vm": radicale[0]}
    opened = vmm.play("session_open", **wanted).result
    name = opened["session"]["id"]
    by_ansible = {
        "captured": vmm.play("image_capture", user_image_session=name).result,
        "closed": vmm.play("session_close", session_id=name).result,
    }
    reopened = vmm("session", "open", "--user", "pat", "--ua", "radicale", "--vm", radicale[0]).result
    vmm("session", "close", reopened["session"]["id"])
    assert alike(by_hand) == alike(by_ansible)
    assert alike(reopened) == alike(opened)


def test_watchers_give_the_same_document_through_both_doors(vmm: Controller, session: str) -> None:
    """Assign, acquire, suspend, resume, release and revoke answer alike for a command and for a playbook."""
    lock = ("watcher", "lock")
    steps = [
        (("watcher", "assign", session, "bo", "--privilege", "suspend"), "watcher_assign"),
        (("watcher", "update", session, "bo", "--add", "view"), "watcher_update"),
        ((*lock, "acquire", session, "bo"), "watcher_lock_acquire"),
        ((*lock, "renew", session, "bo"), "watcher_lock_renew"),
        (("session", "suspend", session, "--as", "bo"), "session_suspend"),
        (("session", "resume", session, "--as", "bo"), "session_resume"),
        ((*lock, "release", session, "bo"), "watcher_lock_release"),
        (("watcher", "revoke", session, "bo"), "watcher_revoke"),
    ]
    privileges = {"watcher_assign": ["suspend"], "watcher_update": ["view"]}
    by_hand = {playbook: vmm(*words).result for words, playbook in steps}
    by_ansible = {}
    for _words, playbook in steps:
        if playbook.startswith("session"):
            variables: dict[str, Any] = {"session_id": session, "session_watcher": "bo"}
        else:
            variables = {"watcher_session": session, "watcher_name": "bo"}
            variables["watcher_privileges"] = privileges.get(playbook, [])
        by_ansible[playbook] = vmm.play(playbook, **variables).result
    assert alike(by_hand) == alike(by_ansible)
