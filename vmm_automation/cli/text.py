"""Text for a terminal: what guests and users chose (paths, console lines, reasons) moves no cursor in it."""

from __future__ import annotations

import sys


def printable(text: str) -> str:
    """The same with control characters and what standard output cannot encode as escapes; lines stay."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    encodable = text.encode(encoding, "backslashreplace").decode(encoding)
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in encodable
    )


def cell(value: object) -> str:
    """A value in one line."""
    return "-" if value in (None, "") else printable(str(value)).replace("\n", "\\n")
