"""What becomes of a captured archive: a generation, or a save kept aside, and never nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.claims import claim
from vmm_automation.adapters.private_directory import private_directory
from vmm_automation.errors import Conflict
from vmm_automation.images.borg import archive_name
from vmm_automation.model.image import Generation, Manifest
from vmm_automation.model.session import SessionState
from vmm_automation.operations import audit_log, image_store, write_back
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import session_change
from vmm_automation.state import generations, orphans, sessions, vms

from ..fake_clock import FakeClock
from .stored_images import context, ensure_store, make_tar, manifest_of, numbers

__all__ = ["context"]
ANN: dict[str, Any] = {"user": "ann", "ua": "radicale"}


def claimed(context: Context, name: str) -> int:
    """A session of ann's on a VM of its own; its fence."""
    with context.store.transaction() as tx:
        now = context.clock.now()
        vms.mark_clean(tx, vm=f"vm-{name}", now=now)
        return claim(tx, name, ua=ANN["ua"], vm=f"vm-{name}", now=now).fence


def failed(context: Context, name: str) -> None:
    with context.store.transaction() as tx:
        sessions.move_to(
            tx,
            session_id=name,
            state=SessionState.FAILED,
            expected=frozenset(SessionState),
            now=context.clock.now(),
        )


def started_anew(context: Context, name: str) -> None:
    with context.store.transaction() as tx:
        now = context.clock.now()
        with session_change(tx, context, name, action="session.reconcile", now=now) as result:
            result |= {"action": "mark"}


def captured(
    context: Context, files: dict[str, bytes], *, session: str, fence: int, number: int
) -> tuple[Manifest, str]:
    """An archive as a capture leaves it: in the store, named by no row."""
    assert isinstance(context.clock, FakeClock)
    ensure_store(context.places.user_images)
    with private_directory(context.places.runs, prefix="test-") as spool:
        tar = make_tar(spool / "user.tar", files)
        manifest = manifest_of(tar, number=number, clock=context.clock)
        manifest = replace(manifest, session=session, fence=fence)
        archive = archive_name(**ANN, number=number, session=session)
        context.images.write(archive, tar=tar, manifest=manifest)
    return manifest, archive


def saved(context: Context, files: dict[str, bytes], **of: Any) -> Generation:
    manifest, archive = captured(context, files, **of)
    return write_back.record(context, manifest=manifest, archive=archive, closing=True)


def aside(context: Context) -> list[Generation]:
    with context.store.reading() as tx:
        return orphans.list_orphans(tx)


def actions(context: Context) -> list[str]:
    assert audit_log.verify(context.store)["valid"]
    return [event["action"] for event in audit_log.read(context.store)["events"]]


def test_save_with_an_older_fence_is_refused_and_kept(context: Context) -> None:
    """A stale VM's save overwrites nothing and is there for a person, once, however often it is repeated."""
    old = claimed(context, "s-old")
    failed(context, "s-old")
    new = claimed(context, "s-new")
    saved(context, {"s/a": b"new"}, session="s-new", fence=new, number=1)
    for _ in range(2):
        with pytest.raises(Conflict, match="stale") as refused:
            saved(context, {"s/a": b"old"}, session="s-old", fence=old, number=2)
    (kept,) = aside(context)
    assert refused.value.details["archive"] == kept.archive
    assert (kept.state, kept.session, kept.fence) == ("orphaned", "s-old", old)
    assert (numbers(context), len(context.images.archives())) == ([1], 2)
    assert actions(context) == ["image.capture", "image.orphan"]
    failed(context, "s-new")
    made = image_store.restore(context, **ANN, orphan=kept.archive)["generation"]
    assert (made["number"], made["root_digest"]) == (2, kept.root_digest)
    assert image_store.verify(context, **ANN)["generations"][0]["status"] == "good"


def test_slower_of_two_captures_is_kept(context: Context) -> None:
    """Both counted from the same parent: the second to be recorded is not lost."""
    fence = claimed(context, "s-1")
    of = {"session": "s-1", "fence": fence, "number": 1}
    saved(context, {"s/a": b"1"}, **of)
    with pytest.raises(Conflict, match="the next number is 2"):
        saved(context, {"s/a": b"2"}, **of)
    assert (numbers(context), len(aside(context))) == ([1], 1)


@pytest.mark.parametrize(
    ("files", "anew", "kept"),
    [
        ({"s/a": b"", "s/b": b""}, False, True),
        ({"s/a": b"", "s/b": b""}, True, True),
        ({}, True, True),
        ({"x/a": b"rule"}, True, True),
        ({}, False, False),
        ({"s/a": b"1", "s/b": b""}, True, False),
    ],
)
def test_wreck_of_a_crash_does_not_become_the_newest(
    context: Context, files: dict[str, bytes], anew: bool, kept: bool
) -> None:
    """Emptied files, or none since the VM was started anew, are kept aside, and the session can close."""
    fence = claimed(context, "s-1")
    of = {"session": "s-1", "fence": fence}
    saved(context, {"s/a": b"content", "s/b": b"x"}, **of, number=1)
    if anew:
        started_anew(context, "s-1")
    recorded = saved(context, files, **of, number=2)
    assert (recorded.state == "orphaned", len(aside(context))) == (kept, int(kept))
    with context.store.reading() as tx:
        newest = generations.get(tx, **ANN)
        assert sessions.get(tx, session_id="s-1").generation == newest.number == (1 if kept else 2)


def test_empty_settings_after_empty_settings_are_a_generation(context: Context) -> None:
    """Nothing was lost where nothing was: neither a first save nor one whose parent had no content."""
    fence = claimed(context, "s-1")
    started_anew(context, "s-1")
    for number in (1, 2):
        assert saved(context, {"s/a": b""}, session="s-1", fence=fence, number=number).state == "stored"
    assert aside(context) == []
