"""What the tar of a user image may hold: every archive here is made by hand, as a hostile guest would."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmm_automation.errors import ArtifactInvalid, SiteInvalid
from vmm_automation.images.archive import ArchivePolicy, read_archive
from vmm_automation.images.layers import declared, layer_of, outermost
from vmm_automation.images.manifest import verify
from vmm_automation.model.image import FileEntry, Manifest
from vmm_automation.model.ua import UserData

Member = tuple[tarfile.TarInfo, bytes]


def member(name: str, *, type: bytes = tarfile.REGTYPE, content: bytes = b"", **fields: object) -> Member:
    header = tarfile.TarInfo(name)
    header.type = type
    header.size = len(content)
    header.mode = 0o644
    for field, value in fields.items():
        setattr(header, field, value)
    return header, content


def link(name: str, target: str) -> Member:
    return member(name, type=tarfile.SYMTYPE, linkname=target)


def write(path: Path, *members: Member) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, errors="surrogateescape") as tar:
        for header, content in members:
            tar.addfile(header, io.BytesIO(content))
    return path


def read(path: Path, *members: Member, policy: ArchivePolicy | None = None) -> tuple[FileEntry, ...]:
    archive = write(path / "a.tar", *members) if members else path
    return read_archive(archive, policy=policy or ArchivePolicy(), layer=lambda _: "settings")


def manifest(*files: FileEntry) -> Manifest:
    return Manifest(
        "ann", "radicale", "3.2.3", 1, 4, 3, "s-1", 7, "2026-01-31T08:05:10.000000Z", "stopped", files
    )


HOSTILE = {
    "dot-dot": [member("a/../../etc/passwd")],
    "dot-dot-first": [member("../x")],
    "dot": [member("./a")],
    "absolute": [member("/etc/passwd")],
    "empty-part": [member("a//b")],
    "device": [member("null", type=tarfile.CHRTYPE)],
    "disk": [member("sda", type=tarfile.BLKTYPE)],
    "fifo": [member("pipe", type=tarfile.FIFOTYPE)],
    "unknown-type": [member("x", type=b"V")],
    "absolute-link-out": [link("l", "/etc/passwd")],
    "absolute-link-beside-home": [link("l", "/home/sessions/x")],
    "absolute-link-climbing": [link("l", "/home/session/../other")],
    "relative-link-out": [link("a/l", "../../etc/passwd")],
    "link-climbing-late": [link("a/l", "b/../../../etc")],
    "empty-link": [link("l", "")],
    "link-then-write-through": [link("d", "e"), member("d/x", content=b"1")],
    "write-then-link": [member("d/x", content=b"1"), link("d", "e")],
    "file-as-directory": [member("d", content=b"1"), member("d/x", content=b"1")],
    "hard-link-out": [member("h", type=tarfile.LNKTYPE, linkname="/etc/shadow")],
    "hard-link-later": [member("h", type=tarfile.LNKTYPE, linkname="z"), member("z", content=b"1")],
    "hard-link-to-link": [link("l", "x"), member("h", type=tarfile.LNKTYPE, linkname="l")],
    "duplicate": [member("a", content=b"1"), member("a", content=b"2")],
    "long-name": [member("a" * 5000)],
}


@pytest.mark.parametrize("members", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_archive_is_refused_as_a_whole(tmp_path: Path, members: list[Member]) -> None:
    """No member that could reach outside the home, or that is no user data, is accepted."""
    with pytest.raises(ArtifactInvalid, match="refused: path") as refused:
        read(tmp_path, *members)
    assert refused.value.details["path"]
    assert refused.value.hint


def test_everything_that_refuses_an_archive_is_named(tmp_path: Path) -> None:
    """In their order, with why; also what lies below; of very many the first, and how many more."""
    hostile = [link("out", "/etc"), member("fine"), member("null", type=tarfile.CHRTYPE), member("out/x")]
    with pytest.raises(
        ArtifactInvalid, match=r"path 'out': .* leads out .*; path 'null': it is a char"
    ) as refused:
        read(tmp_path, *hostile)
    assert [each["path"] for each in refused.value.details["refused_entries"]] == ["out", "null", "out/x"]
    assert "'out' above it is refused" in refused.value.message
    with pytest.raises(ArtifactInvalid, match="; and 191 more") as refused:
        read(tmp_path, *[member(f"\x1b{number}", type=tarfile.FIFOTYPE) for number in range(201)])
    assert len(refused.value.details["refused_entries"]) == 100
    assert "\x1b" not in refused.value.message


@pytest.mark.parametrize(
    "target", ["b", "./b", "../c", "b/c", "/home/session/x", "/home/session", "..", "127.0.0.1:7"]
)
def test_link_that_stays_inside_is_kept(tmp_path: Path, target: str) -> None:
    """Links inside the home are ordinary user data, whatever they are relative to, dangling ones too."""
    (entry,) = read(tmp_path, link("a/l", target))
    assert (entry.kind, entry.target, entry.sha256) == ("symlink", target, "")


def test_setuid_bits_are_not_part_of_an_entry(tmp_path: Path) -> None:
    """Only the nine permission bits are recorded."""
    (entry,) = read(tmp_path, member("x", mode=0o6755 | 0o1000))
    assert entry.mode == 0o755


def test_entry_tells_kind_size_digest_and_exact_time(tmp_path: Path) -> None:
    """What a manifest lists is what the tar holds, to the nanosecond, sorted by path."""
    header, content = member("b", content=b"hello")
    header.pax_headers = {"mtime": "1700000000.123456789"}
    entries = read(tmp_path, (header, content), member("a", type=tarfile.DIRTYPE, mode=0o700))
    assert [entry.path for entry in entries] == ["a", "b"]
    assert entries[1] == FileEntry(
        "b", "file", "settings", 5, 0o644, 1700000000123456789, hashlib.sha256(b"hello").hexdigest()
    )


def test_hard_link_inside_has_the_content_of_its_file(tmp_path: Path) -> None:
    """Two names of one file are two entries with one digest."""
    entries = read(tmp_path, member("a", content=b"1"), member("b", type=tarfile.LNKTYPE, linkname="a"))
    assert entries[0].sha256 == entries[1].sha256
    assert entries[1].size == 1


def test_name_that_is_not_utf8_survives(tmp_path: Path) -> None:
    """A name is bytes: what cannot be decoded is escaped, and comes back from the manifest's JSON."""
    (entry,) = read(tmp_path, member("caf\udce9"))
    assert entry.path.encode(errors="surrogateescape") == b"caf\xe9"
    assert Manifest.from_document(manifest(entry).to_document()).files == (entry,)


def test_path_that_no_layer_declares_is_refused(tmp_path: Path) -> None:
    """A guest cannot smuggle in a file that the UA definition does not speak of."""
    archive = write(tmp_path / "a.tar", member(".ssh/authorized_keys", content=b"k"))
    with pytest.raises(ArtifactInvalid, match="declares no settings"):
        read_archive(
            archive, policy=ArchivePolicy(), layer=lambda path: layer_of({".config": "settings"}, path)
        )


def test_content_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    """The limit counts all files together, and holds before anything of that size is read."""
    policy = ArchivePolicy(max_bytes=10)
    read(tmp_path, member("a", content=b"12345"), member("b", content=b"12345"), policy=policy)
    with pytest.raises(ArtifactInvalid, match="exceeds 10 bytes"):
        read(tmp_path, member("a", content=b"12345"), member("b", content=b"123456"), policy=policy)


def test_holes_count_in_full(tmp_path: Path) -> None:
    """A sparse file that claims a terabyte is refused by its claim, not read to its end."""
    header, _ = member("bomb")
    header.pax_headers = {"GNU.sparse.size": str(1 << 40), "GNU.sparse.map": "0,0"}
    with pytest.raises(ArtifactInvalid, match="exceeds"):
        read(tmp_path, (header, b""))


def test_more_than_100_000_members_are_refused(tmp_path: Path) -> None:
    """The member limit ends the pass at the first member too many."""
    block = tarfile.TarInfo("d").tobuf(tarfile.USTAR_FORMAT)
    archive = tmp_path / "a.tar"
    with archive.open("wb") as file:
        for number in range(100_001):
            name = f"{number:06d}".encode()
            header = bytearray(block)
            header[:6] = name
            header[148:156] = b" " * 8
            header[148:155] = b"%06o\0" % sum(header)
            file.write(header)
        file.write(bytes(1024))
    with pytest.raises(ArtifactInvalid, match="100,000 allowed"):
        read(archive)


@pytest.mark.parametrize("kept", [0, 100, 512, 700, 1024, 1500, 2048, 2100, 3072 + 511])
def test_truncated_archive_is_refused(tmp_path: Path, kept: int) -> None:
    """A tar that was cut anywhere, between two members too, is not taken for a shorter one."""
    archive = write(tmp_path / "a.tar", member("a", content=b"1" * 600), member("b", content=b"2"))
    archive.write_bytes(archive.read_bytes()[:kept])
    with pytest.raises(ArtifactInvalid, match="damaged or cut short"):
        read(archive)


def test_something_behind_the_end_is_refused(tmp_path: Path) -> None:
    """A second archive behind the end mark, which another reader might read, is not overlooked."""
    archive = write(tmp_path / "a.tar", member("a", content=b"1"))
    archive.write_bytes(archive.read_bytes() * 2)
    with pytest.raises(ArtifactInvalid, match="damaged"):
        read(archive)


def test_header_that_claims_gigabytes_is_refused(tmp_path: Path) -> None:
    """A forged size of an extended header does not make the controller read it into memory."""
    header, _ = member("PaxHeaders/x", type=tarfile.XHDTYPE)
    header.size = 3 << 30
    archive = tmp_path / "a.tar"
    with archive.open("wb") as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT))
        file.truncate(4 << 30)
    with pytest.raises(ArtifactInvalid, match="a header claims"):
        read(archive)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 3583), value=st.integers(0, 255))
def test_any_flipped_byte_is_refused_or_read_but_never_crashes(tmp_path: Path, at: int, value: int) -> None:
    """Nonsense in a tar is a refusal, not a traceback."""
    header, content = member("d/é\udcff" + "x" * 120, content=b"1" * 600)
    archive = write(tmp_path / "a.tar", (header, content), link("l", "d"))
    raw = bytearray(archive.read_bytes())
    raw[at % len(raw)] = value
    archive.write_bytes(raw)
    try:
        read(archive)
    except ArtifactInvalid:
        return


def test_archive_that_differs_from_its_manifest_names_the_first_path(tmp_path: Path) -> None:
    """Altered, missing and additional paths are each found, and the first in path order is named."""
    entries = read(tmp_path, member("a", content=b"1"), member("b", content=b"2"), member("c", content=b"3"))
    verify(tmp_path / "a.tar", manifest(*entries))
    changed = write(tmp_path / "x.tar", member("a", content=b"1"), member("b", content=b"9"), member("d"))
    with pytest.raises(ArtifactInvalid, match=r"path 'b' has another .*sha256"):
        verify(changed, manifest(*entries))
    with pytest.raises(ArtifactInvalid, match="path 'b' is missing"):
        verify(write(tmp_path / "y.tar", member("a", content=b"1")), manifest(*entries))
    with pytest.raises(ArtifactInvalid, match="path 'b' is not in the manifest"):
        verify(tmp_path / "a.tar", manifest(entries[0], entries[2]))


def test_longest_declared_path_gives_the_layer() -> None:
    """Exceptions below a settings directory are exceptions; only whole path parts count."""
    layers = declared(UserData(settings=(".config/app/",), exceptions=(".config/app/rules",)))
    assert layer_of(layers, ".config/app/rules/one") == "exceptions"
    assert layer_of(layers, ".config/app/rules.bak") == "settings"
    assert layer_of(layers, ".config") == ""
    assert outermost(layers) == (".config/app",)


@pytest.mark.parametrize("path", ["/etc", "../x", "a/../b", "", "a//b", ".", "a\nb", "-rf", " a"])
def test_declared_path_that_leaves_the_home_is_refused(path: str) -> None:
    """A UA definition cannot name what scripts in a guest could mistake."""
    with pytest.raises(SiteInvalid, match="User data path"):
        declared(UserData(settings=(path,)))
