"""The image store over the real borg: what was written comes back or is refused."""

from __future__ import annotations

import io
import os
import random
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from vmm_automation.errors import ArtifactInvalid, Conflict, DiskFull, PreflightFailed
from vmm_automation.images.archive import ArchivePolicy, read_archive
from vmm_automation.images.borg import BorgStore, archive_name
from vmm_automation.model.image import Manifest


def make_tar(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(files):
            header = tarfile.TarInfo(name)
            header.size = len(files[name])
            tar.addfile(header, io.BytesIO(files[name]))
    return path


def settings_tree(*, files: int = 50, seed: int = 1) -> dict[str, bytes]:
    words = random.Random(seed)
    return {f"s/{n:03d}": words.randbytes(2000).hex().encode() for n in range(files)}


def manifest_of(tar: Path, *, number: int = 1) -> Manifest:
    files = read_archive(tar, policy=ArchivePolicy(), layer=lambda _: "settings")
    return Manifest(
        "ann",
        "radicale",
        "3.2.3",
        1,
        number,
        number - 1,
        "s-1",
        7,
        "2026-01-31T08:05:10.000000Z",
        "stopped",
        files,
    )


def stored_bytes(tmp_path: Path) -> int:
    data = tmp_path / "user_images" / "repository" / "data"
    return sum(file.stat().st_size for file in data.rglob("*") if file.is_file())


def test_generation_comes_back_byte_for_byte(store: BorgStore, tmp_path: Path) -> None:
    """What is read is the very tar and the very manifest that were written; the store makes itself."""
    assert store.archives() == ()
    tar = make_tar(tmp_path / "spool" / "a.tar", settings_tree())
    manifest = manifest_of(tar)
    name = archive_name(user="ann@example.org", ua="radicale", number=1, session="s-1")
    store.write(name, tar=tar, manifest=manifest)
    assert store.archives() == (name,)
    read, found = store.read(name, into=tmp_path / "out")
    assert read.read_bytes() == tar.read_bytes()
    assert found == manifest
    store.check()
    assert [path.name for path in tar.parent.iterdir()] == ["a.tar"]


def test_secret_is_owner_only_and_everything_lies_below_the_store(
    store: BorgStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written to the home of whoever runs this; own borg settings do not interfere."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("BORG_PASSPHRASE", "of another repository")
    monkeypatch.setenv("BORG_CACHE_DIR", str(home / "cache"))
    tar = make_tar(tmp_path / "spool" / "a.tar", {})
    store.write("a", tar=tar, manifest=manifest_of(tar))
    assert store.read("a", into=tmp_path / "out")[1].files == ()
    assert list(home.iterdir()) == []
    key = tmp_path / "user_images" / "key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert "Encrypted" not in key.read_text()


def test_name_that_exists_is_a_conflict(store: BorgStore, tmp_path: Path) -> None:
    """A generation is never written over."""
    tar = make_tar(tmp_path / "spool" / "a.tar", {"a": b"1"})
    store.write("a", tar=tar, manifest=manifest_of(tar))
    with pytest.raises(Conflict):
        store.write("a", tar=tar, manifest=manifest_of(tar))


def test_absent_archive_or_store_is_said_so(store: BorgStore, tmp_path: Path) -> None:
    """A generation whose archive is gone is an invalid artifact, not a crash."""
    with pytest.raises(ArtifactInvalid, match="no store"):
        store.read("a", into=tmp_path / "out")
    tar = make_tar(tmp_path / "spool" / "a.tar", {"a": b"1"})
    store.write("a", tar=tar, manifest=manifest_of(tar))
    with pytest.raises(ArtifactInvalid, match="'b'"):
        store.read("b", into=tmp_path / "out")
    store.delete("a")
    assert store.archives() == ()


def test_lost_key_is_named_and_never_made_anew(store: BorgStore, tmp_path: Path) -> None:
    """Without its key a store refuses to work and says which file to bring back."""
    tar = make_tar(tmp_path / "spool" / "a.tar", {"a": b"1"})
    store.write("a", tar=tar, manifest=manifest_of(tar))
    key = tmp_path / "user_images" / "key"
    key.rename(tmp_path / "key")
    with pytest.raises(PreflightFailed) as lost:
        store.write("b", tar=tar, manifest=manifest_of(tar))
    assert str(key) in lost.value.hint
    assert not key.exists()


def test_flipped_bytes_are_found_by_read_and_by_check(store: BorgStore, tmp_path: Path) -> None:
    """Damage on disk never reaches a guest."""
    tar = make_tar(tmp_path / "spool" / "a.tar", settings_tree())
    store.write("a", tar=tar, manifest=manifest_of(tar))
    data = tmp_path / "user_images" / "repository" / "data"
    segment = max((file for file in data.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
    raw = bytearray(segment.read_bytes())
    for at in (len(raw) // 3, len(raw) // 2, len(raw) // 2 + 1):
        raw[at] ^= 0xFF
    segment.write_bytes(raw)
    with pytest.raises(ArtifactInvalid):
        store.read("a", into=tmp_path / "out")
    with pytest.raises(ArtifactInvalid, match="check the user image store"):
        store.check()


def test_manifest_that_is_not_that_of_the_tar_is_refused_on_reading(store: BorgStore, tmp_path: Path) -> None:
    """The manifest is proven against the tar again after it was stored."""
    tar = make_tar(tmp_path / "spool" / "a.tar", {"s/a": b"1"})
    other = make_tar(tmp_path / "spool" / "b.tar", {"s/a": b"2"})
    store.write("a", tar=tar, manifest=manifest_of(other))
    with pytest.raises(ArtifactInvalid, match="path 's/a' has another sha256"):
        store.read("a", into=tmp_path / "out")


def test_small_change_grows_the_store_little(store: BorgStore, tmp_path: Path) -> None:
    """The second generation of 500 files with one changed costs a few chunks, not the tree again."""
    tree = settings_tree(files=500)
    for number in (1, 2):
        tar = make_tar(tmp_path / "spool" / f"{number}.tar", tree)
        before = stored_bytes(tmp_path) if number > 1 else 0
        store.write(f"g{number}", tar=tar, manifest=manifest_of(tar, number=number))
        grown = stored_bytes(tmp_path) - before
        if number == 1:
            first = grown
        tree["s/250"] = b"changed"
    assert grown < first / 8


def test_writer_killed_in_the_middle_records_nothing_and_blocks_nobody(
    store: BorgStore, tmp_path: Path
) -> None:
    """After SIGKILL of borg no archive is listed, and the next write goes through without help."""
    small = make_tar(tmp_path / "spool" / "a.tar", {"s/a": b"1"})
    store.write("first", tar=small, manifest=manifest_of(small))
    large = make_tar(tmp_path / "spool" / "large.tar", {f"s/{n}": os.urandom(4 << 20) for n in range(15)})
    manifest = manifest_of(large)
    failed: list[BaseException] = []

    def write() -> None:
        try:
            store.write("large", tar=large, manifest=manifest)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test looks at it
            failed.append(error)

    before = stored_bytes(tmp_path)
    writer = threading.Thread(target=write)
    writer.start()
    while stored_bytes(tmp_path) < before + (8 << 20):
        time.sleep(0.01)
    (borg,) = psutil.Process().children()
    os.kill(borg.pid, signal.SIGKILL)
    writer.join()
    assert "signal 9" in str(failed[0])
    assert store.archives() == ("first",)
    store.write("second", tar=small, manifest=manifest_of(small))
    assert store.archives() == ("first", "second")
    store.check()


def test_controller_killed_while_the_store_is_made_leaves_no_half_store(
    store: BorgStore, tmp_path: Path
) -> None:
    """What an interrupted first write left is thrown away, and its key is used again."""
    places = tmp_path / "user_images"
    (places / "repository.new" / "data").mkdir(parents=True)
    (places / "repository.new" / "config").write_text("half")
    (places / "key.new").write_text("half")
    tar = make_tar(tmp_path / "spool" / "a.tar", {"s/a": b"1"})
    store.write("a", tar=tar, manifest=manifest_of(tar))
    assert store.archives() == ("a",)
    assert not (places / "repository.new").exists()


def test_two_first_writers_make_one_store(tmp_path: Path) -> None:
    """Processes that start together agree on one repository, and both generations are in it."""
    make_tar(tmp_path / "spool" / "a.tar", {"s/a": b"1"})
    program = f"""
import sys
from pathlib import Path
from vmm_automation.images.archive import ArchivePolicy, read_archive
from vmm_automation.images.borg import BorgStore
from vmm_automation.model.image import Manifest
base, name = Path({str(tmp_path)!r}), sys.argv[1]
tar = base / "spool" / "a.tar"
files = read_archive(tar, policy=ArchivePolicy(), layer=lambda _: "settings")
manifest = Manifest("ann", "x", "1", 1, 1, 0, "s-1", 7, "2026-01-31T08:05:10.000000Z", "stopped", files)
store = BorgStore(base / "user_images" / "repository", key_file=base / "user_images" / "key")
store.write(name, tar=tar, manifest=manifest)
"""
    writers = [subprocess.Popen([sys.executable, "-c", program, name]) for name in ("one", "two")]
    assert [writer.wait() for writer in writers] == [0, 0]
    store = BorgStore(tmp_path / "user_images" / "repository", key_file=tmp_path / "user_images" / "key")
    assert sorted(store.archives()) == ["one", "two"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


def test_full_disk_is_said_and_records_nothing(small_disk: Path, tmp_path: Path) -> None:
    """Without space a write fails as such; what was stored before stays readable."""
    store = BorgStore(small_disk / "repository", key_file=small_disk / "key")
    small = make_tar(tmp_path / "spool" / "a.tar", {"s/a": b"1"})
    store.write("first", tar=small, manifest=manifest_of(small))
    large = make_tar(tmp_path / "spool" / "large.tar", {"s/a": os.urandom(20 << 20)})
    with pytest.raises(DiskFull, match="no space left"):
        store.write("large", tar=large, manifest=manifest_of(large))
    assert store.archives() == ("first",)
    assert store.read("first", into=tmp_path / "out")[0].read_bytes() == small.read_bytes()
    store.write("second", tar=small, manifest=manifest_of(small))
    assert store.archives() == ("first", "second")
