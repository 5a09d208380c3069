"""Every way an operation can fail, in one place, with the exit code each failure class carries.

    VmmError                      1   anything without a class of its own
    +-- UsageError                2   the command line or a playbook variable is wrong
    |   +-- InvalidName           2   a name breaks the naming rule
    +-- SiteInvalid               3   a file of the site directory is wrong (all errors listed)
    |   +-- TerminalInvalid       3   a terminal profile is not YAML or has unknown keys
    +-- NotFound                  4   no such VM, UA, session, watcher, user image, profile
    +-- Conflict                  5   it exists already, or is in a state that forbids the action
    |   +-- PortTaken             5   a wanted port of the controller is in use
    |   +-- RuleBroken            5   a row would break a rule of the state's schema
    +-- LockHeld                  6   another holder has the suspend right, or a lock
    |   +-- NotPermitted          6   the watcher lacks the privilege or does not hold the right
    +-- NoVmFits                  7   selection left no VM; each VM's reason is attached
    +-- PreflightFailed           8   the controller lacks something (tool, space, libvirt)
    |   +-- HypervisorUnreachable 8   libvirt does not answer
    |   +-- ToolMissing           8   a program that must be installed is not
    |   +-- DiskFull              8   no space left where it is needed
    |   +-- StateUnusable         8   the state cannot be reached, is damaged or newer than the code
    +-- ArtifactInvalid           9   an image or artifact is absent, altered or not what it should be
    |   +-- ImageDamaged          9   stored user images are damaged or missing; each is listed
    |   +-- AuditBroken           9   the audit chain was altered, or entries of it are missing
    +-- GuestUnreachable         10   SSH to a guest does not answer
    +-- TaskFailed               11   a task failed on a host; host, task and reason are attached
    +-- Timeout                  12   a deadline passed before the condition held
    |   +-- WaitedInVain         12   a request waited for a VM until its deadline
    +-- Partial                  13   some VMs succeeded and some did not
    +-- Canceled                 14   a signal ended the run; the work was stopped and cleaned
    |   +-- RequestCanceled      14   somebody took a waiting request out of the queue
    +-- ImageTooLarge            15   a user's data are more than their UA's definition allows

The codes are part of the public interface: they never change meaning (``docs/exit-codes.md``).
"""

from __future__ import annotations

from typing import Any, ClassVar


class VmmError(Exception):
    """A failure to be shown to a person: what failed, for which name, why; and one thing to type.

    ``details`` is JSON-safe and travels in the result document; it never holds a secret.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "", details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details: dict[str, Any] = details or {}

    def to_document(self) -> dict[str, Any]:
        """The ``error`` member of a result document."""
        return {
            "class": type(self).__name__,
            "exit_code": self.exit_code,
            "message": self.message,
            "hint": self.hint,
            "details": dict(self.details),
        }


class UsageError(VmmError):
    """The command line or a playbook variable is wrong."""

    exit_code = 2


class InvalidName(UsageError):
    """A name breaks the naming rule of its kind."""


class SiteInvalid(VmmError):
    """One or several files of the site directory are wrong; the message lists every error found."""

    exit_code = 3


class TerminalInvalid(SiteInvalid):
    """A terminal profile cannot be read or has keys that the vocabulary does not know."""


class NotFound(VmmError):
    """The named object does not exist."""

    exit_code = 4


class Conflict(VmmError):
    """The object exists already, or its state forbids the action."""

    exit_code = 5


class PortTaken(Conflict):
    """A wanted port of the controller is already in use."""


class RuleBroken(Conflict):
    """A row would break a rule of the state's schema: a unique index, a reference, a set of values."""


class LockHeld(VmmError):
    """Another holder has the lock; ``details['holder']`` says who."""

    exit_code = 6


class NotPermitted(LockHeld):
    """The watcher lacks the privilege, or does not hold the suspend right."""


class NoVmFits(VmmError):
    """Selection left no VM; ``details['rejected']`` has the first failing filter of each VM."""

    exit_code = 7


class PreflightFailed(VmmError):
    """The controller lacks something that the operation needs."""

    exit_code = 8


class HypervisorUnreachable(PreflightFailed):
    """libvirt does not answer at the site's URI."""


class ToolMissing(PreflightFailed):
    """A program that must be installed on the controller is not."""


class DiskFull(PreflightFailed):
    """No space is left on a file system that the operation writes to."""


class StateUnusable(PreflightFailed):
    """The state cannot be opened or reached, is damaged, or is newer than this code."""


class ArtifactInvalid(VmmError):
    """An image or artifact is absent, altered, or not what its definition says."""

    exit_code = 9


class ImageDamaged(ArtifactInvalid):
    """Stored user images are damaged or missing; ``details['generations']`` has the result of each."""


class AuditBroken(ArtifactInvalid):
    """Entries of the audit chain were altered, moved or are missing; ``details['findings']`` says which."""


class GuestUnreachable(VmmError):
    """SSH to a guest does not answer."""

    exit_code = 10


class TaskFailed(VmmError):
    """A task failed on a host; ``details`` carries host, task and reason."""

    exit_code = 11


class Timeout(VmmError):
    """A deadline passed before the condition held."""

    exit_code = 12


class WaitedInVain(Timeout):
    """A request waited for a VM until its deadline; ``details`` has the position that it had."""


class Partial(VmmError):
    """Some VMs succeeded and some did not; ``details['vms']`` tells which."""

    exit_code = 13


class Canceled(VmmError):
    """A signal ended the run; its work was stopped."""

    exit_code = 14


class RequestCanceled(Canceled):
    """Somebody took a waiting request out of the queue, or its process was not seen for too long."""


class ImageTooLarge(VmmError):
    """A user's data are more than their UA's definition allows; ``details['cap']`` has both figures."""

    exit_code = 15


def error_from_document(document: dict[str, Any]) -> VmmError:
    """The exception that :meth:`VmmError.to_document` described.

    A class this version does not know becomes a plain :class:`VmmError`.
    """
    classes: list[type[VmmError]] = [VmmError, *_descendants(VmmError)]
    known = {error.__name__: error for error in classes}
    error_class = known.get(str(document.get("class")), VmmError)
    return error_class(
        str(document.get("message", "unknown failure")),
        hint=str(document.get("hint", "")),
        details=dict(document.get("details") or {}),
    )


def _descendants(cls: type[VmmError]) -> list[type[VmmError]]:
    found: list[type[VmmError]] = []
    for child in cls.__subclasses__():
        found += [child, *_descendants(child)]
    return found
