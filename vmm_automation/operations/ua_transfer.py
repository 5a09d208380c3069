"""A bundle on its way into a guest: sent once, and on from where an earlier transfer was cut off."""

from __future__ import annotations

import hashlib
import shlex
import tempfile
from pathlib import Path

from vmm_automation.adapters.bundles import Bundle
from vmm_automation.errors import DiskFull, TaskFailed
from vmm_automation.operations import ua_scripts
from vmm_automation.operations.ua_reports import GuestStatus
from vmm_automation.ports import Guest

_CHUNK = 1 << 20
#: bytes of the largest bundle that is sent again from its beginning after it was cut off
_GOES_ALONG = 4 << 20
#: bytes that must stay free in a guest after a delivery
_RESERVE = 16 << 20
#: a bundle is on the guest as it came, as a tar file and unpacked, for a moment all at once
_COPIES = 2


def goes_along(bundle: Bundle) -> bool:
    """Whether a bundle is small enough to be the input of the script that unpacks it: a round trip less."""
    return bundle.size <= _GOES_ALONG


def room_for(bundle: Bundle) -> int:
    """The bytes that must be free on a guest's disk before a bundle is sent."""
    return bundle.size + _COPIES * bundle.unpacked_size + _RESERVE


def send(guest: Guest, seen: GuestStatus, *, ua: str, version: str, bundle: Bundle) -> None:
    """Bring the bundle to where the delivery script takes it from.

    What the guest was ``seen`` to have of it is not sent again, if it is the bundle's own beginning; whether
    all of it arrived whole, the delivery script judges.

    Raises:
        GuestUnreachable: the connection broke; what arrived stays there.
        TaskFailed: the rest could not be put behind the beginning.
        DiskFull: the guest has not :func:`room_for` it; nothing was sent.
    """
    if seen.free_bytes < (needed := room_for(bundle)):
        raise DiskFull(
            f"Cannot deliver UA '{ua}' {version} to VM '{guest.name}': it needs {needed >> 20} MiB free "
            f"on the guest's disk and there are {seen.free_bytes >> 20} MiB",
            hint=f"vmm ua status --vm {guest.name}",
            details={"host": guest.name, "step": "deliver", "needed": needed, "free": seen.free_bytes},
        )
    remote = ua_scripts.incoming_path(ua, bundle.digest)
    size, sha256 = seen.incoming.get(Path(remote).name, (0, ""))
    if not 0 < size <= bundle.size or _digest_of(bundle.path, size) != sha256:
        guest.put(bundle.path, remote)
        return
    if size == bundle.size:
        return
    with tempfile.NamedTemporaryFile(prefix="vmm-rest-") as rest:
        with bundle.path.open("rb") as file:
            file.seek(size)
            while chunk := file.read(_CHUNK):
                rest.write(chunk)
        rest.flush()
        guest.put(Path(rest.name), f"{remote}.rest")
    quoted = shlex.quote(remote)
    done = guest.run(f"cat {quoted}.rest >>{quoted} && rm {quoted}.rest")
    if done.status != 0:
        raise TaskFailed(
            f"Cannot send UA '{ua}' to VM '{guest.name}': {done.stderr.strip()}",
            hint=f"vmm vm show {guest.name}",
            details={"host": guest.name, "step": "send", "stderr": done.stderr},
        )


def _digest_of(path: Path, size: int) -> str:
    """The SHA-256 of the first ``size`` bytes."""
    hashed = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0 and (chunk := file.read(min(size, _CHUNK))):
            hashed.update(chunk)
            size -= len(chunk)
    return hashed.hexdigest()
