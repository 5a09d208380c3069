"""How large a user's image may be: what the definition says, the verdict, and what a refusal tells."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest

import vmm_automation
from vmm_automation.errors import ImageTooLarge, TaskFailed
from vmm_automation.images.archive import ArchivePolicy
from vmm_automation.images.cap import LARGEST, Measured, measured, require_within, verdict
from vmm_automation.model.image import FileEntry
from vmm_automation.model.ua import UaDefinition, UaVersion, UserData
from vmm_automation.operations.user_image_fetch import Source, fetch
from vmm_automation.operations.user_image_scripts import SessionAccount

from .test_guest_answers import TalkingGuest

UA = UaDefinition("cal", "Cal", (UaVersion("1", "pip"),), user_data=UserData(("s",), max_mib=2, max_paths=3))
MIB = 1 << 20


def entry(path: str, size: int) -> FileEntry:
    return FileEntry(path, "file", "settings", size, 0o644, 0, "0" * 64)


def test_defaults_and_limits_of_the_definition_are_what_an_archive_may_be() -> None:
    """A definition cannot allow more than the store takes, and says nothing by default."""
    schema = json.loads((Path(vmm_automation.__file__).parent / "schema" / "ua.json").read_text())
    keys = schema["properties"]["user_data"]["properties"]
    limits = {"max_mib": ArchivePolicy().max_bytes // MIB, "max_paths": ArchivePolicy().max_members}
    for key, limit in limits.items():
        assert keys[key]["maximum"] == keys[key]["default"] == getattr(UserData(), key) == limit


@pytest.mark.parametrize(
    ("sizes", "within"),
    [((MIB, MIB), True), ((MIB, MIB + 1), False), ((1, 1, 1), True), ((1, 1, 1, 0), False), ((), True)],
)
def test_verdict_is_by_content_and_by_paths(sizes: tuple[int, ...], within: bool) -> None:
    """Exactly the cap is within it; either may be exceeded."""
    found = measured([entry(f"s/{number}", size) for number, size in enumerate(sizes)])
    told = verdict(found, UA)
    assert told["within"] is within
    assert (told["size"], told["paths"]) == (sum(sizes), len(sizes))


def test_refusal_tells_sizes_the_largest_paths_and_what_to_set() -> None:
    """Sizes are rounded up, so that what is beyond never looks like the limit; paths are printable."""
    sizes = {"s/\x1b[2J": MIB, "s/b": MIB, "s/c": 1, "s/d": 2, "s/e": 3, "s/f": 4}
    found = measured([entry(path, size) for path, size in sizes.items()])
    with pytest.raises(ImageTooLarge) as refused:
        require_within(found, UA, doing="capture")
    error = refused.value
    assert error.message.startswith(
        "Cannot capture: 2.1 MiB in 6 paths, of 2 MiB in 3 paths; largest 's/\\x1b[2J'"
    )
    assert (
        error.hint == "user_data: {max_mib: 3, max_paths: 6} in uas/cal.yml of the site, then the same again"
    )
    assert [each["path"] for each in error.details["cap"]["largest"]] == [
        "s/\\x1b[2J",
        "s/b",
        "s/f",
        "s/e",
        "s/d",
    ]
    require_within(Measured(2 * MIB, 3, ()), UA, doing="capture")


def fetched(said: str, *, into: Path) -> None:
    guest = TalkingGuest(said, status=8)
    source = Source(guest, UA, SessionAccount(), ArchivePolicy())
    fetch(source, into=into / "user.tar", tag="")


def test_guest_that_measures_too_much_is_refused_before_anything_is_moved(tmp_path: Path) -> None:
    """Its largest paths are named, never more than we name of our own."""
    largest = base64.b64encode(b"".join(b"%d s/\xff\0" % (9 * MIB) for _ in range(9))).decode()
    with pytest.raises(ImageTooLarge, match=r"on VM 'vm-1': 9.0 MiB in 2 paths, of 2 MiB") as refused:
        fetched(f"bytes {9 * MIB}\npaths 2\nlargest {largest}", into=tmp_path)
    assert len(refused.value.details["cap"]["largest"]) == LARGEST
    assert not (tmp_path / "user.tar").exists()


@pytest.mark.parametrize(
    "said", ["", "bytes x\npaths 1\nlargest ", "bytes 1\npaths 1\nlargest ", "bytes 1\npaths 1"]
)
def test_guest_that_says_too_large_for_no_reason_fails_the_capture(said: str, tmp_path: Path) -> None:
    """Whatever it says, no tar was made: a verdict without a figure that is beyond is a failure."""
    with pytest.raises(TaskFailed, match="VM 'vm-1'"):
        fetched(said, into=tmp_path)


def test_transfer_is_bounded_by_the_cap() -> None:
    """A guest that measured little cannot announce a tar that is far more."""
    source = Source(TalkingGuest(""), UA, SessionAccount(), ArchivePolicy())
    assert 2 * MIB < source.tar_bytes < 3 * MIB
    wide = replace(UA, user_data=UserData(("s",)))
    assert replace(source, ua=wide).tar_bytes == ArchivePolicy().tar_bytes
