"""Whatever is in a file of a site, the answer is a list of errors with file and path."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from vmm_automation.errors import SiteInvalid, TerminalInvalid
from vmm_automation.model.access import Access
from vmm_automation.operations.identity import access_of
from vmm_automation.site import Site

LOCAL = Path(__file__).parents[2] / "inventories" / "local"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A site with nothing but the shipped base image."""
    root = tmp_path / "lab"
    for name in ("profiles", "terminals", "uas", "base_images"):
        (root / name).mkdir(parents=True)
    (root / "site.yml").write_text("{}")
    (root / "base_images/debian.yml").write_text((LOCAL / "base_images/debian.yml").read_text())
    return root


def errors_in(directory: Path, file: str, content: str | bytes) -> list[str]:
    """What the site says of one file with this content."""
    (directory / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    return Site.load(directory).validate()


BAD_ACCESS = {
    "operator: [ann]": "access.operator: unknown key; did you mean 'operators'?",
    "operators: ann": "access.operators: 'ann' is not a list",
    "operators: [ann, ann]": "access.operators: has the same item twice",
    "operators: [1]": r"access.operators\[0\]: 1 is not text",
    "operators: ['x; DROP TABLE grants']": r"access.operators\[0\]: 'x; DROP TABLE grants' is not a name",
    "operators: [a..b]": r"access.operators\[0\]: 'a..b' is not a name",
    "operators: [ops], groups: {ops: [ann]}": r"access.operators\[0\]: 'ops' is a group",
    "groups: {ops: []}": "access.groups.ops: is empty",
    "groups: {ops: ann}": "access.groups.ops: 'ann' is not a list",
    "groups: [ops]": "access.groups: a list is not a mapping",
    "groups: {'../ops': [ann]}": "access.groups: '../ops' is not a name",
    "groups: {ann: [bo], ops: [ann]}": r"access.groups.ops\[0\]: 'ann' is a group",
    "groups: {ann: [ann]}": r"access.groups.ann\[0\]: 'ann' is a group",
    "watcher_tokens: 'yes'": "access.watcher_tokens: 'yes' is not one of optional, required",
    "watcher_tokens: true": "access.watcher_tokens: true is not one of optional, required",
}


@pytest.mark.parametrize("block", BAD_ACCESS)
def test_bad_access_block_is_refused_with_its_path(directory: Path, block: str) -> None:
    """Unknown keys, names that nobody can have, and groups taken for people: none is read as 'everybody'."""
    (directory / "site.yml").write_text(f"access: {{{block}}}\n")
    for read in (Site.load, access_of):
        with pytest.raises(SiteInvalid, match=BAD_ACCESS[block]):
            read(directory)


def test_access_block_is_read_and_without_one_everybody_operates(directory: Path) -> None:
    """Operators, groups and the rule for tokens; an empty list is as none; a comment is no block."""
    assert access_of(directory) == Site.load(directory).access == Access()
    (directory / "site.yml").write_text("# access: {operators: [ann]}\nname: lab\n")
    assert access_of(directory) == Access()
    (directory / "site.yml").write_text("access: {operators: []}\n")
    assert access_of(directory).may_operate("eve")
    (directory / "site.yml").write_text(
        "access: {operators: [ann], groups: {ops: [bo, cleo]}, watcher_tokens: required}\n"
    )
    access = access_of(directory)
    assert (access.may_operate("ann"), access.may_operate("bo"), access.tokens_required) == (
        True,
        False,
        True,
    )
    assert [access.acts_for(name, "ops") for name in ("bo", "cleo", "ann", "ops")] == [
        True,
        True,
        False,
        False,
    ]
    (directory / "site.yml").write_text('{"\\x61ccess": {"operators": ["ann"]}}\n')
    assert not access_of(directory).may_operate("eve")


BAD_YAML: dict[str, tuple[str | bytes, str]] = {
    "not yaml": ("a: [1, 2", "is not YAML: .*line 2"),
    "tab": ("a:\n\t- b", "is not YAML"),
    "list": ("- a\n- b\n", "a list: a mapping is needed"),
    "text": ("just words\n", "'just words': a mapping is needed"),
    "empty": ("", "is empty: a mapping is needed"),
    "only a comment": ("# nothing\n", "is empty: a mapping is needed"),
    "binary": (bytes(range(256)), "is not UTF-8 text|is not YAML"),
    "gzip": (b"\x1f\x8b\x08\x00\xff\xfe\xfd", "is not UTF-8 text"),
    "NUL": (b"a: b\x00", "is not YAML"),
    "UTF-16": ("audio_out: true\n".encode("utf-16"), "is not UTF-8 text"),
    "huge": (b"a: " + b"x" * 1024 * 1024, "is larger than 1 MiB"),
    "duplicate": ("audio_out: true\naudio_out: false\n", r"audio_out: duplicate key \(lines 1 and 2\)"),
    "alias bomb": ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "alias '.a' is not supported"),
    "merge key": ("a: {x: 1}\n<<: {b: 1}\n", "not text"),
    "itself": ("a: &a [*a]\n", "alias"),
    "deep": ("a: " + "[" * 500_000, "nested more than 32 levels|is not YAML"),
    "two documents": ("audio_out: true\n---\naudio_out: false\n", "a second document"),
    "python object": ("a: !!python/object/apply:os.system [id]\n", "is not YAML: could not determine"),
    "number as key": ("3.10: x\n", r"key 3\.10 \(line 1\) is not text: write it in quotes"),
    "list as key": ("? [a]\n: b\n", "a key .* is not text"),
    "13th month": ("locale: 2020-13-40\n", "is not YAML"),
    "long number": ("latency_ms: " + "9" * 6000, "is not YAML|is more than"),
    "unknown key": ("screen_widht_px: 3\n", "screen_widht_px: unknown key; did you mean 'screen_width_px'"),
    "text for number": ("screen_width_px: wide\n", "screen_width_px: 'wide' is not a whole number or null"),
    "true for number": ("screen_width_px: true\n", "screen_width_px: true is not a whole number"),
    "float for number": ("screen_width_px: 390.0\n", "screen_width_px: 390.0 is not a whole number"),
    "not a number": ("latency_ms: .nan\n", "latency_ms: nan is not a whole number"),
    "negative": ("bandwidth_kbit_s: -1\n", "bandwidth_kbit_s: -1 is less than 0"),
    "text for list": ("protocols: http\n", "protocols: 'http' is not a list"),
    "unknown input": ("inputs: [keybord]\n", r"inputs\[0\]: 'keybord' is not one of keyboard, "),
    "Norway": ("locale: no\n", "locale: false is not text or null: write it in quotes"),
    "final newline": ('protocols: ["http\\n"]\n', r"protocols\[0\]: 'http\\n' is not a word"),
    "date": ("bearer: 2020-01-01\n", "bearer: 2020-01-01 is not text"),
    "control character": ('"a\\e[31m": 1\n', r"a\\x1b\[31m: unknown key"),
}


@pytest.mark.parametrize("case", BAD_YAML)
def test_bad_terminal_file_is_refused_with_file_and_reason(directory: Path, case: str) -> None:
    """Whatever is in a terminal file, the answer is TerminalInvalid that names the file and why."""
    content, reason = BAD_YAML[case]
    errors = errors_in(directory, "terminals/bad.yml", content)
    assert errors
    assert all(error.startswith("terminals/bad.yml: ") for error in errors)
    assert all(error.isprintable() and len(error) < 300 for error in errors)
    assert any(re.search(reason, error) for error in errors), errors
    with pytest.raises(TerminalInvalid) as raised:
        Site.load(directory).terminal("bad")
    assert raised.value.details["errors"] == errors


def test_file_of_unknown_keys_is_answered_soon(directory: Path) -> None:
    """A file of nothing but unknown keys does not keep the controller busy for minutes."""
    content = "".join(f"k{number}: 1\n" for number in range(20_000))
    began = time.monotonic()
    assert len(errors_in(directory, "terminals/bad.yml", content)) == 20_000
    assert time.monotonic() - began < 20
    with pytest.raises(TerminalInvalid, match="19950 more") as raised:
        Site.load(directory).terminal("bad")
    assert len(raised.value.message) < 10_000


def test_file_that_is_no_regular_file_is_refused_at_once(directory: Path) -> None:
    """A FIFO or a directory in place of a file does not block."""
    os.mkfifo(directory / "terminals/pipe.yml")
    (directory / "terminals/dir.yml").mkdir()
    assert Site.load(directory).validate() == [
        "terminals/dir.yml: is not a regular file", "terminals/pipe.yml: is not a regular file"
    ]  # fmt: skip


def test_file_with_unusable_name_is_reported(directory: Path) -> None:
    """A file that no name can reach is an error rather than ignored; editors' hidden files are ignored."""
    for name in ("Big One.yml", "tablet.yaml", ".phone.yml.swp", "notes.txt", ".hidden.yml"):
        (directory / "terminals" / name).write_text("{}")
    errors = Site.load(directory).validate()
    assert len(errors) == 2
    assert "Big One" in errors[0]
    assert errors[1] == "terminals/tablet.yaml: is not read: name it 'tablet.yml'"
    assert "tablet" not in Site.load(directory)._terminal_files.names()


def test_dangling_link_is_not_found(directory: Path) -> None:
    """A link to nowhere is reported as what it is when the site is validated."""
    (directory / "terminals/gone.yml").symlink_to(directory / "nowhere")
    errors = Site.load(directory).validate()
    assert errors == ["terminals/gone.yml: is a link to a file that is not there"]


MANY_MISTAKES = """
command: ["{versiondir}/run", "sh -c ${shell}"]
environment: {1BAD: x, PORT: 80}
files: {../escape: x, /etc/passwd: x}
endpoints: [{name: web, port: 1}, {name: web, port: 70000}]
user_data: {settings: [.config/x, /abs, a/../b], exceptions: [.config/x]}
requirements: {terminal: {protocols: []}, vm: {memory: 1}}
versions:
  "1/2": {kind: pip, artifacts: []}
  "1.0": {kind: ipk}
  "1.1": {kind: pip, artifacts: [{source: radicale==1.1, sha256: xyz}, {source: "http://a@x/y", sha256: "1"}]}
  "1.2": {kind: deb, artifacts: [{source: x, sha256: "2"}]}
  "1.3": {kind: archive, packages: [x1], artifacts: [{source: --index-url=x}]}
"""


def test_ua_with_many_mistakes_lists_all_with_paths(directory: Path) -> None:
    """Mistakes that the schema sees and those it cannot are told together, sorted by path."""
    errors = errors_in(directory, "uas/bad.yml", MANY_MISTAKES)
    paths = [error.removeprefix("uas/bad.yml: ") for error in errors]
    for begin in (
        "command[0]: unknown placeholder '{versiondir}'; did you mean 'version_dir'?",
        "environment: '1BAD' is not the name of an environment variable",
        "environment.PORT: 80 is not text: write it in quotes",
        "files: '../escape' is not a relative path",
        "files: '/etc/passwd' is not a relative path",
        "endpoints: 2 endpoints have the name 'web'",
        "endpoints[1].port: 70000 is more than 65535",
        "user_data.settings[0]: '.config/x' is in layer 'exceptions' too",
        "user_data.settings[1]: '/abs' is not a relative path",
        "user_data.settings[2]: 'a/../b' is not a relative path",
        "requirements.terminal.protocols: is empty",
        "requirements.vm.memory: unknown key; did you mean 'memory_mib'?",
        "versions: '1/2' is not a version",
        "versions.1/2.artifacts: is empty",
        "versions.1.0.kind: 'ipk' is not one of pip, deb, apt, rpm, archive, role",
        "versions.1.1.artifacts[0].sha256: 'xyz' is not a SHA-256 (64 hexadecimal digits)",
        "versions.1.1.artifacts[1].source: 'http://a@x/y' is not a path",
        "versions.1.1.artifacts[1].sha256: '1' is not a SHA-256",
        "versions.1.2.packages: is missing",
        "versions.1.2.artifacts: must be empty for this kind",
        "versions.1.2.artifacts[0].sha256: '2' is not a SHA-256",
        "versions.1.3.packages: must be empty for this kind",
        "versions.1.3.artifacts[0].source: '--index-url=x' is not a path",
        "versions.1.3.artifacts[0].sha256: is missing",
    ):  # fmt: skip
        assert any(path.startswith(begin) for path in paths), (begin, paths)
    assert len(paths) == 24


def test_duplicate_version_is_refused(directory: Path) -> None:
    """Of two equal versions neither wins silently."""
    content = 'versions:\n  "1": {kind: deb, packages: [x1]}\n  "1": {kind: deb, packages: [x2]}\n'
    errors = errors_in(directory, "uas/bad.yml", content)
    assert errors == ["uas/bad.yml: versions.1: duplicate key (lines 2 and 3)"]
