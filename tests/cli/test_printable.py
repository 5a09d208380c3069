"""What guests and users chose reaches the terminal as text: it moves no cursor and ends no line."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from vmm_automation.cli.door import fields, table
from vmm_automation.cli.text import printable
from vmm_automation.images.manifest import to_generation
from vmm_automation.model.image import FileEntry, Manifest
from vmm_automation.model.times import to_text
from vmm_automation.state import generations

from ..made_site import MadeSite, make_site

EVIL = {
    "clears the screen": ("\x1b[2Ja", "\\x1b[2Ja"),
    "sets the title": ("\x1b]0;b\x07", "\\x1b]0;b\\x07"),
    "goes back": ("c\rd\x08", "c\\rd\\x08"),
    "writes from right to left": ("e\u202ef", "e\\u202ef"),
    "is no text": ("g\udcff", "g\\udcff"),
}


@pytest.mark.parametrize("case", EVIL)
def test_control_character_is_shown_as_an_escape(case: str) -> None:
    """In columns, fields and lines alike; a cell stays one cell."""
    evil, shown = EVIL[case]
    assert printable(f"x\n{evil}") == f"x\n{shown}"
    assert table(["A", "B"], [[f"{evil}\n", 1]], empty="").splitlines()[1].split() == [f"{shown}\\n", "1"]
    assert fields({"a": f"{evil}\n"}) == f"a  {shown}\\n"
    assert printable("é 漢 \\x1b") == "é 漢 \\x1b"


def test_path_of_a_user_image_and_console_of_a_guest_reach_the_terminal_as_text(tmp_path: Path) -> None:
    """Also where standard output takes ASCII only; the JSON has the path as it is."""
    site = make_site(tmp_path, running=["vm-1"])
    evil, shown = "s/\x1b[2Jé\udcff", "s/\\x1b[2J\\xe9\\udcff"
    files = (FileEntry(evil, "file", "settings", 3, 0o600, 1, "ab" * 32),)
    now = to_text(datetime.now(UTC))
    manifest = Manifest("ann", "cal", "1", 1, 1, 0, "", 1, now, "stopped", files)
    with site.store() as store, store.transaction() as tx:
        generations.add(tx, generation=to_generation(manifest, "ann-cal-1"), manifest=manifest)
    strict = {**site.environment, "PYTHONIOENCODING": "ascii:strict"}
    told = site.vmm("image", "show", "ann", "cal", environment=strict)
    assert (told.returncode, shown in told.stdout) == (0, True), told.stderr
    (file,) = site.json("image", "show", "ann", "cal")[1]["result"]["manifest"]["files"]
    assert file["path"] == evil
    console = site.home / "vms" / "made" / "vm-1" / "console.log"
    console.parent.mkdir(parents=True)
    console.write_bytes(b"login\x1b[2J\xff: \n")
    told = site.vmm("vm", "show", "vm-1", environment=strict)
    assert "  login\\x1b[2J\\ufffd:" in told.stdout, told


@pytest.mark.parametrize("words", [("vm", "show", "\x1b[2Jvm"), ("image", "list", "--user", "\x1b[2J")])
def test_refusal_shows_what_it_refuses_as_text(site: MadeSite, words: tuple[str, ...]) -> None:
    """On standard error too."""
    told = site.vmm(*words)
    assert (told.returncode, "\x1b" in told.stderr) == (2, False)
