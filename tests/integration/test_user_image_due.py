"""Captures on a timer, in a guest of namespaces with a real state and image store."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from vmm_automation.model.ua import CaptureRules, Hook
from vmm_automation.operations import session_guest
from vmm_automation.operations.context import Context
from vmm_automation.site import Site
from vmm_automation.state import sessions
from vmm_automation.state.store import Snapshot

from .local_guest import LocalGuest
from .test_user_image_preview import context

__all__ = ["context"]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces with accounts need root")


@pytest.fixture
def timed(context: Context, guest: LocalGuest) -> Context:
    """Session s-9 is due whenever a second has passed; its UA runs, and says where it was held."""
    file = context.site.directory / "uas" / "notes.yml"
    hooks = "freeze: {command: [touch, .held]}, thaw: {command: [touch, .let-go]}"
    with file.open("a") as ua:
        ua.write(f"capture: {{every_s: 1, {hooks}, dump: {{command: [touch, .dumped]}}}}\n")
    guest.as_session("mkdir -p .config/notes; echo 1 >.config/notes/a")
    guest.in_background("sleep 300")
    made = replace(context, site=Site.load(context.site.directory))
    made.__dict__.update(store=context.store, images=context.images, hypervisor=context.hypervisor)
    assert made.site.ua("notes").capture == CaptureRules(
        every_s=1,
        freeze=Hook(("touch", ".held")),
        thaw=Hook(("touch", ".let-go")),
        dump=Hook(("touch", ".dumped")),
    )
    return made


def looked_at(tx: Snapshot) -> str:
    return sessions.get(tx, session_id="s-9").looked_at


def test_data_that_are_as_they_were_are_looked_at_once_in_that_time(
    timed: Context, guest: LocalGuest
) -> None:
    """A look that found nothing new is noted, without a generation or an entry of the audit chain."""
    done = session_guest.capture(timed, guest, "s-9", changed_only=True)
    assert done["captured"]["s-9"]["generation"]["number"] == 1
    with timed.store.reading() as tx:
        before = tx.all("SELECT COUNT(*) AS entries FROM audit_events")
        assert looked_at(tx) == ""
    assert session_guest.capture(timed, guest, "s-9", changed_only=True) == {"changed": False, "captured": {}}
    with timed.store.reading() as tx:
        assert looked_at(tx) != ""
        assert tx.all("SELECT COUNT(*) AS entries FROM audit_events") == before


def test_dry_run_of_what_is_due_reads_the_guest_and_no_more(timed: Context, guest: LocalGuest) -> None:
    """No hook runs, nobody stands still, no file is written there or here; the session is named."""
    before = (guest.tree(), guest.run("ls -la --time-style=full-iso /root").stdout, timed.images.archives())
    guest.transfers = 0
    done = session_guest.capture(timed, guest, "s-9", changed_only=True, check=True)
    assert done == {
        "changed": True,
        "captured": {"s-9": {"actions": ["capture 2 files, directories and links"]}},
    }
    after = (guest.tree(), guest.run("ls -la --time-style=full-iso /root").stdout, timed.images.archives())
    assert (after, guest.transfers) == (before, 0)
    session_guest.capture(timed, guest, "s-9", changed_only=True)
    assert ".held" in guest.tree()
