"""Operations leave their entries in the audit chain, in the transaction of what they change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vmm_automation.errors import DiskFull
from vmm_automation.model.session import Session, SessionState
from vmm_automation.operations import audit_log, session, ua_notes
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import image_change, note_vm, session_change
from vmm_automation.ports import GuestResult
from vmm_automation.state import sessions, vms

from .one_vm import context, vm

__all__ = ["context", "vm"]


class NamedGuest:
    """Implements ``ports.Guest`` as far as its name: nothing is asked of it here."""

    name = "vm-7"

    def run(self, script: str, *, stdin: bytes = b"") -> GuestResult:
        """Not asked for here."""
        raise NotImplementedError((script, stdin))

    def put(self, local: Path, remote: str) -> None:
        """Not asked for here."""

    def fetch(self, remote: str, local: Path, *, limit: int) -> None:
        """Not asked for here."""


def told(context: Context, name: str = "") -> list[tuple[str, Any]]:
    """Action and result of each entry; the chain is whole."""
    assert audit_log.verify(context.store)["valid"]
    return [
        (event["action"], event["result"])
        for event in audit_log.read(context.store, object_name=name)["events"]
    ]


def claimed(context: Context, name: str, vm: str) -> Session:
    with context.store.transaction() as tx:
        now = context.clock.now()
        vms.mark_clean(tx, vm=vm, now=now)
        with session_change(tx, context, name, action="session.claim", now=now) as result:
            made = sessions.claim(
                tx,
                session_id=name,
                user="cleo",
                ua="cal",
                version="1",
                vm=vm,
                terminal="phone",
                explanation={},
                owner="",
                now=now,
            )
            result["fence"] = made.fence
    return made


def test_session_is_followed_from_close_to_release(context: Context) -> None:
    """Closing and released, each with the state it led to; digests join one entry to the next."""
    session.begin_close(context, "s-1")
    session.release(context, "s-1")
    close, release = audit_log.read(context.store, object_name="s-1")["events"][-2:]
    assert (close["action"], close["result"]) == ("session.close", {"state": "closing"})
    assert (release["action"], release["result"]) == ("session.release", {"state": "closed", "generation": 0})
    assert close["after"] == release["before"] != release["after"]
    assert audit_log.verify(context.store)["valid"]


def test_dry_run_and_refusal_leave_no_entry(context: Context) -> None:
    """What was not done is not told."""
    before = told(context)
    session.begin_close(context, "s-1", check=True)
    assert told(context) == before


def test_new_session_begins_with_nothing_and_abandoned_one_is_told(context: Context) -> None:
    """The first entry of a session has no digest before it."""
    claimed(context, "s-2", "vm-2")
    session.abandon(context, "s-2", reason="cut off")
    assert [action for action, _ in told(context, "s-2")] == ["session.claim", "session.abandon"]
    first = audit_log.read(context.store, object_name="s-2")["events"][0]
    assert (first["before"], len(first["after"])) == ("", 64)
    assert session.find(context, "s-2").state is SessionState.FAILED


def test_uas_of_a_vm_are_told_below_it(context: Context) -> None:
    """Active, failed, removed: with the version, and never with what a program in the guest printed."""
    guest = NamedGuest()
    ua_notes.active(context, guest, ua_id="cal", version="1", digest="d" * 64)
    ua_notes.removed(context, guest, ua_id="cal", version="")
    note_vm(context, guest.name, action="vm.create", failure=DiskFull("password=hunter2"))
    entries = told(context, guest.name)
    assert entries == [
        ("ua.active", {"version": "1", "digest": "d" * 64, "status": "ok"}),
        ("ua.absent", {"versions": ["1"], "status": "ok"}),
        ("vm.create", {"status": "failed", "error": "DiskFull"}),
    ]


def test_images_are_told_by_user_and_ua(context: Context) -> None:
    """A user's log has the generations of all UAs."""
    with context.store.transaction() as tx:
        now = context.clock.now()
        with image_change(tx, context, user="cleo", ua="cal", action="image.capture", now=now) as result:
            result["number"] = 1
    assert told(context, "cleo") == told(context, "cleo/cal") == [("image.capture", {"number": 1})]
