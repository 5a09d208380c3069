"""What a capture would do, told before it is done: a guest of namespaces, a real state and image store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from vmm_automation.errors import Conflict
from vmm_automation.model.session import LIVE, SessionState
from vmm_automation.operations import image_transfer
from vmm_automation.operations.context import Context
from vmm_automation.operations.image_preview import preview
from vmm_automation.operations.session import find
from vmm_automation.places import Places
from vmm_automation.site import Site
from vmm_automation.state import sessions, vms

from ..crash.world import World
from ..real_state import RealState
from .local_guest import LocalGuest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces with accounts need root")

_UA = """
command: [sleep, "9"]
versions: {"1": {kind: deb, packages: [sleep]}}
user_data: {settings: [.config/notes], exceptions: [.config/notes/rules], exclude: ["*.tmp", cache]}
"""


@pytest.fixture
def context(tmp_path: Path) -> Context:
    world = World(RealState(tmp_path / "home"))
    world.make()
    (world.files / "site" / "uas" / "notes.yml").write_text(_UA)
    context = world.context()
    context = Context(site=Site.load(world.files / "site"), places=Places(tmp_path / "home"), actor="root")
    with context.store.transaction() as tx:
        now = context.clock.now()
        vms.mark_clean(tx, vm="local", now=now)
        what: dict[str, Any] = {"user": "ann", "ua": "notes", "version": "1", "vm": "local"}
        sessions.claim(tx, session_id="s-9", **what, terminal="desktop", explanation={}, owner="", now=now)
        sessions.move_to(tx, session_id="s-9", state=SessionState.ACTIVE, expected=LIVE, now=now)
    return context


def test_preview_tells_what_the_capture_then_does_and_what_it_leaves_out(
    context: Context, guest: LocalGuest
) -> None:
    """Added, changed, removed by layer and rule; what is left out with the reason; no trace anywhere."""
    guest.as_session(
        "mkdir -p .config/notes/rules .config/notes/cache .config/other; cd .config/notes; "
        "echo 1 >a; echo 1 >b; echo 1 >x.tmp; echo 1 >cache/p; echo 1 >rules/r; mkfifo ../f p"
    )
    session = find(context, "s-9")
    definition = context.site.ua("notes")
    image_transfer.capture_from(context, guest, session=session, definition=definition)
    guest.as_session("cd .config/notes; sleep 0.1; echo 2 >a; rm b; echo 1 >rules/s")
    before = (guest.tree(), context.images.archives(), sorted(guest.outside("/root").iterdir()))
    told = preview(context, guest, "s-9")
    assert (guest.tree(), context.images.archives(), sorted(guest.outside("/root").iterdir())) == before
    assert (told["parent"], told["refused"], told["changed"]) == (1, "", False)
    assert {(one["layer"], one["change"], one["path"]) for one in told["changes"]} == {
        ("settings", "changed", ".config/notes/a"),
        ("settings", "removed", ".config/notes/b"),
        ("exceptions", "added", ".config/notes/rules/s"),
    }
    assert told["changes"][0]["why"] == "'.config/notes' is declared as settings"
    left = {one["path"]: one["why"] for one in told["left_out"]}
    assert left == {
        ".config/notes/cache": "excluded by 'cache'",
        ".config/notes/x.tmp": "excluded by '*.tmp'",
        ".config/notes/p": "named pipes are never kept, they hold no data",
        ".config/other": "no settings or exceptions are declared there",
        ".config/f": "no settings or exceptions are declared there",
        ".profile": "no settings or exceptions are declared there",
    }


def test_preview_says_what_would_refuse_the_capture(context: Context, guest: LocalGuest) -> None:
    """A link out of the home is told, not raised; a session that is not active is refused."""
    guest.as_session("mkdir -p .config/notes; ln -s /etc/passwd .config/notes/out")
    assert "leads out" in preview(context, guest, "s-9")["refused"]
    with pytest.raises(Conflict, match="not active on 'local'"):
        preview(context, guest, "s-1")
