"""The two layers of a user image: which declared path a file belongs to, and which paths move as one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from vmm_automation.errors import SiteInvalid
from vmm_automation.model.ua import UserData

SETTINGS: Final = "settings"
EXCEPTIONS: Final = "exceptions"


def declared(user_data: UserData) -> dict[str, str]:
    """Every declared path, without a trailing slash, and its layer.

    Raises:
        SiteInvalid: a path is absolute, leaves the home, is not in its shortest form, or has two layers.
    """
    layers: dict[str, str] = {}
    for layer, paths in ((SETTINGS, user_data.settings), (EXCEPTIONS, user_data.exceptions)):
        for path in paths:
            shortest = below_home(path)
            if layers.setdefault(shortest, layer) != layer:
                raise _invalid(path, "it is declared as settings and as exceptions")
    return layers


def layer_of(layers: dict[str, str], path: str) -> str:
    """The layer of the longest declared path that is ``path`` or a directory above it; empty if none is."""
    while path not in layers:
        path, separator, _ = path.rpartition("/")
        if not separator:
            return ""
    return layers[path]


def outermost(paths: Iterable[str]) -> tuple[str, ...]:
    """Those paths that lie below no other of them, sorted: what is archived and switched as a whole."""
    kept: set[str] = set()
    for path in sorted(set(paths), key=lambda path: path.count("/")):
        if not any(above in kept for above in ancestors(path)):
            kept.add(path)
    return tuple(sorted(kept))


def ancestors(path: str) -> list[str]:
    """The directories above a relative path, outermost first, without the home itself."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def below_home(path: str) -> str:
    """A path as scripts and tar may be given it, without a trailing slash.

    Raises:
        SiteInvalid: it is absolute, leaves the home, is not in its shortest form, or would need quoting
            that the guest's tools do not all have (control characters, blanks at an end, a leading '-').
    """
    parts = path.removesuffix("/").split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise _invalid(path, "it must be relative to the home, without '.', '..' or empty parts")
    if not path.isprintable() or path.startswith("-") or path != path.strip():
        raise _invalid(path, "it has a control character, a blank at an end or begins with '-'")
    return "/".join(parts)


def exclude_patterns(user_data: UserData) -> str:
    """The patterns that are left out, one a line, as GNU tar reads them: unanchored shell patterns.

    Raises:
        SiteInvalid: a pattern is empty or has a control character.
    """
    for pattern in user_data.exclude:
        if not pattern.strip() or not pattern.isprintable():
            raise _invalid(pattern, "a pattern to exclude must be one line of printable characters")
    return "\n".join(user_data.exclude)


def _invalid(path: str, why: str) -> SiteInvalid:
    return SiteInvalid(
        f"User data path {path!r} of a UA definition cannot be used: {why}",
        hint="correct user_data in the UA definition",
        details={"path": path},
    )
