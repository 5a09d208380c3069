"""Stored generations without any guest, over a real store: proven, compared, restored, kept, deleted."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import pytest

from vmm_automation.errors import ArtifactInvalid, Conflict, ImageDamaged, InvalidName, NotFound, UsageError
from vmm_automation.model.retention import Retention
from vmm_automation.operations import audit_log, image_listing, image_store, image_upkeep
from vmm_automation.operations.context import Context
from vmm_automation.state import generation_marks, generations, orphans, sessions, vms

from ..fake_clock import FakeClock
from .stored_images import context, damage, numbers, store_generation

__all__ = ["context"]
ANN: dict[str, Any] = {"user": "ann", "ua": "radicale"}


def told(context: Context) -> list[str]:
    assert audit_log.verify(context.store)["valid"]
    return [event["action"] for event in audit_log.read(context.store)["events"]]


def archives(context: Context) -> int:
    return len(context.images.archives())


def test_good_generations_are_verified(context: Context) -> None:
    """The newest of each user without more words; all, or one, if asked; nothing is a change."""
    for user in ("ann", "ann", "bo"):
        store_generation(context, {"s/a": b"1"}, user=user)
    found = image_store.verify(context)
    assert found["changed"] is False
    assert [(one["user"], one["number"], one["status"]) for one in found["generations"]] == [
        ("ann", 2, "good"),
        ("bo", 1, "good"),
    ]
    assert len(image_store.verify(context, every=True)["generations"]) == 3
    assert [one["number"] for one in image_store.verify(context, **ANN, number=1)["generations"]] == [1]
    with pytest.raises(NotFound):
        image_store.verify(context, **ANN, number=9)
    with pytest.raises(UsageError):
        image_store.verify(context, number=1)
    assert told(context) == []


def test_damage_and_loss_are_found_and_each_generation_is_told(context: Context) -> None:
    """One missing archive, then flipped bytes: status 9, and the good ones are still said to be good."""
    first = store_generation(context, {"s/a": b"1"})
    store_generation(context, {"s/a": os.urandom(100_000)})
    context.images.delete(first.archive)
    with pytest.raises(ImageDamaged, match="generation 1 of user 'ann'") as lost:
        image_store.verify(context, every=True)
    assert lost.value.exit_code == 9
    assert [one["status"] for one in lost.value.details["generations"]] == ["missing", "good"]
    damage(context)
    with pytest.raises(ImageDamaged) as damaged:
        image_store.verify(context, **ANN)
    assert [one["status"] for one in damaged.value.details["generations"]] == ["damaged"]


def test_archive_of_other_content_is_found(context: Context) -> None:
    """An archive that is whole in itself, but not what the state recorded, is damage."""
    store_generation(context, {"s/a": b"1"})
    other = store_generation(context, {"s/a": b"2"})
    with context.store.transaction() as tx:
        tx.execute("UPDATE generations SET archive = :archive WHERE number = 1", archive=other.archive)
    with pytest.raises(ImageDamaged, match="another root digest"):
        image_store.verify(context, **ANN, number=1)


def test_difference_is_told_by_layer(context: Context) -> None:
    """Added, changed and removed paths, each under its layer; in the other direction the other way round."""
    store_generation(context, {"s/a": b"1", "s/b": b"1", "x/a": b"1"})
    store_generation(context, {"s/a": b"2", "s/c\x1b": b"1", "x/a": b"1"})
    found = image_listing.difference(context.store, context.volumes, **ANN, old=1, new=2)["layers"]
    assert found["settings"] == {"added": ["s/c\\x1b"], "changed": ["s/a"], "removed": ["s/b"]}
    assert found["exceptions"] == {"added": [], "changed": [], "removed": []}
    back = image_listing.difference(context.store, context.volumes, **ANN, old=2, new=1)["layers"]["settings"]
    assert (back["added"], back["removed"]) == (["s/b"], ["s/c\\x1b"])


def test_restored_generation_is_the_newest_and_says_where_from(context: Context) -> None:
    """A new number with the old content, parent and reason; a dry run and a repetition change nothing."""
    for content in (b"1", b"2"):
        store_generation(context, {"s/a": content})
    assert image_store.restore(context, **ANN, number=1, check=True)["changed"] is True
    assert (numbers(context), told(context)) == ([1, 2], [])
    made = image_store.restore(context, **ANN, number=1, reason="ticket 7")
    assert (made["changed"], made["generation"]["number"]) == (True, 3)
    with context.store.reading() as tx:
        newest, first = (generations.get(tx, **ANN, number=number) for number in (3, 1))
        manifest = generations.get_manifest(tx, user="ann", ua="radicale")
    assert (newest.root_digest, newest.archive) == (first.root_digest, first.archive)
    assert (newest.reason, manifest.parent) == ("restored from generation 1: ticket 7", 1)
    assert image_store.restore(context, **ANN, number=1)["changed"] is False
    assert told(context) == ["image.restore"]
    assert image_store.verify(context, **ANN)["generations"][0]["number"] == 3


def test_damaged_generation_does_not_become_the_newest(context: Context) -> None:
    """What cannot be proven is not restored; the newest stays."""
    for content in (os.urandom(100_000), b"2"):
        store_generation(context, {"s/a": content})
    damage(context)
    with pytest.raises(ArtifactInvalid):
        image_store.restore(context, **ANN, number=1)
    assert numbers(context) == [1, 2]


def test_restore_beside_a_running_session_is_refused(context: Context, clock: FakeClock) -> None:
    """Its end would write over what was restored."""
    for content in (b"1", b"2"):
        store_generation(context, {"s/a": content})
    with context.store.transaction() as tx:
        vms.mark_clean(tx, vm="vm-1", now=clock.now())
        sessions.claim(
            tx,
            session_id="s-1",
            **ANN,
            version="1",
            vm="vm-1",
            terminal="phone",
            explanation={},
            owner="",
            now=clock.now(),
        )
    with pytest.raises(Conflict, match="'s-1' is running"):
        image_store.restore(context, **ANN, number=1)
    assert numbers(context) == [1, 2]


@pytest.mark.parametrize(
    "wrong", [{}, {"number": 1, "orphan": "a"}, {"number": 1, "reason": "a\nb"}, {"number": 1, "user": "a/b"}]
)
def test_restore_of_nothing_in_particular_is_refused(context: Context, wrong: dict[str, Any]) -> None:
    """Either a generation or a save kept aside, by names that can be, with a reason that can be shown."""
    with pytest.raises((UsageError, InvalidName)):
        image_store.restore(context, **{**ANN, **wrong})


def test_pinned_generation_cannot_be_deleted_until_it_is_unpinned(context: Context) -> None:
    """Pin and unpin once each; deleting takes the archive along; the newest cannot be deleted at all."""
    for content in (b"1", b"2"):
        store_generation(context, {"s/a": content})
    assert [image_store.pin(context, **ANN, number=1, pinned=True)["changed"] for _ in range(2)] == [
        True,
        False,
    ]
    with pytest.raises(Conflict, match="pinned"):
        image_store.delete(context, **ANN, number=1)
    assert image_store.pin(context, **ANN, number=1, pinned=False)["changed"]
    assert image_store.delete(context, **ANN, number=1, check=True)["changed"]
    assert (numbers(context), archives(context)) == ([1, 2], 2)
    image_store.delete(context, **ANN, number=1)
    assert (numbers(context), archives(context)) == ([2], 1)
    with pytest.raises(Conflict, match="it is the newest"):
        image_store.delete(context, **ANN, number=2)
    assert image_store.delete(context, **ANN, number=1)["changed"] is False
    with pytest.raises(NotFound):
        image_store.delete(context, **ANN, number=3)
    assert told(context) == ["image.pin", "image.unpin", "image.delete"]


def test_archive_of_a_restored_generation_outlives_its_source(context: Context) -> None:
    """Two generations that share an archive: deleting the one leaves the other whole."""
    for content in (b"1", b"2"):
        store_generation(context, {"s/a": content})
    image_store.restore(context, **ANN, number=1)
    assert image_store.delete(context, **ANN, number=1)["archives"] == []
    assert [one["status"] for one in image_store.verify(context, every=True)["generations"]] == ["good"] * 2


def test_prune_keeps_what_a_rule_keeps_the_pinned_and_the_newest(context: Context, clock: FakeClock) -> None:
    """A dry run tells the same and deletes nothing; the second run finds nothing to do; numbers go on."""
    for number in range(5):
        store_generation(context, {"s/a": b"%d" % number})
        clock.advance(days=1)
    image_store.pin(context, **ANN, number=1, pinned=True)
    keep = Retention(last=2)
    planned = image_upkeep.prune(context, retention=keep, check=True)
    assert (numbers(context), archives(context)) == ([1, 2, 3, 4, 5], 5)
    done = image_upkeep.prune(context, retention=keep)
    assert planned == done
    assert done["images"] == [{**ANN, "kept": {"1": "pinned", "4": "last", "5": "newest"}, "pruned": [2, 3]}]
    assert (numbers(context), archives(context)) == ([1, 4, 5], 3)
    assert image_upkeep.prune(context, retention=keep)["changed"] is False
    assert store_generation(context, {"s/a": b"6"}).number == 6
    assert told(context) == ["image.pin", "image.prune"]


def test_prune_never_takes_the_newest_good_generation(context: Context) -> None:
    """Where newer ones are missing, the last that can be read stays; where none can, all stay."""
    made = [store_generation(context, {"s/a": b"%d" % number}) for number in range(4)]
    for lost in made[2:]:
        context.images.delete(lost.archive)
    done = image_upkeep.prune(context, retention=Retention(last=1))
    assert done["images"][0]["kept"] == {"2": "newest that is good", "4": "newest"}
    assert numbers(context) == [2, 4]
    context.images.delete(made[1].archive)
    assert image_upkeep.prune(context, retention=Retention(last=1))["changed"] is False
    assert numbers(context) == [2, 4]


def test_prune_without_a_rule_is_refused(context: Context) -> None:
    """Nothing said is not 'keep nothing'."""
    for wrong in (Retention(), Retention(last=-1, daily=3)):
        with pytest.raises(UsageError):
            image_upkeep.prune(context, retention=wrong)


def test_repair_marks_what_is_missing_and_removes_what_nobody_names(context: Context) -> None:
    """Once each; an archive that was stored just now may be of a capture that goes on, and is left."""
    first = store_generation(context, {"s/a": b"1"})
    other = store_generation(context, {"s/a": b"2"}, user="bo")
    context.images.delete(first.archive)
    with context.store.transaction() as tx:
        tx.execute("DELETE FROM generations WHERE user_name = 'bo'")
    planned = image_upkeep.repair(context, check=True)
    assert (planned["changed"], told(context)) == (True, [])
    done = image_upkeep.repair(context, remove=True, recent=timedelta(days=9999))
    assert [one["number"] for one in done["missing"]] == [1]
    assert (done["unnamed"], done["recent"], done["removed"]) == ([other.archive], [other.archive], [])
    with context.store.reading() as tx:
        assert generations.get(tx, **ANN, number=1).state == "missing"
    done = image_upkeep.repair(context, remove=True, recent=timedelta(days=-9999))
    assert (done["changed"], done["removed"]) == (True, [other.archive])
    assert image_upkeep.repair(context, remove=True)["changed"] is False
    assert archives(context) == 0


def test_orphaned_save_becomes_a_generation_or_is_deleted_by_a_person(context: Context) -> None:
    """Kept aside it is no generation, survives repair, and can be restored once, or thrown away."""
    store_generation(context, {"s/a": b"1"})
    aside = [store_generation(context, {"s/a": content}) for content in (b"2", b"3")]
    with context.store.transaction() as tx:
        for one in aside:
            manifest = generations.get_manifest(tx, **ANN, number=one.number)
            orphans.add(tx, generation=one, manifest=manifest, reason="late")
            tx.execute("DELETE FROM generations WHERE number = :number", number=one.number)
        assert orphans.same(tx, generation=aside[0]) is not None
        assert len(generation_marks.referred(tx)) == 3
    image_upkeep.repair(context, remove=True, recent=timedelta(days=-9999))
    assert (numbers(context), archives(context)) == ([1], 3)
    made = image_store.restore(context, **ANN, orphan=aside[0].archive)
    assert (made["generation"]["number"], made["generation"]["root_digest"]) == (2, aside[0].root_digest)
    assert image_store.restore(context, **ANN, orphan=aside[0].archive)["changed"] is False
    image_store.delete(context, **ANN, orphan=aside[1].archive)
    with context.store.reading() as tx:
        assert orphans.list_orphans(tx) == []
    with pytest.raises(NotFound):
        image_store.restore(context, **ANN, orphan=aside[1].archive)
    assert archives(context) == 2
