"""What a branch saves: kept aside with where it began, looked at, and made the newest by a person alone."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.claims import claim
from vmm_automation.errors import Conflict, NotFound, UsageError
from vmm_automation.images import bundle
from vmm_automation.model.image import Generation
from vmm_automation.model.policies import SecondSession
from vmm_automation.model.retention import Retention
from vmm_automation.model.session import LIVE, Session, SessionMode, SessionState
from vmm_automation.operations import (
    audit_log,
    image_file,
    image_listing,
    image_store,
    image_transfer,
    image_upkeep,
    write_back,
)
from vmm_automation.operations.context import Context
from vmm_automation.state import generations, orphans, sessions, vms

from ..fake_clock import FakeClock
from .stored_images import context, numbers, store_generation
from .test_write_back import ANN, actions, aside, captured, failed

__all__ = ["context"]


def opened(context: Context, name: str, *, deployed: int = 0) -> Session:
    """A session of ann's that is closing, on a VM of its own; a branch if another one goes on."""
    with context.store.transaction() as tx:
        now = context.clock.now()
        vms.mark_clean(tx, vm=f"vm-{name}", now=now)
        of = {"ua": ANN["ua"], "version": "3.2.3"}
        claim(tx, name, **of, vm=f"vm-{name}", now=now, second=SecondSession.BRANCH)
        sessions.set_deployed(tx, session_id=name, generation=deployed)
        return sessions.move_to(tx, session_id=name, state=SessionState.CLOSING, expected=LIVE, now=now)


def saved(context: Context, session: Session, content: bytes) -> Generation:
    """What becomes of its save at its end."""
    of: dict[str, Any] = {"session": session.id, "fence": session.fence, "number": session.deployed + 1}
    manifest, archive = captured(context, {"s/a": content}, **of)
    return write_back.record(context, manifest=manifest, archive=archive, closing=True)


def branched(context: Context) -> Generation:
    """Generation 1; both sessions began from it, the first ended with generation 2, then the branch."""
    store_generation(context, {"s/a": b"one"})
    first, branch = (opened(context, name, deployed=1) for name in ("s-1", "s-2"))
    assert (first.mode, branch.mode) == (SessionMode.WRITER, SessionMode.BRANCH)
    assert saved(context, first, b"two").number == 2
    failed(context, "s-1")
    return saved(context, branch, b"other")


def test_end_of_a_branch_is_kept_aside_and_overwrites_nothing(context: Context) -> None:
    """The reason says whose it is and from where; closing it is no failure; a repeated close adds nothing."""
    kept = branched(context)
    assert (kept.state, kept.session) == ("orphaned", "s-2")
    assert kept.reason == "session 's-2' is a branch from generation 1"
    assert (aside(context), numbers(context)) == ([kept], [1, 2])
    with context.store.reading() as tx:
        branch = sessions.get(tx, session_id="s-2")
        assert generations.get(tx, **ANN).session == "s-1"
    assert branch.generation == 1
    again = saved(context, branch, b"other")
    assert (again.archive, aside(context)) == (kept.archive, [kept])
    assert len(context.images.archives()) == 3
    assert actions(context) == ["image.capture", "image.orphan"]


def test_branch_that_ends_first_leaves_the_writer_its_line(context: Context) -> None:
    """Its newer fence makes nobody stale; what it saves more than once is each there."""
    first, branch = (opened(context, name) for name in ("s-1", "s-2"))
    kept = saved(context, branch, b"other")
    assert kept.reason == "session 's-2' is a branch from before the first generation"
    with context.store.reading() as tx:
        ended = sessions.get(tx, session_id="s-2")
    assert (ended.generation, ended.captured) == (0, True)  # closed again, it is not captured again
    later = saved(context, branch, b"later")
    failed(context, "s-2")
    assert saved(context, first, b"one").number == 1
    assert {each.archive for each in aside(context)} == {kept.archive, later.archive}


def test_data_of_a_branch_go_back_to_what_it_began_from(context: Context) -> None:
    """Not to what is the newest by now; and where that was pruned meanwhile, the number stays."""
    branched(context)
    with context.store.reading() as tx:
        branch = sessions.get(tx, session_id="s-2")
        before = image_transfer.base_generation(tx, branch)
    assert before
    assert (before.number, image_transfer.parent_of(branch, before)) == (1, 1)
    image_store.delete(context, **ANN, number=1)
    with context.store.reading() as tx:
        assert image_transfer.base_generation(tx, branch) is None
    assert image_transfer.parent_of(branch, None) == 1


def test_branch_becomes_the_newest_by_a_person_once_nobody_writes(context: Context) -> None:
    """Refused while a writer goes on, whose end would overwrite it; the line before stays as it was."""
    kept = branched(context)
    opened(context, "s-3", deployed=2)
    with pytest.raises(Conflict, match="'s-3' is running"):
        image_store.restore(context, **ANN, orphan=kept.archive)
    failed(context, "s-3")
    made = image_store.restore(context, **ANN, orphan=kept.archive, reason="she asked")["generation"]
    assert (made["number"], made["root_digest"]) == (3, kept.root_digest)
    assert made["reason"] == f"restored from the orphaned save '{kept.archive}': she asked"
    assert (numbers(context), aside(context)) == ([1, 2, 3], [])
    with context.store.reading() as tx:
        assert generations.get_manifest(tx, **ANN).parent == 1
    assert image_store.verify(context, **ANN)["generations"][0]["status"] == "good"
    assert not image_store.restore(context, **ANN, orphan=kept.archive)["changed"]


def test_save_that_was_kept_aside_is_looked_at_before_it_is_restored(context: Context) -> None:
    """Its manifest, and what it has otherwise than a generation; of this user only, and one at a time."""
    kept = branched(context)
    shown = image_listing.manifest(context.store, context.volumes, **ANN, orphan=kept.archive)["manifest"]
    assert (shown["session"], shown["parent"]) == ("s-2", 1)
    assert [file["path"] for file in shown["files"]] == ["s/a"]
    found = image_listing.difference(context.store, context.volumes, **ANN, old=2, orphan=kept.archive)
    assert (found["from"], found["to"]) == (2, kept.archive)
    assert found["layers"]["settings"] == {"added": [], "changed": ["s/a"], "removed": []}
    of: dict[str, Any] = {**ANN, "orphan": kept.archive}
    with pytest.raises(UsageError):
        image_listing.manifest(context.store, context.volumes, **of, number=1)
    with pytest.raises(UsageError):
        image_listing.difference(context.store, context.volumes, **of, old=1, new=2)
    with pytest.raises(UsageError):
        image_listing.difference(context.store, context.volumes, **ANN, old=1)
    with pytest.raises(UsageError):
        image_file.export(context, **of, number=1, target=Path("/nowhere/a.vmmimage"))
    with pytest.raises(NotFound):
        image_listing.manifest(context.store, context.volumes, user="bo", ua="radicale", orphan=kept.archive)


def test_save_that_was_kept_aside_is_exported_as_it_is(context: Context, tmp_path: Path) -> None:
    """Proven, told of in the audit chain by its archive, and aside as before; again is no change."""
    kept = branched(context)
    target = tmp_path / "branch.vmmimage"
    of: dict[str, Any] = {**ANN, "orphan": kept.archive, "target": target}
    assert image_file.export(context, **of, check=True)["changed"]
    assert not target.exists()
    assert [image_file.export(context, **of)["changed"] for _ in range(2)] == [True, False]
    assert aside(context) == [kept]
    (spool := tmp_path / "spool").mkdir()
    _tar, manifest = bundle.read(target, key_file=context.image_key, spool=spool)
    assert (manifest.root_digest, manifest.session) == (kept.root_digest, "s-2")
    (event,) = [each for each in audit_log.read(context.store)["events"] if each["action"] == "image.export"]
    assert event["result"]["orphan"] == kept.archive
    with context.store.transaction() as tx:
        orphans.remove(tx, archive=kept.archive)
    with pytest.raises(NotFound):
        image_file.export(context, **of)


def test_saves_of_a_branch_are_thinned_out_and_its_last_one_stays(context: Context, clock: FakeClock) -> None:
    """By the same rules; a dry run tells the same; each branch is counted for itself; other saves stay."""
    first = opened(context, "s-1")
    branches = [opened(context, name) for name in ("s-2", "s-3")]
    saves: dict[str, list[Generation]] = {"s-2": [], "s-3": []}
    for number in range(4):
        clock.advance(hours=1)
        for branch in branches[: 1 if number else 2]:
            saves[branch.id].append(saved(context, branch, b"%d" % number))
    assert saved(context, first, b"line").number == 1
    stale = aside_too_late(context, first)
    rules: dict[str, Any] = {"retention": Retention(last=2)}
    wanted = [save.archive for save in saves["s-2"]]
    planned = image_upkeep.prune(context, **rules, check=True)
    assert (planned["changed"], len(aside(context))) == (True, 6)
    done = image_upkeep.prune(context, **rules)
    assert done == planned
    two, three = done["branches"]
    assert (two["session"], two["pruned"]) == ("s-2", wanted[:2])
    assert two["kept"] == {wanted[2]: "last", wanted[3]: "newest"}
    assert (three["session"], three["pruned"], len(three["kept"])) == ("s-3", [], 1)
    left = {save.archive for save in aside(context)}
    assert left == {*wanted[2:], saves["s-3"][0].archive, stale}
    assert set(context.images.archives()) == {*left, generation_archive(context)}
    assert image_upkeep.prune(context, **rules)["changed"] is False
    clock.advance(days=900)
    image_upkeep.prune(context, retention=Retention(within=timedelta(hours=1)))
    assert {save.archive for save in aside(context)} == {wanted[3], saves["s-3"][0].archive, stale}
    (event, _) = [each for each in audit_log.read(context.store)["events"] if each["action"] == "image.prune"]
    assert event["result"] == {"branch": "s-2", "pruned": wanted[:2]}


def test_last_save_of_a_branch_that_can_be_read_is_never_pruned(context: Context, clock: FakeClock) -> None:
    """Where the newest is missing from the store, the one before is all that there is."""
    opened(context, "s-1")
    branch = opened(context, "s-2")
    saves = []
    for content in (b"1", b"2", b"3"):
        clock.advance(hours=1)
        saves.append(saved(context, branch, content))
    context.images.delete(saves[2].archive)
    done = image_upkeep.prune(context, retention=Retention(last=1), user="ann")
    assert done["branches"][0]["kept"] == {
        saves[1].archive: "newest that is good",
        saves[2].archive: "newest",
    }
    assert image_upkeep.prune(context, retention=Retention(last=1), user="bo")["branches"] == []


def aside_too_late(context: Context, session: Session) -> str:
    """A save that is no branch's and no generation."""
    with pytest.raises(Conflict, match="the next number is 2") as refused:
        saved(context, session, b"too late")
    return str(refused.value.details["archive"])


def generation_archive(context: Context) -> str:
    with context.store.reading() as tx:
        return generations.get(tx, **ANN).archive
