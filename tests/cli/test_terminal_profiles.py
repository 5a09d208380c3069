"""The terminal profile of a request: a name, a file, or standard input; nothing of it is trusted."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..made_site import MadeSite

OPEN = ("session", "open", "--user", "ann", "--ua", "radicale", "--terminal")
WRONG: dict[str, tuple[bytes, str]] = {
    "not YAML": (b"[1", "is not YAML"),
    "not a mapping": (b"- a\n- b\n", "a mapping is needed"),
    "empty": (b"", "is empty"),
    "unknown key": (b"protocols: [http]\nscreens: 2\n", "screens"),
    "duplicate key": (b"protocols: [http]\nprotocols: [vnc]\n", "duplicate key"),
    "binary": (b"\xff\xfe\x00bad", "is not UTF-8"),
    "too large": (b"# " + b"x" * 2**20, "larger than 1 MiB"),
    "alias bomb": (b"a: &a [1, 1]\nb: [*a, *a]\n", "alias"),
    "code": (b"!!python/object/apply:os.system ['true']\n", ""),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("way", ["file", "standard input"])
def test_wrong_profile_is_refused_before_anything_starts(
    site: MadeSite, tmp_path: Path, way: str, case: str
) -> None:
    """The same error by both ways, naming the fault; no playbook runs, no state is made."""
    content, fault = WRONG[case]
    path = tmp_path / "terminal.yml"
    path.write_bytes(content)
    value = str(path) if way == "file" else "-"
    code, document = site.json(*OPEN, value, stdin=content)
    assert (code, document["error"]["class"]) == (3, "TerminalInvalid")
    assert fault in document["error"]["message"]
    assert list(site.home.iterdir()) == []


def test_good_profile_from_standard_input_reaches_the_selection(site: MadeSite) -> None:
    """A profile that no file of the site has takes part in the selection as sent."""
    code, document = site.json(*OPEN, "-", stdin=b"name: kiosk\nprotocols: [http]\n")
    assert (code, document["error"]["class"]) == (7, "NoVmFits")
    assert "terminal 'kiosk'" in document["error"]["message"]


def test_absent_file_is_not_taken_for_a_name(site: MadeSite) -> None:
    """A value that looks like a path is one."""
    code, document = site.json(*OPEN, "./nowhere.yml")
    assert (code, document["error"]["class"]) == (4, "NotFound")
    assert "does not exist" in document["error"]["message"]
