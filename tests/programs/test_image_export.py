"""Generations as ``.vmmimage`` files: exported, and imported as the newest."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vmm_automation.content import default_site
from vmm_automation.errors import (
    ArtifactInvalid,
    Conflict,
    ImageTooLarge,
)
from vmm_automation.operations import audit_log, image_file
from vmm_automation.operations.context import Context
from vmm_automation.site import Site
from vmm_automation.state import generations

from .stored_images import context, numbers, store_generation

__all__ = ["context"]
ANN: dict[str, Any] = {"user": "ann", "ua": "radicale"}
FILES = {"s/a": b"1" * 3000, "s/caf\udce9": b"not UTF-8", "x/rule": b""}


def test_exported_generation_comes_back_as_the_newest(context: Context, tmp_path: Path) -> None:
    """Export, lose, import: the same content under the next number; importing again changes nothing."""
    first = store_generation(context, FILES)
    store_generation(context, {"s/a": b"2"})
    target = tmp_path / "ann.vmmimage"
    assert image_file.export(context, **ANN, target=target, number=1)["generation"]["number"] == 1
    assert image_file.import_(context, source=target, check=True)["changed"] is True
    assert (numbers(context), len(context.images.archives())) == ([1, 2], 2)
    done = image_file.import_(context, source=target)
    assert (done["changed"], done["generation"]["number"]) == (True, 3)
    with context.store.reading() as tx:
        newest = generations.get(tx, **ANN)
    assert newest.root_digest == first.root_digest
    assert newest.reason.startswith("imported: it was generation 1, captured 2026-01-31")
    assert image_file.import_(context, source=target)["changed"] is False
    events = audit_log.read(context.store)["events"]
    assert sorted(event["action"] for event in events) == ["image.export", "image.import"]
    with pytest.raises(Conflict):
        image_file.export(context, **ANN, target=target)


def test_export_is_told_of_once_and_repeated_without_change(context: Context, tmp_path: Path) -> None:
    """A dry run writes neither file nor entry; a file that holds the generation is left as it is."""
    store_generation(context, FILES)
    target = tmp_path / "ann.vmmimage"
    assert image_file.export(context, **ANN, target=target, check=True)["changed"] is True
    assert (target.exists(), audit_log.read(context.store)["events"]) == (False, [])
    assert [image_file.export(context, **ANN, target=target)["changed"] for _ in range(2)] == [True, False]
    target.write_bytes(target.read_bytes()[:-1])
    with pytest.raises(Conflict):
        image_file.export(context, **ANN, target=target)
    (event,) = audit_log.read(context.store)["events"]
    assert event["result"]["path"] == str(target)


def test_altered_file_changes_nothing(context: Context, tmp_path: Path) -> None:
    """A refused import leaves the state and the image store as they were."""
    store_generation(context, FILES)
    target = tmp_path / "ann.vmmimage"
    image_file.export(context, **ANN, target=target)
    target.write_bytes(target.read_bytes()[:-1])
    with pytest.raises(ArtifactInvalid):
        image_file.import_(context, source=target)
    assert (numbers(context), len(context.images.archives())) == ([1], 1)


def test_file_beyond_the_cap_of_its_ua_is_not_imported(context: Context, tmp_path: Path) -> None:
    """Nothing is stored, and a dry run tells the same; what the store has already is of no matter."""
    store_generation(context, {"s/a": b"1" * (1 << 20), "s/b": b"2"})
    target = tmp_path / "ann.vmmimage"
    image_file.export(context, **ANN, target=target)
    store_generation(context, {"s/a": b"small"})
    site = Path(shutil.copytree(default_site(), tmp_path / "site"))
    file = site / "uas" / "radicale.yml"
    file.write_text(file.read_text().replace("\nuser_data:\n", "\nuser_data:\n  max_mib: 1\n"))
    small = replace(context, site=Site.load(site))
    vars(small).update(store=context.store, images=context.images)
    for check in (True, False):
        with pytest.raises(ImageTooLarge, match=r"user 'ann', UA 'radicale': 1\.1 MiB in 2 paths, of 1 MiB"):
            image_file.import_(small, source=target, check=check)
    assert (numbers(context), len(context.images.archives())) == ([1, 2], 2)
    assert image_file.import_(context, source=target)["generation"]["number"] == 3
