"""Archives that were made to do harm: refused on the controller, before a byte goes to a guest."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.unit.test_bundles import DEFINITION, VERSION, file_entry, link_entry, tar_of
from vmm_automation.adapters import bundle_members
from vmm_automation.adapters.bundles import build_bundle
from vmm_automation.errors import ArtifactInvalid


def zip_of(path: Path, *members: tuple[str, bytes, int]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, mode in members:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return path


def refused(source: Path, why: str) -> None:
    directory = source.parent / "bundles"
    with pytest.raises(ArtifactInvalid, match=why):
        build_bundle(DEFINITION, VERSION, files=[source], directory=directory)
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize(
    ("member", "why"),
    [
        (("../evil", b"x", stat.S_IFREG), "has a '..' part"),
        (("/etc/passwd", b"x", stat.S_IFREG), "is absolute"),
        (("a\\..\\b", b"x", stat.S_IFREG), "not the name of a file"),
        (("x", b"/etc/passwd", stat.S_IFLNK), "outside the archive"),
        (("a/x", b"../../etc", stat.S_IFLNK), "outside the archive"),
        (("x", b"", stat.S_IFCHR), "neither a file"),
        (("x", b"", stat.S_IFBLK), "neither a file"),
        (("x", b"", stat.S_IFIFO), "neither a file"),
        (("x", b"", stat.S_IFSOCK), "neither a file"),
    ],
)
def test_zip_member_that_reaches_outside_is_refused(
    tmp_path: Path, member: tuple[str, bytes, int], why: str
) -> None:
    """A zip file is judged as a tar file is."""
    refused(zip_of(tmp_path / "a.zip", ("fine", b"x", stat.S_IFREG), member), why)


def test_block_device_is_refused(tmp_path: Path) -> None:
    """The disk of the guest is no application."""
    refused(tar_of(tmp_path / "a.tgz", link_entry("sda", "", tarfile.BLKTYPE)), "neither a file")


def test_links_that_escape_together_are_refused(tmp_path: Path) -> None:
    """Each name alone stays inside; one link behind the other would lead out."""
    here = link_entry("a/b/here", ".")
    refused(tar_of(tmp_path / "a.tgz", here, link_entry("out", "a/b/here/../../..")), "goes down and up")
    assert build_bundle(
        DEFINITION,
        VERSION,
        files=[tar_of(tmp_path / "b.tgz", here, link_entry("a/c/up", "../b/here"))],
        directory=tmp_path / "fine",
    ).size


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o1777, 0o6777])
def test_set_id_bits_do_not_arrive(tmp_path: Path, mode: int) -> None:
    """Neither from tar nor from zip: what arrives is executable and no more."""
    sources = [
        tar_of(tmp_path / "a.tgz", file_entry("run", mode=mode)),
        zip_of(tmp_path / "a.zip", ("run", b"x", stat.S_IFREG | mode)),
    ]
    for source in sources:
        bundle = build_bundle(DEFINITION, VERSION, files=[source], directory=tmp_path / source.suffix)
        with tarfile.open(bundle.path) as archive:
            assert archive.getmember("app/run").mode == 0o755


def test_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what its members say of themselves: one large, many that add up, links that repeat, or a crowd."""
    monkeypatch.setattr(bundle_members, "MOST_BYTES", 1 << 20)
    monkeypatch.setattr(bundle_members, "MOST_MEMBERS", 50)
    large, half = b"\0" * (1 << 21), b"\0" * (1 << 19)
    refused(tar_of(tmp_path / "a.tgz", file_entry("large", large)), "unpacks to more than 1 MiB")
    refused(zip_of(tmp_path / "a.zip", ("large", large, 0)), "unpacks to more than 1 MiB")
    several = [file_entry(str(number), half) for number in range(3)]
    refused(tar_of(tmp_path / "b.tgz", *several), "unpacks to more than 1 MiB")
    links = [link_entry(str(number), "first", tarfile.LNKTYPE) for number in range(3)]
    refused(tar_of(tmp_path / "c.tgz", file_entry("first", half), *links), "unpacks to more than 1 MiB")
    crowd = [file_entry(str(number)) for number in range(51)]
    refused(tar_of(tmp_path / "d.tgz", *crowd), "more than 50 members")


def test_sparse_file_counts_as_what_it_becomes(tmp_path: Path) -> None:
    """A few bytes that say they are terabytes are not read."""
    entry = tarfile.TarInfo("hole")
    entry.pax_headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.size": str(1 << 42),
        "GNU.sparse.map": "0,1",
        "GNU.sparse.name": "hole",
    }
    entry.size = 1
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(entry, io.BytesIO(b"x"))
    refused(path, "unpacks to more than 1024 MiB")


def test_encrypted_and_broken_zip_is_said_to_be_unreadable(tmp_path: Path) -> None:
    """What cannot be read is told as that, with its name, and not as a failure of ours."""
    path = zip_of(tmp_path / "a.zip", ("x", b"content", stat.S_IFREG))
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + offset] |= 1
    path.write_bytes(content)
    refused(path, r"'a\.zip' cannot be read")
