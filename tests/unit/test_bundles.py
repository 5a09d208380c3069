"""Artifacts in their cache and the bundles made of them."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from vmm_automation.adapters.artifacts import fetch_artifacts
from vmm_automation.adapters.bundles import build_bundle
from vmm_automation.adapters.cached_files import sha256_of
from vmm_automation.adapters.ua_unit import render_unit
from vmm_automation.errors import ArtifactInvalid, InvalidName
from vmm_automation.model.ua import Artifact, UaDefinition, UaVersion

VERSION = UaVersion("1.0", "archive")
DEFINITION = UaDefinition(
    "demo",
    "Demo",
    (VERSION,),
    command=("{version_dir}/app/run", "--home={home}"),
    files={"c.ini": "{config_dir}"},
)


def tar_of(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for entry, content in members:
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content) if content else None)
    return path


def file_entry(name: str, content: bytes = b"x", mode: int = 0o644) -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)
    entry.mode, entry.uid, entry.uname, entry.mtime = mode, 1234, "someone", 99
    return entry, content


def link_entry(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry, b""


def fetched(tmp_path: Path, version: UaVersion) -> tuple[Path, ...]:
    return fetch_artifacts(version, definition_dir=tmp_path, directory=tmp_path / "artifacts")


def version_of(source: Path, name: str | None = None) -> UaVersion:
    return replace(VERSION, artifacts=(Artifact(name or source.name, sha256_of(source)),))


def test_archive_is_cached_and_its_source_no_longer_needed(tmp_path: Path) -> None:
    """After the first fetch the cache serves; relative, absolute and file: sources all work."""
    source = tar_of(tmp_path / "app.tar.gz", file_entry("run"))
    for name in ("app.tar.gz", str(source), f"file://{source}"):
        version = version_of(source, name)
        (path,) = fetched(tmp_path, version)
        assert path.name == f"{sha256_of(path)}-app.tar.gz"
        path.unlink()
    fetched(tmp_path, version)
    source.unlink()
    assert fetched(tmp_path, version)[0].is_file()


def test_absent_archive_is_named(tmp_path: Path) -> None:
    """An artifact that is nowhere is reported with its source and digest."""
    version = replace(VERSION, artifacts=(Artifact("gone.tar.gz", "a" * 64),))
    with pytest.raises(ArtifactInvalid, match=r"'gone.tar.gz' is absent") as absent:
        fetched(tmp_path, version)
    assert absent.value.details["expected"] == "a" * 64


def test_archive_with_another_digest_is_refused_with_both(tmp_path: Path) -> None:
    """The message has the digest that was wanted and the one that was found, and nothing is kept."""
    source = tar_of(tmp_path / "app.tar.gz", file_entry("run"))
    version = replace(VERSION, artifacts=(Artifact("app.tar.gz", "b" * 64),))
    with pytest.raises(ArtifactInvalid) as altered:
        fetched(tmp_path, version)
    assert "b" * 64 in altered.value.message
    assert sha256_of(source) in altered.value.message
    assert list((tmp_path / "artifacts").iterdir()) == []


def test_one_altered_byte_in_the_cache_is_found(tmp_path: Path) -> None:
    """A kept file is verified on every use, and the hint tells what to remove."""
    source = tar_of(tmp_path / "app.tar.gz", file_entry("run"))
    version = version_of(source)
    (path,) = fetched(tmp_path, version)
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactInvalid, match="altered in the cache") as altered:
        fetched(tmp_path, version)
    assert altered.value.details["expected"] != altered.value.details["actual"]
    assert altered.value.hint == f"rm {path}"


@pytest.mark.parametrize("digest", ["", "A" * 64, "../x", "*" * 64])
def test_digest_that_is_none_is_refused(tmp_path: Path, digest: str) -> None:
    """A digest becomes part of a file name: nothing but 64 hexadecimal digits is taken."""
    with pytest.raises(ArtifactInvalid, match="no valid digest"):
        fetched(tmp_path, replace(VERSION, artifacts=(Artifact("x", digest),)))


def test_archive_of_another_scheme_is_refused(tmp_path: Path) -> None:
    """Only what a digest can be fetched over: nothing runs a program that knows other schemes."""
    with pytest.raises(ArtifactInvalid, match="neither a path nor a file:, http: or https: URL"):
        fetched(tmp_path, replace(VERSION, artifacts=(Artifact("ftp://x.invalid/a", "a" * 64),)))


def test_equal_inputs_give_an_equal_bundle(tmp_path: Path) -> None:
    """Owners, times and the order of members do not count: the digest is the content's."""
    one = tar_of(tmp_path / "one.tgz", file_entry("a"), file_entry("b/run", mode=0o4755))
    two = tar_of(tmp_path / "two.tgz", file_entry("./b/run", mode=0o700), file_entry("a"))
    first = build_bundle(DEFINITION, VERSION, files=[one], directory=tmp_path / "x")
    second = build_bundle(DEFINITION, VERSION, files=[two], directory=tmp_path / "y")
    assert (
        first.digest == second.digest == hashlib.sha256(gzip.decompress(first.path.read_bytes())).hexdigest()
    )
    assert first.path.read_bytes() == second.path.read_bytes()
    with tarfile.open(first.path) as archive:
        assert {(m.uid, m.uname) for m in archive} == {(0, "root")}
        assert [m.name for m in archive if m.isfile()] == [".vmm-unit", "app/a", "app/b/run", "etc/c.ini"]
        assert archive.getmember("app/b/run").mode == 0o755
        content = archive.extractfile("etc/c.ini")
        assert content is not None
        assert content.read() == b"/opt/vmm/ua/demo/current/etc"


def test_altered_bundle_is_built_anew(tmp_path: Path) -> None:
    """A bundle that was cut short on the controller is never sent."""
    source = tar_of(tmp_path / "a.tgz", file_entry("a", b"x" * 100000))
    first = build_bundle(DEFINITION, VERSION, files=[source], directory=tmp_path / "x")
    whole = first.path.read_bytes()
    first.path.write_bytes(whole[: len(whole) // 2])
    assert build_bundle(DEFINITION, VERSION, files=[source], directory=tmp_path / "x") == first
    assert first.path.read_bytes() == whole


def test_bundle_is_built_once(tmp_path: Path) -> None:
    """The second call finds the first one's file."""
    source = tar_of(tmp_path / "a.tgz", file_entry("a"))
    first = build_bundle(DEFINITION, VERSION, files=[source], directory=tmp_path / "x")
    os.utime(first.path, (1, 1))
    build_bundle(DEFINITION, VERSION, files=[source], directory=tmp_path / "x")
    assert first.path.stat().st_mtime == 1


@pytest.mark.parametrize(
    ("member", "why"),
    [
        (file_entry("../evil"), "has a '..' part"),
        (file_entry("a/../../evil"), "has a '..' part"),
        (file_entry("/etc/passwd"), "is absolute"),
        (link_entry("x", "/etc/passwd"), "outside the archive"),
        (link_entry("a/x", "../../etc"), "outside the archive"),
        (link_entry("x", "../y", tarfile.LNKTYPE), "has a '..' part"),
        (link_entry("x", "gone", tarfile.LNKTYPE), "which is not there"),
        (link_entry("x", "", tarfile.FIFOTYPE), "neither a file"),
        (link_entry("x", "", tarfile.CHRTYPE), "neither a file"),
        (file_entry("a\nb"), "not the name of a file"),
    ],
)
def test_member_that_reaches_outside_is_refused(
    tmp_path: Path, member: tuple[tarfile.TarInfo, bytes], why: str
) -> None:
    """Root unpacks the bundle in the guest: nothing in it may point out of its directory."""
    source = tar_of(tmp_path / "a.tgz", file_entry("fine"), member)
    with pytest.raises(ArtifactInvalid, match=why):
        build_bundle(DEFINITION, VERSION, files=[source], directory=tmp_path / "x")
    assert list((tmp_path / "x").iterdir()) == []


def test_file_below_a_link_is_refused(tmp_path: Path) -> None:
    """A link inside the archive must not be a directory for later members."""
    source = tar_of(tmp_path / "a.tgz", link_entry("d", "e"), file_entry("d/x"))
    with pytest.raises(ArtifactInvalid, match="is a file and a directory"):
        build_bundle(DEFINITION, VERSION, files=[source], directory=tmp_path / "x")


def test_two_artifacts_with_one_name_are_refused(tmp_path: Path) -> None:
    """The order of artifacts must not decide which content wins."""
    sources = [tar_of(tmp_path / f"{n}.tgz", file_entry("same", n.encode())) for n in ("a", "b")]
    with pytest.raises(ArtifactInvalid, match="they differ"):
        build_bundle(DEFINITION, VERSION, files=sources, directory=tmp_path / "x")


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", gzip.compress(b"no tar", mtime=0), b"PK\x03\x04broken"]
)
def test_damaged_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    """What is no archive is said to be none."""
    source = tmp_path / "a.tgz"
    source.write_bytes(content)
    with pytest.raises(ArtifactInvalid, match="cannot be read"):
        build_bundle(DEFINITION, VERSION, files=[source], directory=tmp_path / "x")


def wheel_of(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return path


def test_wheel_is_laid_out_without_scripts(tmp_path: Path) -> None:
    """A wheel's packages and its purelib go to app/, its scripts stay behind."""
    wheel = wheel_of(
        tmp_path / "p.whl",
        "p/__init__.py",
        "p-1.data/purelib/q.py",
        "p-1.data/scripts/p",
        "p-1.dist-info/METADATA",
    )
    version = replace(VERSION, kind="pip")
    bundle = build_bundle(DEFINITION, version, files=[wheel], directory=tmp_path / "x")
    with tarfile.open(bundle.path) as archive:
        names = [m.name for m in archive if m.isfile() and m.name.startswith("app/")]
    assert names == ["app/p-1.dist-info/METADATA", "app/p/__init__.py", "app/q.py"]


@pytest.mark.parametrize("name", ["p/fast.so", "p-1.data/data/etc/x", "../x.py"])
def test_wheel_that_is_not_pure_is_refused(tmp_path: Path, name: str) -> None:
    """Machine code, files outside the Python path and bad names are not delivered from wheels."""
    wheel = wheel_of(tmp_path / "p.whl", name)
    with pytest.raises(ArtifactInvalid):
        build_bundle(DEFINITION, replace(VERSION, kind="pip"), files=[wheel], directory=tmp_path / "x")


def test_bad_version_name_never_becomes_a_path(tmp_path: Path) -> None:
    """A version's name is a directory in the guest: it is checked again here."""
    with pytest.raises(InvalidName):
        build_bundle(DEFINITION, replace(VERSION, version="../1"), files=[], directory=tmp_path)


def test_version_named_current_is_refused(tmp_path: Path) -> None:
    """'current' is the link to the active version."""
    with pytest.raises(InvalidName, match="'current'"):
        build_bundle(DEFINITION, replace(VERSION, version="current"), files=[], directory=tmp_path)


def test_unit_runs_as_the_session_account_with_words_kept_whole() -> None:
    """Quotes, dollars, percents and blanks of the definition reach the program unchanged."""
    definition = replace(
        DEFINITION, command=("/bin/x", 'a "b" $c 100%', "{home}/{other}"), environment={"P": "5% $x"}
    )
    unit = render_unit(definition)
    assert 'ExecStart="/bin/x" "a \\"b\\" $$c 100%%" "/home/session/{other}"\n' in unit
    assert 'Environment="P=5%% $x"\n' in unit
    assert "User=session\n" in unit


def test_unit_runs_and_ends_as_the_definition_says() -> None:
    """As another account it is in no home; what ends it is told as what begins it."""
    stated = replace(DEFINITION, command=("/bin/x",), stop=("/bin/x", "--end={home}"), run_as="www-data")
    unit = render_unit(stated)
    assert 'ExecStop="/bin/x" "--end=/home/session"\n' in unit
    assert "User=www-data\nWorkingDirectory=/\n" in unit
    assert "ExecStop" not in render_unit(replace(stated, stop=()))


def test_unit_of_packages_has_one_that_stands_for_it() -> None:
    """It is started and stopped with it, and no command of its own is run."""
    unit = render_unit(replace(DEFINITION, command=(), unit="nginx.service"))
    assert "BindsTo=nginx.service\n" in unit
    assert "ExecStop=+/bin/systemctl stop nginx.service\n" in unit
    assert "After=" not in unit


def test_tool_has_no_unit() -> None:
    """A UA without a command is a tool: nothing to run."""
    assert render_unit(replace(DEFINITION, command=())) == ""
