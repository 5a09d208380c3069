"""Base images from ready files, with the real qemu-img: what is refused, and that nothing is left behind."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmm_automation.adapters.base_image_builder import ensure_base_image, image_directory
from vmm_automation.errors import ArtifactInvalid, DiskFull, PreflightFailed
from vmm_automation.model.base_image import BaseImageDefinition


def _quiet(_: str) -> None:
    """Progress that nobody watches."""


def _qemu_img(*words: str | Path) -> None:
    subprocess.run(["qemu-img", *words], check=True, capture_output=True)


def _definition(path: Path, **changes: str) -> BaseImageDefinition:
    sha256 = changes.pop("sha256", "") or hashlib.sha256(path.read_bytes()).hexdigest()
    return BaseImageDefinition(name="ready", kind="qcow2", path=str(path), sha256=sha256, **changes)  # type: ignore[arg-type]


def _remains(directory: Path) -> list[str]:
    """What is in the cache beside lock files."""
    return sorted(path.name for path in directory.iterdir() if path.suffix != ".lock")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small qcow2 image with some content."""
    raw = tmp_path / "source.raw"
    raw.write_bytes(os.urandom(3 << 20))
    path = tmp_path / "source.qcow2"
    _qemu_img("convert", "-O", "qcow2", raw, path)
    return path


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The cache, which does not exist yet."""
    return tmp_path / "cache"


def test_a_good_image_is_taken_once_and_then_found(source: Path, directory: Path) -> None:
    """The second call finds what the first made; it is an equal copy, read-only, searchable by everybody."""
    definition = _definition(source)
    image, made = ensure_base_image(definition, directory=directory, progress=_quiet)
    again, made_again = ensure_base_image(definition, directory=directory, progress=_quiet)
    assert (made, made_again) == (True, False)
    assert image == again
    assert image.disk.read_bytes() == source.read_bytes()
    assert stat.S_IMODE(image.disk.stat().st_mode) == 0o444
    assert stat.S_IMODE(image.disk.parent.stat().st_mode) == 0o755
    assert image.kernel is None
    assert stat.S_IMODE(source.stat().st_mode) != 0o444


def test_an_image_with_another_digest_is_refused(source: Path, directory: Path) -> None:
    """Both digests are in the message, and nothing is kept."""
    expected = "0" * 64
    with pytest.raises(ArtifactInvalid) as caught:
        ensure_base_image(_definition(source, sha256=expected), directory=directory, progress=_quiet)
    assert expected in caught.value.message
    assert hashlib.sha256(source.read_bytes()).hexdigest() in caught.value.message
    assert _remains(directory) == []


def test_a_file_that_is_no_image_is_refused(tmp_path: Path, directory: Path) -> None:
    """A right digest does not make an image."""
    text = tmp_path / "notes.txt"
    text.write_text("not an image\n" * 100)
    with pytest.raises(ArtifactInvalid, match="is not a qcow2 image"):
        ensure_base_image(_definition(text), directory=directory, progress=_quiet)
    assert _remains(directory) == []


def test_an_image_with_a_backing_file_is_refused(source: Path, tmp_path: Path, directory: Path) -> None:
    """A base image must stand alone: its digest says nothing of the file behind it."""
    overlay = tmp_path / "overlay.qcow2"
    _qemu_img("create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", source, overlay)
    with pytest.raises(ArtifactInvalid, match=r"backing file '.*source\.qcow2'"):
        ensure_base_image(_definition(overlay), directory=directory, progress=_quiet)
    assert _remains(directory) == []


def test_an_image_with_a_data_file_is_refused(tmp_path: Path, directory: Path) -> None:
    """The same holds for content in an external file."""
    image = tmp_path / "thin.qcow2"
    _qemu_img("create", "-q", "-f", "qcow2", "-o", f"data_file={tmp_path / 'content.raw'}", image, "1M")
    with pytest.raises(ArtifactInvalid, match="in another file"):
        ensure_base_image(_definition(image), directory=directory, progress=_quiet)
    assert _remains(directory) == []


def test_an_absent_source_is_refused(tmp_path: Path, directory: Path) -> None:
    """The message names the path that cannot be read."""
    with pytest.raises(ArtifactInvalid, match=r"absent\.qcow2': No such file"):
        ensure_base_image(
            _definition(tmp_path / "absent.qcow2", sha256="0" * 64), directory=directory, progress=_quiet
        )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_is_said_and_nothing_is_left(source: Path, small_disk: Path) -> None:
    """The failure is DiskFull with the directory's name, and the next attempt finds all the space there
    was.
    """
    with pytest.raises(DiskFull, match=str(small_disk)):
        ensure_base_image(_definition(source), directory=small_disk, progress=_quiet)
    assert _remains(small_disk) == []


def test_a_debian_build_without_space_is_refused_at_once(small_disk: Path) -> None:
    """Minutes of work are not begun where they cannot end."""
    definition = BaseImageDefinition(name="d", kind="debian", suite="bookworm", packages=("udev",))
    with pytest.raises(DiskFull, match="MiB are needed"):
        ensure_base_image(definition, directory=small_disk, progress=_quiet)
    assert _remains(small_disk) == []


def test_what_a_killed_build_left_is_removed_by_the_next(source: Path, directory: Path) -> None:
    """Leftovers of the same image go; those of another image, whose builder may live, stay."""
    mine, other = directory / ".ready.building.k1ll3d", directory / ".other.building.al1ve"
    for leftover in (mine, other):
        (leftover / "image").mkdir(parents=True)
        (leftover / "image" / "disk.qcow2").write_bytes(b"half")
    definition = _definition(source)
    ensure_base_image(definition, directory=directory, progress=_quiet)
    assert _remains(directory) == [other.name, image_directory(definition, directory=directory).name]


def test_an_altered_cached_image_is_not_used(source: Path, directory: Path) -> None:
    """VMs must not start from an image that is not what was made; the hint says how to make it anew."""
    definition = _definition(source)
    image, _ = ensure_base_image(definition, directory=directory, progress=_quiet)
    image.disk.chmod(0o644)
    image.disk.write_bytes(b"short")
    with pytest.raises(ArtifactInvalid, match="damaged") as caught:
        ensure_base_image(definition, directory=directory, progress=_quiet)
    assert caught.value.hint == f"rm -r {image.disk.parent}"


def test_a_cache_that_is_a_file_is_a_preflight_failure(source: Path, tmp_path: Path) -> None:
    """What the operating system refuses is told as one of our errors."""
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(PreflightFailed, match="Cannot make base image 'ready'"):
        ensure_base_image(_definition(source), directory=blocked, progress=_quiet)
