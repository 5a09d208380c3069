"""Headers that say much of one member or of all: read, or refused, in bounded memory."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmm_automation.errors import ArtifactInvalid
from vmm_automation.images.archive import ArchivePolicy

from .test_archive_policy import read


def old_sparse(blocks: int) -> bytes:
    """A sparse file as GNU tar wrote them first: the list goes on in blocks as long as each says so."""
    header = bytearray(tarfile.TarInfo("bomb").tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[482] = 1
    header[148:156] = b" " * 8
    header[148:155] = b"%06o\0" % sum(header)
    more = (b"00000000001\0" * 42).ljust(504, b"\0") + b"\1" + bytes(7)
    return bytes(header) + more * (blocks - 1) + bytes(1536)


def new_sparse(holes: int) -> bytes:
    """A sparse file as GNU tar writes them now: the list is the beginning of the content."""
    text = b"%d\n" % holes + b"0\n" * (2 * holes)
    header = tarfile.TarInfo("bomb")
    header.size = len(text) + -len(text) % 512
    header.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "5"}
    return header.tobuf(tarfile.PAX_FORMAT) + text.ljust(header.size, b"\0") + bytes(1024)


@pytest.mark.parametrize("bomb", [old_sparse(9_000), new_sparse(2_000_000)], ids=["old", "new"])
def test_list_of_holes_that_would_fill_the_memory_is_refused(tmp_path: Path, bomb: bytes) -> None:
    """A sparse file may be as fragmented as real ones are; its list is no way around the limits."""
    (tmp_path / "a.tar").write_bytes(bomb)
    with pytest.raises(ArtifactInvalid, match="headers of a member have more than 4,194,304 bytes"):
        read(tmp_path / "a.tar")


def test_headers_for_all_members_are_refused(tmp_path: Path) -> None:
    """They would pile up from member to member, and no capture writes them."""
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "x"}) as tar:
        tar.addfile(tarfile.TarInfo("a"))
    with pytest.raises(ArtifactInvalid, match="headers for all members"):
        read(archive)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    numbers=st.lists(st.one_of(st.integers(-3, 700), st.integers(), st.text(max_size=3)), max_size=12),
    real=st.one_of(st.integers(-1, 2000), st.integers()),
)
def test_any_list_of_holes_is_read_or_refused(tmp_path: Path, numbers: list[int | str], real: int) -> None:
    """Whatever numbers, or other text, it has: entries or ArtifactInvalid, never another failure."""
    text = b"".join(f"{number}\n".encode() for number in numbers)
    header = tarfile.TarInfo("x")
    header.size = 1024
    header.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.realsize": str(real),
    }
    content = header.tobuf(tarfile.PAX_FORMAT) + text.ljust(1024, b"\0")[:1024] + bytes(1024)
    (tmp_path / "a.tar").write_bytes(content)
    try:
        (entry,) = read(tmp_path / "a.tar", policy=ArchivePolicy(max_bytes=10_000))
    except ArtifactInvalid:
        return
    assert 0 <= entry.size == real
