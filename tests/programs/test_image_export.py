"""Generations as ``.vmmimage`` files: exported, imported as the newest, encrypted for recipients."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from vmm_automation.errors import (
    ArtifactInvalid,
    Conflict,
    ToolMissing,
    UsageError,
)
from vmm_automation.operations import audit_log, image_file
from vmm_automation.operations.context import Context
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


_AGE = pytest.mark.skipif(shutil.which("age") is None, reason="age is not installed (apt-get install age)")


def identity(place: Path, name: str) -> tuple[Path, Path]:
    """A fresh identity and the list of recipients that has it."""
    secret, public = place / name, place / f"{name}.recipients"
    subprocess.run(["age-keygen", "-o", secret], check=True, capture_output=True)
    public.write_bytes(subprocess.run(["age-keygen", "-y", secret], check=True, capture_output=True).stdout)
    return secret, public


@_AGE
def test_encrypted_export_is_read_by_its_recipient_only(context: Context, tmp_path: Path) -> None:
    """A stranger with the identity opens it by tools; another identity, none, or a cut file are refused."""
    store_generation(context, FILES)
    store_generation(context, {"s/a": b"2"})
    mine, recipients = identity(tmp_path, "mine")
    other, _ = identity(tmp_path, "other")
    target = tmp_path / "ann.vmmimage"
    image_file.export(context, **ANN, target=target, number=1, recipients=recipients)
    assert target.stat().st_mode & 0o777 == 0o600
    opened = f"age -d -i {mine} {target} | zstd -dc | tar -xO manifest.json"
    assert b'"user": "ann"' in subprocess.run(["sh", "-c", opened], check=True, capture_output=True).stdout
    with pytest.raises(UsageError, match="no identity is given"):
        image_file.import_(context, source=target)
    with pytest.raises(ArtifactInvalid, match="cannot be decrypted"):
        image_file.import_(context, source=target, identity=other)
    with pytest.raises(Conflict):
        image_file.export(context, **ANN, target=target, number=1, recipients=recipients)
    cut = tmp_path / "cut.vmmimage"
    cut.write_bytes(target.read_bytes()[:-1])
    with pytest.raises(ArtifactInvalid):
        image_file.import_(context, source=cut, identity=mine)
    assert numbers(context) == [1, 2]
    assert image_file.import_(context, source=target, identity=mine)["generation"]["number"] == 3


def test_recipients_that_cannot_be_used_leave_no_file(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An absent list, one of something else, and no age at all: each with what to do."""
    store_generation(context, FILES)
    target, wrong = tmp_path / "ann.vmmimage", tmp_path / "wrong"
    wrong.write_text("nobody\n")
    if shutil.which("age"):
        for recipients in (wrong, tmp_path / "absent"):
            with pytest.raises(UsageError, match="recipients"):
                image_file.export(context, **ANN, target=target, recipients=recipients)
    without = tmp_path / "bin"
    without.mkdir()
    for name in ("zstd", "cat", "env", "sh"):
        (without / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(without))
    with pytest.raises(ToolMissing) as missing:
        image_file.export(context, **ANN, target=target, recipients=wrong)
    assert missing.value.hint == "apt-get install age"
    assert list(tmp_path.glob("*ann.vmmimage*")) == []
