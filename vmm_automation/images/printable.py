"""Names that a guest chose, as they may be shown."""

from __future__ import annotations


def shown(path: str) -> str:
    """A path as it may be printed: bytes that are not UTF-8 and control characters are escaped."""
    text = path.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
