"""A branch in a guest: the real scripts bring it the newest generation and take what it saves, kept aside."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.claims import claim
from vmm_automation.model.policies import SecondSession
from vmm_automation.model.session import LIVE, SessionMode, SessionState
from vmm_automation.operations import image_listing, image_transfer, session_guest
from vmm_automation.operations.context import Context
from vmm_automation.operations.image_preview import preview
from vmm_automation.operations.session_abandon import find
from vmm_automation.state import generations, orphans, sessions, vms

from .local_guest import LocalGuest
from .test_user_image_preview import context

__all__ = ["context"]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces with accounts need root")
ANN: dict[str, Any] = {"user": "ann", "ua": "notes"}


@pytest.fixture
def branch(context: Context, guest: LocalGuest) -> str:
    """Ann's session s-9 wrote generation 1, goes on elsewhere, and this one began beside it in the guest."""
    file = context.site.directory / "uas" / "notes.yml"
    file.write_text(file.read_text().replace('command: [sleep, "9"]\n', ""))  # none of this machine
    definition = context.site.ua("notes")
    assert not definition.command
    guest.as_session("mkdir -p .config/notes; echo 1 >.config/notes/a")
    first = find(context, "s-9")
    image_transfer.capture_from(context, guest, session=first, definition=definition)
    with context.store.transaction() as tx:
        now = context.clock.now()
        tx.execute("UPDATE sessions SET vm = 'elsewhere' WHERE id = 's-9'")
        vms.mark_clean(tx, vm="local", now=now)
        claim(tx, "s-10", ua=ANN["ua"], vm="local", now=now, second=SecondSession.BRANCH)
    session_guest.bring_up(context, guest, "s-10")
    with context.store.transaction() as tx:
        now = context.clock.now()
        sessions.move_to(tx, session_id="s-10", state=SessionState.ACTIVE, expected=LIVE, now=now)
    return "s-10"


def test_branch_is_captured_beside_the_line_that_goes_on(
    context: Context, guest: LocalGuest, branch: str
) -> None:
    """While it goes on and at its end; each save is of what it began from; the line goes on."""
    found = find(context, branch)
    assert (found.mode, found.deployed) == (SessionMode.BRANCH, 1)
    guest.as_session("sleep 0.1; echo other >.config/notes/a")
    assert preview(context, guest, branch)["parent"] == 1
    during = session_guest.capture(context, guest, branch)
    why = f"session '{branch}' is a branch from generation 1"
    assert (during["generation"], during["orphaned"]["reason"]) == (None, why)
    definition = context.site.ua("notes")
    line = image_transfer.capture_from(context, guest, session=find(context, "s-9"), definition=definition)
    assert line["generation"]["number"] == 2
    guest.as_session("echo more >.config/notes/b")
    with context.store.transaction() as tx:
        now = context.clock.now()
        sessions.move_to(tx, session_id=branch, state=SessionState.CLOSING, expected=LIVE, now=now)
    ended = session_guest.save(context, guest, branch)["orphaned"]
    shown = image_listing.manifest(context.store, context.volumes, **ANN, orphan=ended["archive"])["manifest"]
    assert (shown["parent"], shown["consistency"]) == (1, "stopped")
    assert find(context, branch).captured
    with context.store.reading() as tx:
        assert len(orphans.list_orphans(tx, **ANN)) == 2
        assert [each.number for each in generations.list_generations(tx, **ANN)] == [1, 2]
