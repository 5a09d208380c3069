"""How large a user's image may be, by its UA's definition: the verdict, and the refusal of a larger one.

The cap is for what is to be stored. What is stored already was within the cap of its time, and is read and
deployed whatever the definition says by now.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from vmm_automation.errors import ImageTooLarge
from vmm_automation.images.archive import shown
from vmm_automation.model.image import FileEntry
from vmm_automation.model.ua import UaDefinition

#: so many of the largest paths are named
LARGEST: Final = 5


@dataclass(frozen=True)
class Measured:
    """Bytes of content with holes counted, how many paths have it, and the largest with their sizes."""

    size: int
    paths: int
    largest: tuple[tuple[str, int], ...]


def measured(entries: Sequence[FileEntry]) -> Measured:
    """What an image with these entries is."""
    largest = sorted(((entry.path, entry.size) for entry in entries if entry.size), key=_largest_first)
    return Measured(sum(entry.size for entry in entries), len(entries), tuple(largest[:LARGEST]))


def verdict(found: Measured, ua: UaDefinition) -> dict[str, Any]:
    """Whether it is within the cap, with both; sizes in bytes."""
    data = ua.user_data
    return {
        "within": found.size <= data.max_bytes and found.paths <= data.max_paths,
        "size": found.size,
        "max_size": data.max_bytes,
        "paths": found.paths,
        "max_paths": data.max_paths,
        "largest": [{"path": shown(path), "size": size} for path, size in found.largest],
    }


def require_within(found: Measured, ua: UaDefinition, *, doing: str) -> None:
    """Refuse what is beyond the cap; ``doing`` completes 'Cannot …'.

    Raises:
        ImageTooLarge: it is.
    """
    told = verdict(found, ua)
    if told["within"]:
        return
    largest = ", ".join(f"'{shown(path)}' with {mib(size)} MiB" for path, size in found.largest)
    raise ImageTooLarge(
        f"Cannot {doing}: {sizes(told)}" + (f"; largest {largest}" if largest else ""),
        hint=f"{_key(found, ua)} in uas/{ua.id}.yml of the site, then the same again",
        details={"ua": ua.id, "cap": told},
    )


def sizes(told: dict[str, Any]) -> str:
    """A verdict's sizes in words."""
    allowed = f"{told['max_size'] >> 20} MiB in {told['max_paths']:,} paths"
    return f"{mib(told['size'])} MiB in {told['paths']:,} paths, of {allowed}"


def mib(size: int) -> str:
    """Bytes in MiB, rounded up: what is beyond a limit never looks as if it were not."""
    return f"{math.ceil(size * 10 / (1 << 20)) / 10:,.1f}"


def _key(found: Measured, ua: UaDefinition) -> str:
    """What to set in the definition so that it is within the cap."""
    data = ua.user_data
    keys: Iterable[str] = (
        *([f"max_mib: {math.ceil(found.size / (1 << 20))}"] if found.size > data.max_bytes else ()),
        *([f"max_paths: {found.paths}"] if found.paths > data.max_paths else ()),
    )
    return f"user_data: {{{', '.join(keys)}}}"


def _largest_first(each: tuple[str, int]) -> tuple[int, str]:
    path, size = each
    return -size, path
