"""What guests say after a UA script: values, or the one error that tells what went wrong there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from vmm_automation.adapters.process import last_line
from vmm_automation.errors import ArtifactInvalid, Conflict, DiskFull, NotFound, TaskFailed, Timeout, VmmError
from vmm_automation.operations.ua_scripts import REFUSED
from vmm_automation.ports import GuestResult

_TAIL_CHARACTERS = 2000
#: what systemd writes about every service that ends, whatever the reason
_FORMULA = re.compile(
    r"^(Starting|Started|Stopping|Stopped|Failed to start|See \"systemctl|Job for) "
    r"|\.service: (Main process exited|Failed with result|Consumed|Deactivated)"
)
_NO_SPACE = "No space left on device"


@dataclass
class UaOnGuest:
    """One UA as a guest has it: digest, packages and SHA-256 of the unit by delivered version, which is
    active, its service.
    """

    versions: dict[str, str] = field(default_factory=dict)
    packages: dict[str, set[str]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    active: str = ""
    unit_sha256: str = ""
    service: str = ""
    unfinished: list[str] = field(default_factory=list)

    @property
    def running(self) -> bool:
        """Whether its service runs or is on its way there or back."""
        return self.service in ("active", "activating", "reloading", "deactivating")


@dataclass
class GuestStatus:
    """All UAs of one guest, free space in bytes, the packages that deliveries brought, and by name the size
    and SHA-256 of what was sent and not delivered.
    """

    uas: dict[str, UaOnGuest] = field(default_factory=dict)
    free_bytes: int = 0
    added_packages: set[str] = field(default_factory=set)
    incoming: dict[str, tuple[int, str]] = field(default_factory=dict)

    def orphans(self, *, without: Iterable[tuple[str, str]] = ()) -> list[str]:
        """Added packages that no delivered version needs, the (UA, version) pairs in ``without`` left out."""
        gone = set(without)
        needed: set[str] = set()
        for name, ua in self.uas.items():
            for version, packages in ua.packages.items():
                if (name, version) not in gone:
                    needed |= packages
        return sorted(self.added_packages - needed)

    def ua(self, ua: str) -> UaOnGuest:
        """One UA; an empty one where nothing of it is delivered."""
        return self.uas.get(ua) or UaOnGuest()

    def to_document(self) -> dict[str, Any]:
        """JSON-safe, as in result documents."""
        return {
            "free_bytes": self.free_bytes,
            "added_packages": sorted(self.added_packages),
            "uas": {
                name: {
                    "active": ua.active or None,
                    "service": ua.service or None,
                    "unfinished": ua.unfinished,
                    "versions": {
                        version: {"digest": digest, "state": "active" if version == ua.active else "inactive"}
                        for version, digest in sorted(ua.versions.items())
                    },
                }
                for name, ua in sorted(self.uas.items())
            },
        }


def parse_status(stdout: str) -> GuestStatus:
    """Read what the status script printed."""
    status = GuestStatus()
    for kind, words in _lines(stdout):
        if kind == "free":
            status.free_bytes = int(words[0]) * 1024
        elif kind == "added":
            status.added_packages.add(words[0])
        elif kind == "incoming":
            status.incoming[words[0]] = (int(words[1]), words[2])
        elif kind in ("unit", "service"):
            name = words[0].removeprefix("vmm-ua-").removesuffix(".service")
            _take(status.uas.setdefault(name, UaOnGuest()), kind, words[1:])
        else:
            _take(status.uas.setdefault(words[0], UaOnGuest()), kind, words[1:])
    return status


def _take(ua: UaOnGuest, kind: str, words: list[str]) -> None:
    if kind == "version":
        ua.versions[words[0]] = words[1]
    elif kind == "needs":
        ua.packages.setdefault(words[0], set()).add(words[1])
    elif kind == "brings":
        ua.units[words[0]] = words[1]
    elif kind == "current":
        ua.active = words[0]
    elif kind == "unit":
        ua.unit_sha256 = words[0]
    elif kind == "service":
        ua.service = words[0]
    elif kind == "unfinished":
        ua.unfinished.append(words[0])


def changes(stdout: str) -> list[str]:
    """What a script did, in its order: ``deliver``, ``install_unit``, ``switch`` …"""
    return [words[0] for kind, words in _lines(stdout) if kind == "did"]


def says(stdout: str, word: str) -> bool:
    """Whether a script printed a line of this kind."""
    return any(kind == word for kind, _words in _lines(stdout))


def active_before(stdout: str) -> str:
    """The version that was active when a script began, where it says so."""
    return next((words[0] for kind, words in _lines(stdout) if kind == "was"), "")


def _lines(stdout: str) -> Iterator[tuple[str, list[str]]]:
    for line in stdout.splitlines():
        words = line.split("\t")
        if words[0] == "vmm" and len(words) > 2:
            yield words[1], words[2:]


def raise_failure(result: GuestResult, *, vm: str, ua: str, action: str, version: str = "") -> NoReturn:
    """Raise the error for a script that failed.

    Raises:
        DiskFull, NotFound, Conflict, ArtifactInvalid, Timeout, TaskFailed: by what the guest said.
    """
    steps = [words[0] for kind, words in _lines(result.stdout) if kind == "step"]
    reasons = [words[0] for kind, words in _lines(result.stdout) if kind == "refused"]
    returned = [words[0] for kind, words in _lines(result.stdout) if kind == "returned"]
    tail = result.stderr.strip()[-_TAIL_CHARACTERS:]
    details = {
        "host": vm,
        "ua": ua,
        "version": version or None,
        "step": steps[-1] if steps else "begin",
        "done": changes(result.stdout),
        "status": result.status,
        "stderr": tail,
        **({"returned": returned[-1]} if returned else {}),
    }
    what = f"UA '{ua}' {version}".rstrip()
    begin = f"Cannot {action} {what} on VM '{vm}'"
    if _NO_SPACE in result.stderr:
        raise DiskFull(
            f"{begin}: no space left on the guest's disk", hint=f"vmm vm show {vm}", details=details
        )
    if result.status == REFUSED and reasons and reasons[-1] in _REFUSALS:
        raise _REFUSALS[reasons[-1]](begin, vm, details)
    raise TaskFailed(
        f"{begin}: step '{details['step']}' failed: {telling_line(tail)}{_return_told(details)}",
        hint=f"vmm ua status --vm {vm}",
        details=details,
    )


def telling_line(text: str) -> str:
    """The last line that tells why, systemd's own words about the end left out where there are others."""
    return last_line("\n".join(line for line in text.splitlines() if not _FORMULA.search(line)) or text)


def _return_told(details: dict[str, Any]) -> str:
    returned = details.get("returned")
    if not returned:
        return ""
    return "; no version is active now" if returned == "-" else f"; version {returned} is active again"


def _refusal(error: type[VmmError], why: str, hint: str) -> Callable[[str, str, dict[str, Any]], VmmError]:
    def make(begin: str, vm: str, details: dict[str, Any]) -> VmmError:
        said = telling_line(str(details["stderr"]))
        names = {"vm": vm, "ua": details["ua"], "said": said}
        message = f"{begin}: {why.format(**names)}{_return_told(details)}"
        return error(message, hint=hint.format(**names), details=details)

    return make


_REFUSALS = {
    "running": _refusal(Conflict, "its service runs", "vmm session list"),
    "busy": _refusal(Conflict, "another delivery is under way there", "try again when it has ended"),
    "absent": _refusal(NotFound, "that version is not delivered there", "vmm ua install {ua} --vm {vm}"),
    "toolonly": _refusal(
        Conflict, "it has neither command nor unit to start", "set 'command' in its definition"
    ),
    "space": _refusal(DiskFull, "{said}", "vmm ua status --vm {vm}"),
    "altered": _refusal(ArtifactInvalid, "the bundle arrived altered", "run it again"),
    "probe": _refusal(TaskFailed, "its probe did not hold: {said}", "vmm ua status {ua} --vm {vm}"),
    "ended": _refusal(TaskFailed, "it ended before it listened: {said}", "vmm ua status --vm {vm}"),
    "deadline": _refusal(
        Timeout, "it did not listen before its deadline: {said}", "raise 'start_deadline_s'"
    ),
}
