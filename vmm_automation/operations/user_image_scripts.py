"""What runs in a guest for a user image: one shell script per operation, so one round trip each.

Shell and GNU tools only: an interpreter takes seconds to start in an emulated guest. The scripts read and
write a user's files with that user's rights, never with root's: a link or a device that a user has
prepared leads them nowhere that the user could not go.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from vmm_automation.images.archive import DIRECTORY, FILE
from vmm_automation.images.layers import ancestors
from vmm_automation.model.image import FileEntry

_UNPRINTABLE = re.compile(rb"[^ -~]")
_SCRIPTS = resources.files("vmm_automation.operations") / "guest_scripts"


@dataclass(frozen=True)
class SessionAccount:
    """The account that sessions run as, and what belongs to it in a guest.

    ``spool`` is a directory where only root may write; ``swept`` are those where every account may.
    """

    name: str = "session"
    home: str = "/home/session"
    spool: str = "/root"
    skeleton: str = "/etc/skel"
    swept: tuple[str, ...] = ("/tmp", "/var/tmp", "/dev/shm", "/run")  # noqa: S108 - they are emptied

    def archive(self, operation: str) -> str:
        """Where the tar of one operation lies in the guest."""
        return f"{self.spool}/.vmm-user-image.{operation}.tar"


def capture_script(
    account: SessionAccount, *, operation: str, paths: Sequence[str], excludes: str, count_only: bool = False
) -> str:
    """Archive the paths that exist; prints ``consistency``, ``size`` and ``sha256``, a line each.

    With ``count_only`` nothing is written, and how many members the tar would have is printed.
    """
    target = "/dev/null" if count_only else account.archive(operation)
    settings = {"id": operation, "excludes": excludes, "target": target}
    return _script("capture", account=account, settings=settings, paths=paths)


def deploy_script(
    account: SessionAccount,
    *,
    operation: str,
    paths: Sequence[str],
    archive_digest: str,
    entries: Sequence[FileEntry],
) -> str:
    """Unpack the operation's tar beside the home, prove it, and switch ``paths`` into the home.

    Exits 5 and prints what was unpacked, as :func:`printed`, when that is not ``entries``.
    """
    settings = {
        "id": operation,
        "archive": account.archive(operation),
        "archive_digest": archive_digest,
        "tree_digest": hashlib.sha256(b"".join(f + b"\0" for f in listing(entries))).hexdigest(),
    }
    return _script("deploy", account=account, settings=settings, paths=paths)


def clean_script(account: SessionAccount, *, check: bool = False) -> str:
    """Remove all that is the account's; prints what is left, a line each. With ``check`` only the latter."""
    settings = {"swept": " ".join(account.swept), "check": "1" if check else "0"}
    return _script("clean", account=account, settings=settings, paths=())


def listing(entries: Sequence[FileEntry]) -> list[bytes]:
    """The lines of the tree that ``listing`` in ``user_image_deploy.sh`` must print for these entries."""
    lines = {b"d " + os.fsencode(above) for entry in entries for above in ancestors(entry.path)}
    digests = []
    for entry in entries:
        path = os.fsencode(entry.path)
        if entry.kind == DIRECTORY:
            lines.add(b"d " + path)
        elif entry.kind == FILE:
            lines.add(b"f %o %s" % (entry.mode, path))
            digests.append((path, b"%s  %s" % (entry.sha256.encode(), path)))
        else:
            lines.add(b"l %s -> %s" % (path, os.fsencode(entry.target)))
    return [*sorted(lines), *(line for _, line in sorted(digests))]


def printed(entries: Sequence[FileEntry]) -> list[str]:
    """The listing as a guest prints it: one entry a line, bytes outside printable ASCII as question marks."""
    return [_UNPRINTABLE.sub(b"?", line).decode("ascii") for line in listing(entries)]


def _script(name: str, *, account: SessionAccount, settings: Mapping[str, str], paths: Sequence[str]) -> str:
    variables = {
        "account": account.name,
        "home": account.home,
        "spool": account.spool,
        "skeleton": account.skeleton,
        **settings,
    }
    lines = [f"{variable}={shlex.quote(value)}" for variable, value in variables.items()]
    lines.append(shlex.join(["set", "--", *paths]))
    bodies = [(_SCRIPTS / f"user_image_{part}.sh").read_text() for part in ("common", name)]
    return "\n".join([*lines, *bodies])
