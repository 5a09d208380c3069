"""Stored user images by playbooks and by the command line: the doors agree; a second run changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vmm_automation.images.borg import BorgStore, archive_name
from vmm_automation.images.manifest import to_generation
from vmm_automation.images.volume import DEPTH, VolumeStore
from vmm_automation.state import generations, orphans

from ..fake_clock import FakeClock
from ..made_site import MadeSite
from ..programs.stored_images import ensure_store, make_tar, manifest_of
from .by_hand import run_by_hand
from .test_playbooks import play as told_by

WHOSE = {"image_store_user": "ann", "image_store_ua": "radicale"}


def stored(site: MadeSite, place: Path, *, count: int) -> None:
    ensure_store(site.home / "user_images")
    images = BorgStore(site.home / "user_images" / "repository", key_file=site.home / "user_images" / "key")
    for number in range(1, count + 1):
        tar = make_tar(place / f"{number}.tar", {"s/a": b"%d" % number})
        manifest = manifest_of(tar, number=number, clock=FakeClock())
        archive = archive_name(user="ann", ua="radicale", number=number, session="s")
        images.write(archive, tar=tar, manifest=manifest)
        with site.store() as store, store.transaction() as tx:
            generations.add(tx, generation=to_generation(manifest, archive), manifest=manifest)


def play(site: MadeSite, name: str, *words: str, **variables: Any) -> tuple[int, str]:
    """Run a playbook of the project by ansible-playbook; its status and output."""
    done = run_by_hand(site, name, *words, **variables)
    return done.returncode, done.stdout


def numbers(site: MadeSite) -> list[int]:
    return [one["number"] for one in site.json("image", "list", "--user", "ann")[1]["result"]["generations"]]


def test_generations_are_restored_verified_and_pruned_through_both_doors(
    site: MadeSite, tmp_path: Path
) -> None:
    """A dry run tells of the change and makes none; the first run makes it, the second has nothing to do."""
    stored(site, tmp_path / "tars", count=2)
    for words, changed, left in (
        (("--check",), 1, [1, 2]),
        ((), 1, [1, 2, 3]),
        ((), 0, [1, 2, 3]),
    ):
        status, told = play(site, "image_restore", *words, **WHOSE, image_store_generation=1)
        assert (status, f"changed={changed}" in told, numbers(site)) == (0, True, left), told
    status, told = play(site, "image_verify", image_store_all=True)
    assert (status, "changed=0" in told) == (0, True), told
    status, told = play(site, "image_prune", **WHOSE)
    assert (status, "image_store_allow_destroy=true" in told) == (2, True), told
    allowed = {**WHOSE, "image_store_allow_destroy": True}
    status, told = play(site, "image_prune", **allowed)
    assert (status, "nothing says what to keep" in told) == (2, True), told
    assert site.json("image", "pin", "ann", "radicale", "--generation", "1")[1]["changed"] is True
    for words, changed, left in (
        (("--check",), 1, [1, 2, 3]),
        ((), 1, [1, 3]),
        ((), 0, [1, 3]),
    ):
        status, told = play(site, "image_prune", *words, **allowed, image_store_keep_last=1)
        assert (status, f"changed={changed}" in told, numbers(site)) == (0, True, left), told
    planned = site.json("image", "prune", "--keep-last", "1", "--check")[1]
    assert (planned["changed"], planned["result"]["images"][0]["kept"]) == (
        False,
        {"1": "pinned", "3": "newest"},
    )
    assert "good" in site.vmm("image", "verify", "ann", "radicale").stdout
    assert site.json("image", "diff", "ann", "radicale", "--from", "1", "--to", "3")[1]["result"]["layers"][
        "settings"
    ] == {"added": [], "changed": [], "removed": []}


def test_volume_on_too_many_layers_is_flattened_through_both_doors(
    site: MadeSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dry run tells of it and changes nothing, the first run makes one layer, the second none."""
    stored(site, tmp_path / "tars", count=1)
    (generation,) = site.json("image", "list")[1]["result"]["generations"]
    assert generation["tier"] == "portable"
    volumes = VolumeStore(site.home / "user_volumes")
    monkeypatch.setattr("vmm_automation.images.volume.CHEAP_BYTES", 0)
    of = {"session": "s-1", "vm": "vm-1"}
    for _ in range(DEPTH + 1):
        volumes.open(**of, archive=generation["archive"], size_mib=64)
        volumes.commit(**of, archive=generation["archive"])
    volumes.drop_session(**of)
    assert site.json("image", "list")[1]["result"]["generations"][0]["tier"] == "volume"
    for words, changed, long in ((("--check",), 1, True), ((), 1, False), ((), 0, False)):
        status, told = play(site, "image_flatten", *words)
        assert (status, f"changed={changed}" in told) == (0, True), told
        assert volumes.is_long(generation["archive"]) is long
    assert site.json("image", "flatten")[1]["changed"] is False
    assert site.json("image", "verify")[1]["result"]["generations"][0]["status"] == "good"


def test_damage_is_a_failed_task_and_an_exit_status(site: MadeSite, tmp_path: Path) -> None:
    """Both doors name the class; repair marks the loss, once; deleting needs a word and an older one."""
    stored(site, tmp_path / "tars", count=1)
    images = BorgStore(site.home / "user_images" / "repository", key_file=site.home / "user_images" / "key")
    images.delete(images.archives()[0])
    status, document = site.json("image", "verify")
    assert (status, document["error"]["class"]) == (9, "ImageDamaged")
    assert document["error"]["details"]["generations"][0]["status"] == "missing"
    status, told = play(site, "image_verify")
    assert (status, "ImageDamaged" in told) == (2, True), told
    assert [site.json("image", "repair")[1]["changed"] for _ in range(2)] == [True, False]
    assert "missing" in site.vmm("image", "list").stdout
    status, told = play(site, "image_repair", image_store_allow_destroy=True)
    assert (status, "changed=0" in told) == (0, True), told
    assert site.vmm("image", "delete", "ann", "radicale", "--generation", "1").returncode == 2
    assert site.vmm("image", "delete", "ann", "radicale", "--generation", "1", "--yes").returncode == 5
    assert site.vmm("image", "list", "--orphaned").stdout == "No orphaned saves.\n"


def test_generations_are_pinned_exported_deleted_and_imported_by_playbooks(
    site: MadeSite, tmp_path: Path
) -> None:
    """Each in a dry run, which changes nothing, then for good; the second time there is nothing to do."""
    stored(site, tmp_path / "tars", count=2)
    file = tmp_path / "ann.vmmimage"
    one = {**WHOSE, "image_store_generation": 1}
    named = {"image_store_file": str(file)}
    gone = {**one, "image_store_allow_destroy": True}
    for name, variables, left in (
        ("image_pin", one, [1, 2]),
        ("image_unpin", one, [1, 2]),
        ("image_export", {**one, **named}, [1, 2]),
        ("image_delete", gone, [2]),
        ("image_import", named, [2, 3]),
    ):
        before = (site.dump(), file.exists())
        for words, changed in ((("--check",), 1), ((), 1), ((), 0)):
            status, told = play(site, name, *words, **variables)
            assert (status, f"changed={changed}" in told) == (0, True), (name, words, told)
            if words:
                assert (site.dump(), file.exists()) == before, name
        assert numbers(site) == left
    status, told = play(site, "image_delete", **one)
    assert (status, "destruction is off unless asked for" in told) == (2, True), told
    status, told = play(site, "image_export", **one, image_store_file="ann.vmmimage")
    assert (status, "must be an absolute path" in told) == (2, True), told
    again = site.json("image", "export", "ann", "radicale", str(file), "--generation", "3", "--check")
    assert again[0] == 5, "the file holds another generation's manifest"


def kept_aside(site: MadeSite, place: Path) -> str:
    """The save of a branch from generation 1 of ann's; its archive."""
    images = BorgStore(site.home / "user_images" / "repository", key_file=site.home / "user_images" / "key")
    tar = make_tar(place / "aside.tar", {"s/b": b"other"})
    manifest = manifest_of(tar, number=2, clock=FakeClock())
    archive = archive_name(user="ann", ua="radicale", number=2, session="s-2")
    images.write(archive, tar=tar, manifest=manifest)
    with site.store() as store, store.transaction() as tx:
        reason = "session 's-2' is a branch from generation 1"
        orphans.add(tx, generation=to_generation(manifest, archive), manifest=manifest, reason=reason)
    return archive


def test_save_that_was_kept_aside_is_shown_compared_exported_and_restored_through_both_doors(
    site: MadeSite, tmp_path: Path
) -> None:
    """The same document by either; the command asks before the user's next session starts from it."""
    stored(site, tmp_path / "tars", count=1)
    archive = kept_aside(site, tmp_path / "tars")
    of, orphan = ("ann", "radicale"), {**WHOSE, "image_store_orphan": archive}
    told_of: tuple[tuple[tuple[str, ...], str, dict[str, int]], ...] = (
        (("show", *of), "image_show", {}),
        (("diff", *of, "--from", "1"), "image_diff", {"image_store_from": 1}),
    )
    for words, name, variables in told_of:
        done = told_by(site, name, **orphan, **variables)
        assert (done.status, done.changed) == (0, 0), done.text
        result = site.json("image", *words, "--orphan", archive)[1]["result"]
        assert {**done.stats, "audit": None} == {**result, "audit": None}
    assert f"Save '{archive}' of ann" in site.vmm("image", "show", *of, "--orphan", archive).stdout
    file = tmp_path / "aside.vmmimage"
    for check, changed in ((("--check",), 1), ((), 1), ((), 0)):
        status, told = play(site, "image_export", *check, **orphan, image_store_file=str(file))
        assert (status, f"changed={changed}" in told, file.exists()) == (0, True, not check), told
    exported = site.vmm("image", "export", *of, str(file), "--orphan", archive)
    assert (exported.returncode, archive in exported.stdout) == (0, True)
    restore = ("image", "restore", *of, "--orphan", archive)
    refused = site.vmm(*restore)
    assert (refused.returncode, "add --yes" in refused.stderr, numbers(site)) == (2, True, [1])
    status, told = play(site, "image_restore", "--check", **orphan)
    assert (status, "changed=1" in told, numbers(site)) == (0, True, [1]), told
    assert [site.json(*restore, "--yes")[1]["changed"] for _ in range(2)] == [True, False]
    assert (numbers(site), site.vmm("image", "list", "--orphaned").stdout) == ([1, 2], "No orphaned saves.\n")


def test_playbooks_tell_of_generations_what_the_commands_tell(site: MadeSite, tmp_path: Path) -> None:
    """Listing, manifest and difference: the same document through both doors."""
    stored(site, tmp_path / "tars", count=2)
    for words, name, variables in (
        (("list", "--user", "ann"), "image_list", {"image_store_user": "ann"}),
        (("list", "--orphaned"), "image_list", {"image_store_orphaned": True}),
        (("show", "ann", "radicale"), "image_show", WHOSE),
        (
            ("diff", "ann", "radicale", "--from", "1", "--to", "2"),
            "image_diff",
            {**WHOSE, "image_store_from": 1, "image_store_to": 2},
        ),
    ):
        done = told_by(site, name, **variables)
        assert (done.status, done.changed) == (0, 0), done.text
        result = site.json("image", *words)[1]["result"]
        result.pop("changed", None)
        assert {**done.stats, "audit": None} == {**result, "audit": None}
