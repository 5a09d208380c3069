"""``.vmmimage`` files: opened by strangers, proven by us, and refused once anything about them is wrong."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vmm_automation.errors import (
    ArtifactInvalid,
    Conflict,
    DiskFull,
    NotFound,
    PreflightFailed,
    VmmError,
)
from vmm_automation.images import bundle
from vmm_automation.images.archive import ArchivePolicy
from vmm_automation.model.image import Manifest

from ..fake_clock import FakeClock
from ..small_disk import small_disk
from .stored_images import make_tar, manifest_of

FILES = {"s/a": b"1" * 3000, "s/caf\udce9": b"not UTF-8", "x/rule": b""}


class Bundled:
    """A file, its key, and what it was made of."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.key = place / "key"
        self.key.write_text("the secret of a store\n")
        self.tar = make_tar(place / "user.tar", FILES)
        self.manifest = manifest_of(self.tar, number=3, clock=FakeClock())
        self.path = place / "a.vmmimage"
        self.write(self.path)

    def write(self, target: Path, *, manifest: Manifest | None = None) -> None:
        """As another file, by the same key."""
        spool = self.fresh()
        manifest = manifest or self.manifest
        bundle.write(target, tar=self.tar, manifest=manifest, key_file=self.key, spool=spool)

    def fresh(self) -> Path:
        """An empty spool."""
        spool = self.place / "spool"
        shutil.rmtree(spool, ignore_errors=True)
        spool.mkdir()
        return spool

    def read(self, path: Path, **options: Any) -> tuple[bytes, Manifest]:
        """Its tar and its manifest, proven."""
        tar, manifest = bundle.read(
            path, key_file=options.pop("key", self.key), spool=self.fresh(), **options
        )
        return tar.read_bytes(), manifest

    def opened(self) -> bytes:
        """The tar that it is inside."""
        return subprocess.run(["zstd", "-dc", self.path], check=True, capture_output=True).stdout

    def closed(self, content: bytes) -> Path:
        """Such a tar as a file."""
        path = self.place / "other.vmmimage"
        path.write_bytes(subprocess.run(["zstd"], input=content, check=True, capture_output=True).stdout)
        return path


@pytest.fixture
def bundled(tmp_path: Path) -> Bundled:
    return Bundled(tmp_path)


def test_stranger_opens_it_with_tar_and_zstd(bundled: Bundled, tmp_path: Path) -> None:
    """Two programs that everybody has give the user's files, and the sums that prove them."""
    out = tmp_path / "out"
    out.mkdir()
    script = f"zstd -dc '{bundled.path}' | tar -xC '{out}' && tar -xf '{out}/data.tar' -C '{out}'"
    subprocess.run(["sh", "-c", script], check=True)
    assert (out / "s" / "a").read_bytes() == FILES["s/a"]
    signed = json.loads((out / "signature").read_text())
    for name in ("manifest.json", "data.tar"):
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == signed[name]["sha256"]
    assert bundled.path.stat().st_mode & 0o777 == 0o600


def test_what_was_written_is_read_byte_for_byte(bundled: Bundled) -> None:
    """The very tar and manifest, names that are no UTF-8 included."""
    assert bundled.read(bundled.path) == (bundled.tar.read_bytes(), bundled.manifest)


def test_nothing_is_written_over(bundled: Bundled) -> None:
    """A file, a directory or a dangling link of that name stays as it is; no half file is left beside it."""
    before = bundled.path.read_bytes()
    (bundled.place / "directory").mkdir()
    (bundled.place / "link").symlink_to("nowhere")
    for name in ("a.vmmimage", "directory", "link"):
        with pytest.raises(Conflict, match="exists already"):
            bundled.write(bundled.place / name)
    with pytest.raises(NotFound):
        bundled.write(bundled.place / "absent" / "a.vmmimage")
    assert bundled.path.read_bytes() == before
    assert [path for path in bundled.place.iterdir() if path.name.startswith(".")] == []


def test_full_disk_leaves_no_half_file(bundled: Bundled) -> None:
    """No space is said so, and nothing lies there afterwards."""
    bundled.tar = make_tar(bundled.place / "large.tar", {"s/a": os.urandom(6 << 20)})
    with small_disk(bundled.place / "disk", mib=4) as disk:
        with pytest.raises(DiskFull):
            bundled.write(disk / "a.vmmimage")
        assert list(disk.iterdir()) == []


def test_file_of_another_store_is_told_from_an_altered_one(bundled: Bundled) -> None:
    """A foreign key, an absent one, and the right one given by hand."""
    other = bundled.place / "other-key"
    other.write_text("another\n")
    with pytest.raises(ArtifactInvalid, match="not made with the key of this image store"):
        bundled.read(bundled.path, key=other)
    with pytest.raises(PreflightFailed):
        bundled.read(bundled.path, key=bundled.place / "no-key")
    with pytest.raises(NotFound):
        bundled.read(bundled.place / "none")


def member(change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]) -> Callable[[Bundled], bytes]:
    """The tar inside with its list of members changed."""

    def altered(bundled: Bundled) -> bytes:
        packed, again = bundled.place / "in.tar", bundled.place / "out.tar"
        packed.write_bytes(bundled.opened())
        with tarfile.open(packed) as tar:
            members = [(one, tar.extractfile(one).read()) for one in tar]  # type: ignore[union-attr]
        change(members)
        with tarfile.open(again, "w", format=tarfile.PAX_FORMAT) as tar:
            for header, content in members:
                header.size = len(content)
                tar.addfile(header, io.BytesIO(content))
        return again.read_bytes()

    return altered


def rewritten(name: str, old: bytes, new: bytes) -> Callable[[Bundled], bytes]:
    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        for at, (header, content) in enumerate(members):
            if header.name == name:
                assert old in content
                members[at] = (header, content.replace(old, new, 1))

    return member(change)


ALTERED: dict[str, Callable[[Bundled], bytes]] = {
    "nothing": lambda _: b"",
    "no tar": lambda _: b"hello" * 500,
    "another order": member(lambda members: members.reverse()),
    "one missing": member(lambda members: members.pop() and None),
    "one more": member(lambda members: members.append(members[0])),
    "twice": member(lambda members: members.insert(1, members[0])),
    "another name": member(lambda members: setattr(members[0][0], "name", "../manifest.json")),
    "another mode": member(lambda members: setattr(members[2][0], "mode", 0o4755)),
    "a link": member(lambda members: setattr(members[2][0], "type", tarfile.SYMTYPE)),
    "a device": member(lambda members: setattr(members[2][0], "type", tarfile.CHRTYPE)),
    "another owner": member(lambda members: setattr(members[2][0], "uid", 1000)),
    "another time": member(lambda members: setattr(members[2][0], "mtime", 1)),
    "other data": rewritten("data.tar", b"1111", b"1112"),
    "another user": rewritten("manifest.json", b'"ann"', b'"bob"'),
    "another digest": rewritten("manifest.json", b'"sha256": "', b'"sha256": "0'),
    "no JSON": rewritten("manifest.json", b"{", b"["),
    "another sum": rewritten("signature", b'"sha256": "', b'"sha256": "0'),
    "another MAC": rewritten("signature", b'"hmac_sha256": "', b'"hmac_sha256": "0'),
    "no MAC": rewritten("signature", b'"hmac_sha256"', b'"hmac_sha255"'),
    "signature of no form": rewritten("signature", b"{", b"["),
    "signature a list": member(lambda members: members.__setitem__(1, (members[1][0], b"[]"))),
    "signature of brackets": member(lambda members: members.__setitem__(1, (members[1][0], b"[" * 4000))),
    "cut": lambda bundled: bundled.opened()[:-10240],
    "longer": lambda bundled: bundled.opened() + bytes(10240),
    "something behind": lambda bundled: bundled.opened()[:-1] + b"x",
}


@pytest.mark.parametrize("case", ALTERED)
def test_altered_content_is_refused(bundled: Bundled, case: str) -> None:
    """Whatever is other than we wrote it, well-formed or not, is refused as a file that is not ours."""
    path = bundled.closed(ALTERED[case](bundled))
    with pytest.raises(ArtifactInvalid) as refused:
        bundled.read(path)
    assert str(path) in refused.value.message


def test_signed_file_with_a_manifest_of_another_tar_is_refused(bundled: Bundled) -> None:
    """Even with the right key: what is imported is proven path by path, and by its schema."""
    other = make_tar(bundled.place / "b.tar", {**FILES, "s/a": b"2"})
    lying = manifest_of(other, number=3, clock=FakeClock())
    bundled.write(bundled.place / "b.vmmimage", manifest=lying)
    with pytest.raises(ArtifactInvalid, match="path 's/a' has another size, sha256"):
        bundled.read(bundled.place / "b.vmmimage")
    bundled.write(bundled.place / "c.vmmimage", manifest=Manifest(**{**vars(lying), "user": "../x"}))
    with pytest.raises(ArtifactInvalid, match="its manifest is none"):
        bundled.read(bundled.place / "c.vmmimage")


def test_file_that_grows_without_end_is_stopped(bundled: Bundled) -> None:
    """A few kilobytes that unpack to much more than an image may have do not fill the disk."""
    path = bundled.closed(bytes(400 << 20))
    assert path.stat().st_size < 100_000
    with pytest.raises(ArtifactInvalid):
        bundled.read(path, policy=ArchivePolicy(max_bytes=1 << 20))
    assert sum(file.stat().st_size for file in (bundled.place / "spool").iterdir()) < 300 << 20


def test_every_truncation_and_many_flipped_bits_are_refused(bundled: Bundled) -> None:
    """No input crashes; none gives other content than was written; a cut file is always refused."""
    raw = bundled.path.read_bytes()
    path = bundled.place / "fuzzed.vmmimage"
    random_bits = random.Random(7)
    cuts = [raw[: len(raw) * at // 60] for at in range(60)]
    flips = []
    for _ in range(240):
        changed = bytearray(raw)
        for _ in range(random_bits.choice((1, 1, 1, 2, 8))):
            changed[random_bits.randrange(len(raw))] ^= 1 << random_bits.randrange(8)
        flips.append(bytes(changed))
    tails = [raw + b"x", raw + raw, raw + random_bits.randbytes(100)]
    harmless = 0
    for content in (*cuts, *flips, *tails):
        path.write_bytes(content)
        try:
            assert bundled.read(path) == (bundled.tar.read_bytes(), bundled.manifest)
            assert content not in cuts
            harmless += 1
        except VmmError as refused:
            assert isinstance(refused, ArtifactInvalid)
    tried = len(cuts) + len(flips) + len(tails)
    # the count is for whoever reads the run
    print(f"{tried} damaged files tried: {tried - harmless} refused, {harmless} of the same content")  # noqa: T201
    assert harmless < tried // 20
