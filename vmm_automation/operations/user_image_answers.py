"""What a guest's script for a user image answered, and how it failed."""

from __future__ import annotations

import base64
import os
import re
import shlex
from collections.abc import Mapping
from typing import NoReturn

from vmm_automation.errors import TaskFailed
from vmm_automation.images.archive import shown
from vmm_automation.ports import Guest, GuestResult

#: what tar says last, and which of its lines say why
_TAR_GAVE_UP = "tar: Exiting with failure status due to previous errors"
_TAR_CANNOT = re.compile(r"^tar: (?P<path>.+): Cannot (?P<act>\w+): (?P<why>.+)$", re.MULTILINE)


def succeeded(guest: Guest, result: GuestResult, *, doing: str, home: str = "") -> GuestResult:
    """The result, if its status is 0.

    ``home`` is what the script read; a path that the account cannot read there is one for a person to mend.

    Raises:
        TaskFailed: it is not; the reason is the path that stopped tar, or the last line written.
    """
    if result.status != 0:
        _fail_by_what_it_wrote(guest, result, doing=doing, home=home)
    return result


def _fail_by_what_it_wrote(guest: Guest, result: GuestResult, *, doing: str, home: str) -> NoReturn:
    if cannot := _TAR_CANNOT.search(result.stderr):
        reason = f"cannot {cannot['act']} '{shown(cannot['path'])}': {shown(cannot['why'])}"
        unreadable = home and cannot["why"] == "Permission denied"
        hint = _mending(f"{home}/{cannot['path']}", owner=home) if unreadable else ""
        fail(guest, doing=doing, reason=reason, path=cannot["path"], hint=hint)
    written = [line.strip() for line in result.stderr.splitlines()]
    lines = [line for line in written if line not in ("", _TAR_GAVE_UP)]
    fail(guest, doing=doing, reason=shown(lines[-1]) if lines else f"status {result.status}")


def fail(guest: Guest, *, doing: str, reason: str, path: str = "", hint: str = "") -> NoReturn:
    """Say that ``doing`` failed on a VM, and why; at which ``path``, if it is one's fault.

    Raises:
        TaskFailed: always.
    """
    details = {"host": guest.name, "task": doing, "reason": reason}
    raise TaskFailed(
        f"Cannot {doing} on VM '{guest.name}': {reason}",
        hint=hint or f"vmm vm show {guest.name}",
        details=details | ({"path": shown(path)} if path else {}),
    )


def _mending(path: str, *, owner: str) -> str:
    """What root types in the guest so that the account can read a path."""
    file = shlex.quote(shown(path))
    return f"in the guest: chown -h --reference={owner} {file} && chmod u+rX {file}"


def answers(guest: Guest, result: GuestResult, *, doing: str, forms: Mapping[str, str]) -> dict[str, str]:
    """Of lines ``name value``, the values by name; those of ``forms`` are there and have these forms.

    Raises:
        TaskFailed: they are not, or have not.
    """
    told = dict(line.split(" ", 1) for line in result.stdout.splitlines() if " " in line)
    for name, form in forms.items():
        if not re.fullmatch(form, told.get(name, "")):
            fail(guest, doing=doing, reason=f"its answer has no usable '{name}'")
    return told


def number(guest: Guest, result: GuestResult, *, doing: str) -> int:
    """The number that is all of an answer.

    Raises:
        TaskFailed: it is none.
    """
    text = result.stdout.strip()
    if not re.fullmatch("[0-9]{1,18}", text):
        fail(guest, doing=doing, reason="its answer is not a number")
    return int(text)


def names(guest: Guest, text: str, *, doing: str) -> list[str]:
    """Names, each ended by a zero byte, as base64 brought them; they may hold any other byte.

    Raises:
        TaskFailed: it is no base64.
    """
    try:
        raw = base64.b64decode(text.strip(), validate=True)
    except ValueError:
        fail(guest, doing=doing, reason="its answer is not in base64")
    return [os.fsdecode(name) for name in raw.split(b"\0") if name]
