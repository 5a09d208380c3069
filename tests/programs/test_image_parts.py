"""The store holds an image in parts: it comes back byte for byte, and a change costs about its size."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from vmm_automation.errors import ArtifactInvalid
from vmm_automation.images.borg import BorgStore
from vmm_automation.images.parts import pack, unpack
from vmm_automation.model.image import Manifest

from ..fake_clock import FakeClock
from .stored_images import make_tar, manifest_of

_WORDS = [f"{word:x}" for word in range(0x1000, 0x3000)]


def joined(packed: Path, target: Path) -> Path:
    """All parts one after the other, as the store gives them back."""
    with tarfile.open(packed) as tar:
        target.write_bytes(b"".join(tar.extractfile(one).read() for one in tar))  # type: ignore[union-attr]
    return target


@pytest.mark.parametrize("count", [0, 1, 5, 700])
def test_parts_are_the_tar_and_the_manifest_again(tmp_path: Path, count: int) -> None:
    """Small members, large ones, none; names that are no UTF-8; the very bytes."""
    sizes = random.Random(count)
    files = {f"s/caf\udce9 {number}": b"x" * sizes.randrange(9000) for number in range(count)}
    tar = make_tar(tmp_path / "a.tar", files)
    manifest = manifest_of(tar, number=1, clock=FakeClock())
    pack(tar, manifest, into=tmp_path / "packed")
    back, text = tmp_path / "back.tar", tmp_path / "manifest.json"
    assert unpack(joined(tmp_path / "packed", tmp_path / "joined"), tar=back, manifest=text)
    assert back.read_bytes() == tar.read_bytes()
    assert Manifest.from_document(json.loads(text.read_text())) == manifest


def test_parts_that_lack_one_are_refused(tmp_path: Path) -> None:
    """The tail tells how much there must be; what has no tail is none of ours."""
    tar = make_tar(tmp_path / "a.tar", {f"s/{number}": b"x" * 5000 for number in range(9)})
    pack(tar, manifest_of(tar, number=1, clock=FakeClock()), into=tmp_path / "packed")
    whole = joined(tmp_path / "packed", tmp_path / "joined").read_bytes()
    place = tmp_path / "lacking"
    place.write_bytes(whole[5120:])
    with pytest.raises(ArtifactInvalid):
        unpack(place, tar=tmp_path / "t", manifest=tmp_path / "m")
    place.write_bytes(whole[:-64])
    assert not unpack(place, tar=tmp_path / "t", manifest=tmp_path / "m")


def test_store_grows_by_little_more_than_what_has_changed(tmp_path: Path) -> None:
    """One file of a hundred changed, of 20 MB: at most 1.5 times the changed bytes."""
    store = BorgStore(tmp_path / "i" / "repository", key_file=tmp_path / "i" / "key")
    words = random.Random(7)
    files = {
        f"s/{number:04d}": " ".join(words.choices(_WORDS, k=words.randrange(1000, 3000))).encode()
        for number in range(2000)
    }
    changed = 0
    sizes = []
    for generation in (1, 2):
        tar = make_tar(tmp_path / f"{generation}.tar", files)
        manifest = manifest_of(tar, number=generation, clock=FakeClock())
        store.write(f"g{generation}", tar=tar, manifest=manifest)
        sizes.append(
            sum(path.stat().st_size for path in (tmp_path / "i" / "repository").rglob("*") if path.is_file())
        )
        assert store.read(f"g{generation}", into=tmp_path / f"read{generation}")[1] == manifest
        for name in words.sample(sorted(files), 20) if generation == 1 else ():
            files[name] = b"new " + files[name]
            changed += len(files[name])
    assert sizes[1] - sizes[0] <= 1.5 * changed


def test_archive_written_before_there_were_parts_is_read(tmp_path: Path) -> None:
    """Two files in an archive, as older versions wrote it."""
    store = BorgStore(tmp_path / "i" / "repository", key_file=tmp_path / "i" / "key")
    tar = make_tar(tmp_path / "user.tar", {"s/a": b"1"})
    manifest = manifest_of(tar, number=1, clock=FakeClock())
    store.write("new", tar=tar, manifest=manifest)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest.to_document()))
    environment = {
        "BORG_PASSCOMMAND": f"cat {tmp_path / 'i' / 'key'}",
        "BORG_BASE_DIR": str(tmp_path / "i" / "borg"),
        "PATH": "/usr/bin:/bin",
    }
    borg = str(Path(sys.executable).with_name("borg"))
    words = [borg, "create", f"{tmp_path / 'i' / 'repository'}::old", "user.tar", "manifest.json"]
    subprocess.run(words, cwd=tmp_path, env=environment, check=True)
    found, read = store.read("old", into=tmp_path / "read")
    assert (found.read_bytes(), read) == (tar.read_bytes(), manifest)
