"""The naming rules: one validator per kind, used on input and again on whatever is listed from outside."""

from __future__ import annotations

import re
from typing import Final

from vmm_automation.errors import InvalidName

_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_DOTTED: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
_PERSON: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._@-]{0,62}[A-Za-z0-9])?")
_VERSION: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.+~_-]{0,62}[A-Za-z0-9])?")

_LABEL_RULE: Final = "1 to 63 of a-z, 0-9 and '-', with a letter or digit at both ends"
_DOTTED_RULE: Final = "1 to 63 of a-z, 0-9, '.', '_' and '-', with a letter or digit at both ends"
_PERSON_RULE: Final = "1 to 64 of letters, digits, '.', '_', '@' and '-', letter or digit at both ends"
_VERSION_RULE: Final = "1 to 64 of letters, digits, '.', '+', '~', '_', '-', letter or digit at both ends"

_RULES: Final = {
    "VM": (_LABEL, _LABEL_RULE),  # becomes a host name: RFC 1123 section 2.1
    "session": (_LABEL, _LABEL_RULE),
    "site": (_LABEL, _LABEL_RULE),
    "profile": (_DOTTED, _DOTTED_RULE),
    "base image": (_DOTTED, _DOTTED_RULE),
    "terminal": (_DOTTED, _DOTTED_RULE),
    "UA": (_DOTTED, _DOTTED_RULE),
    "user": (_PERSON, _PERSON_RULE),
    "watcher": (_PERSON, _PERSON_RULE),
    "person": (_PERSON, _PERSON_RULE),
    "version": (_VERSION, _VERSION_RULE),
}
_SHOWN_CHARACTERS: Final = 40


def check_name(kind: str, name: str) -> str:
    """Return ``name`` unchanged if it obeys the rule of its kind.

    Raises:
        InvalidName: it does not; the message shows at most 40 characters of it, escaped.
    """
    pattern, rule = _RULES[kind]
    if pattern.fullmatch(name) and ".." not in name:
        return name
    shown = name.encode("ascii", "backslashreplace").decode()
    shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in shown)
    if len(shown) > _SHOWN_CHARACTERS:
        shown = f"{shown[:_SHOWN_CHARACTERS]}… ({len(name)} characters)"
    raise InvalidName(
        f"Name '{shown}' cannot be a {kind} name: it must be {rule}, without '..'",
        hint="use letters, digits and '-'",
        details={"kind": kind},
    )
