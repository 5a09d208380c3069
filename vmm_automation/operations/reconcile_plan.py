"""What is to be done so that sessions and their VMs agree: decided from what was seen, without doing it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from vmm_automation.model.session import Session, SessionState
from vmm_automation.model.vm import Vm, VmState
from vmm_automation.operations.follow import IN_USE
from vmm_automation.operations.forwards import IN_MEMORY


class Action(StrEnum):
    """What brings a session and its VM together again."""

    NONE = "none"
    PAUSE = "pause"
    RESUME = "resume"
    END_SUSPENSION = "end_suspension"
    FORWARD = "forward"
    UNFORWARD = "unforward"
    MARK = "mark"
    START_UA = "start_ua"
    ABANDON = "abandon"
    CLOSE = "close"


#: done in the guest, by the caller
IN_GUEST = frozenset({Action.START_UA, Action.CLOSE})


@dataclass(frozen=True)
class Seen:
    """A VM as libvirt has it (None: not at all), and its forwards without SSH's (None: nobody can tell)."""

    vm: Vm | None
    forwards: Mapping[int, int] | None = None

    @property
    def text(self) -> str:
        """In a word."""
        return str(self.vm.state) if self.vm else "gone"


@dataclass(frozen=True)
class Judged:
    """What time says of a session: cut off while opening or closing, its lease over, itself overdue (why)."""

    given_up: bool = False
    lease_over: bool = False
    overdue: str = ""


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be; ``session`` is empty for what belongs to none."""

    session: str
    vm: str
    found: str
    wanted: str
    action: Action
    port: int = 0

    def to_document(self) -> dict[str, Any]:
        """As in result documents."""
        return {
            "session": self.session,
            "vm": self.vm,
            "found": self.found,
            "wanted": self.wanted,
            "action": str(self.action),
        }


def plan(session: Session, seen: Seen, judged: Judged) -> list[Finding]:
    """What is to be done for one live session, in this order; an empty list if all is well."""
    found = f"{session.state}, VM {seen.text}"
    finding = Finding(session.id, session.vm, found, "", Action.NONE)
    if session.state is SessionState.STARTING:
        opened = replace(finding, found="opening cut off", wanted="failed", action=Action.ABANDON)
        return [opened] if judged.given_up else []
    if session.state is SessionState.CLOSING and not judged.given_up:
        return []
    if seen.vm is None or seen.vm.state not in IN_MEMORY:
        return [_mark(finding, session, obstacle(session, seen))]
    if session.state is SessionState.CLOSING:
        return [replace(finding, found="closing cut off", wanted="closed", action=Action.CLOSE)]
    if judged.overdue:
        return [replace(finding, found=judged.overdue, wanted="closed", action=Action.CLOSE)]
    return list(_in_use(finding, session, seen, judged))


def leftovers(vm: str, seen: Seen) -> list[Finding]:
    """Forwards of a VM that no session is on: those of one that has ended."""
    return [_leftover(vm, port) for port in sorted(seen.forwards or {})]


def obstacle(session: Session, seen: Seen) -> str:
    """Why a session cannot be used, as far as its VM is concerned; empty if it can."""
    if seen.vm is None:
        return f"its VM '{session.vm}' does not exist any more"
    return "" if seen.vm.state in IN_MEMORY else f"its VM '{session.vm}' is {seen.vm.state}"


def hint(session: Session, seen: Seen) -> str:
    """What to type about it."""
    return f"vmm session close {session.id} --discard" if seen.vm is None else f"vmm vm start {session.vm}"


def started_anew(session: Session) -> str:
    """The reason that a session has until its UA was started on a VM that lost its memory."""
    return f"its VM '{session.vm}' was started anew, its UA was not"


def _mark(finding: Finding, session: Session, reason: str) -> Finding:
    action = Action.NONE if session.reason == reason else Action.MARK
    return replace(finding, wanted=reason, action=action)


def _in_use(finding: Finding, session: Session, seen: Seen, judged: Judged) -> Iterator[Finding]:
    assert session.state in IN_USE
    assert seen.vm is not None
    wants, paused = session.state, seen.vm.state is VmState.PAUSED
    if wants is SessionState.SUSPENDED and judged.lease_over:
        wants, paused = SessionState.ACTIVE, False
        yield replace(finding, wanted="active: the lease has ended", action=Action.END_SUSPENSION)
    elif wants is SessionState.SUSPENDED and not paused:
        paused = True
        yield replace(finding, wanted="VM paused", action=Action.PAUSE)
    elif wants is SessionState.ACTIVE and paused:
        paused = False
        yield replace(finding, wanted="VM running", action=Action.RESUME)
    lost = session.port and seen.forwards is not None and session.port not in seen.forwards
    if lost:
        text = f"port {session.port} does not lead to the VM"
        yield replace(finding, found=text, wanted="forwarded", action=Action.FORWARD, port=session.port)
    if (lost or session.reason) and not paused:
        yield replace(
            finding,
            found=session.reason or started_anew(session),
            wanted="UA running",
            action=Action.START_UA,
        )
    for port in sorted(set(seen.forwards or {}) - {session.port}):
        yield _leftover(session.vm, port)


def _leftover(vm: str, port: int) -> Finding:
    text = f"port {port} leads to the VM and belongs to no session"
    return Finding("", vm, text, "not forwarded", Action.UNFORWARD, port=port)
