"""A user's data on its way out of a guest: all of it, or what has changed since an archive that we have.

The guest says what has changed, by stamps that it kept from that archive (``user_image_stamps.sh``); what it
says is compared with the manifest, and what is put together is read and proven whole. Wherever anything does
not fit, all of the data is fetched: that costs time, never data.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from vmm_automation.errors import ArtifactInvalid, GuestUnreachable
from vmm_automation.images import splice
from vmm_automation.images.archive import ArchivePolicy, look_through, read_archive
from vmm_automation.images.cap import LARGEST, Measured, measured, require_within
from vmm_automation.images.layers import declared, layer_of
from vmm_automation.images.manifest import first_difference
from vmm_automation.images.omitted import Omitted, refusal
from vmm_automation.model.image import FileEntry, Manifest
from vmm_automation.model.policies import RefusedEntries
from vmm_automation.model.ua import UaDefinition
from vmm_automation.operations.user_image_answers import answers, fail, names, succeeded
from vmm_automation.operations.user_image_scripts import SessionAccount, capture_script
from vmm_automation.ports import Guest, GuestResult
from vmm_automation.trace import point

#: every so many generations all of the data is fetched, whatever the guest says
WHOLE_EVERY: Final = 16
#: below that, reading the archive before costs more than it saves
WORTH_BYTES: Final = 4 << 20
#: what the guest says of a tar; and its status, and words, where it made none that would be too large
_CAPTURED: Final = {"consistency": "stopped|frozen|live", "size": "[0-9]{1,18}", "sha256": "[0-9a-f]{64}"}
_BEYOND: Final = 8
_MEASURED: Final = {"bytes": "[0-9]{1,18}", "paths": "[0-9]{1,18}", "largest": ".*"}


@dataclass(frozen=True)
class Base:
    """The archive that the guest may know what has changed since; ``read`` puts its tar into a directory.

    Unless ``stamped`` its stamps, if there are any, tell nothing of the files that the guest has now.
    """

    archive: str
    manifest: Manifest
    read: Callable[[Path], Path]
    stamped: bool = True

    @property
    def worthwhile(self) -> bool:
        """Whether what has changed since is asked for at all."""
        if not self.stamped:
            return False
        return self.manifest.size >= WORTH_BYTES and (self.manifest.generation + 1) % WHOLE_EVERY != 0


@dataclass(frozen=True)
class Source:
    """Whose data is fetched from where, what of it is let in, and whether the guest is cleaned next."""

    guest: Guest
    ua: UaDefinition
    account: SessionAccount
    policy: ArchivePolicy
    last: bool = False

    def entries(self, tar: Path) -> tuple[FileEntry, ...]:
        """What a tar holds, all of it read."""
        return read_archive(tar, policy=self.policy, layer=self.layer)

    def admitted(self, tar: Path) -> tuple[tuple[FileEntry, ...], list[Omitted]]:
        """What a tar holds that an image may hold; where the UA says so the rest is taken out of it and told.

        Raises:
            ArtifactInvalid: it is no tar, or holds what it may not, and the UA does not want to go without.
        """
        omitted: list[Omitted] = []
        while True:
            found = look_through(tar, policy=self.policy, layer=self.layer)
            if not found.refused:
                return found.entries, omitted
            if self.ua.user_data.refused_entries is RefusedEntries.STRICT:
                raise refusal(found.refused)
            splice.cut(tar, found.spans)  # a hard link to what is gone is refused when it is read again
            omitted += found.refused

    @property
    def layer(self) -> Callable[[str], str]:
        """Tells the layer of a path."""
        return partial(layer_of, declared(self.ua.user_data))

    @property
    def doing(self) -> str:
        """What failed, where it does."""
        return f"capture the user data of UA '{self.ua.id}'"

    @property
    def tar_bytes(self) -> int:
        """How large a tar may be that is within the cap."""
        data, policy = self.ua.user_data, self.policy
        size, paths = min(data.max_bytes, policy.max_bytes), min(data.max_paths, policy.max_members)
        return replace(policy, max_bytes=size, max_members=paths).tar_bytes

    def admit(self, found: Measured) -> None:
        """Refuse what is beyond the UA's cap.

        Raises:
            ImageTooLarge: it is.
        """
        require_within(found, self.ua, doing=f"{self.doing} on VM '{self.guest.name}'")


@dataclass(frozen=True)
class Fetched:
    """The entries of what was fetched, and how to have the whole tar; ``whole`` is false for changes only."""

    consistency: str
    files: tuple[FileEntry, ...]
    whole: bool
    complete: Callable[[], bool]
    omitted: tuple[Omitted, ...] = ()


def fetch(source: Source, *, into: Path, tag: str, base: Base | None = None) -> Fetched:
    """Bring the data to the controller. Nothing stays in the guest but the stamps of archive ``tag``, and the
    tar where the guest is cleaned next.

    Raises:
        TaskFailed: tar failed in the guest, or its tar changed on the way.
        ArtifactInvalid: the tar holds what an image may not hold.
        ImageTooLarge: the data are beyond the UA's cap; nothing was moved, unless they grew meanwhile.
    """
    told = _fetch_tar(source, into=into, tag=tag, base=base.archive if base else "")
    consistency = told["consistency"]
    files, refused = source.admitted(into)
    omitted = (*refused, *_without_data(source, told))
    if base is None or "kept" not in told:
        source.admit(measured(files))
        return Fetched(consistency, files, whole=True, complete=lambda: True, omitted=omitted)
    kept = _kept(base.manifest, told, changed={entry.path for entry in files})
    if kept is None:
        into.unlink()
        return fetch(source, into=into, tag=tag)
    kept = splice.relayered(kept, {entry.path: source.layer(entry.path) for entry in kept})
    merged = tuple(sorted((*kept, *files), key=lambda entry: entry.path))
    source.admit(measured(merged))
    complete = partial(_complete, source, base, into=into, kept=kept, merged=merged)
    return Fetched(consistency, merged, whole=False, complete=complete, omitted=omitted)


def _without_data(source: Source, told: dict[str, str]) -> Iterator[Omitted]:
    """The pipes and sockets that a guest says it has not archived."""
    for each in names(source.guest, told.get("omitted", ""), doing=source.doing):
        kind, _, path = each.partition(" ")
        yield Omitted(path, f"it is a {'named pipe' if kind == 'p' else 'socket'}, which holds no data")


def _kept(manifest: Manifest, told: dict[str, str], *, changed: set[str]) -> tuple[FileEntry, ...] | None:
    """The entries that are as they were; None where what the guest told of them is not what we have."""
    try:
        names = base64.b64decode(told.get("removed", ""), validate=True).split(b"\0")
    except ValueError:
        return None
    removed = {os.fsdecode(name).removesuffix("/") for name in names if name}
    kept = splice.unchanged(manifest.files, removed=removed - changed, changed=changed)
    return kept if splice.stamps_digest(kept) == told["kept"] else None


def _complete(
    source: Source, base: Base, *, into: Path, kept: tuple[FileEntry, ...], merged: tuple[FileEntry, ...]
) -> bool:
    """Make ``into`` the whole tar; False where the archive before cannot be read, or does not fit."""
    before, whole = into.with_suffix(".before"), into.with_suffix(".whole")
    try:
        tar = base.read(before)
        splice.splice(tar, into, kept={entry.path for entry in kept}, into=whole)
        tar.unlink()
        fits = not first_difference(merged, source.entries(whole))
    except ArtifactInvalid:
        fits = False
    if fits:
        whole.replace(into)
    return fits


def _fetch_tar(source: Source, *, into: Path, tag: str, base: str) -> dict[str, str]:
    """One script and one transfer; what the script told."""
    guest, ua, doing, limit = source.guest, source.ua, source.doing, source.tar_bytes
    operation = secrets.token_hex(8)
    script = capture_script(source.account, operation=operation, ua=ua, tag=tag, base=base)
    done = guest.run(script)
    if done.status == _BEYOND:
        source.admit(_measured(guest, done, doing=doing))
    succeeded(guest, done, doing=doing, home=source.account.home)
    made = answers(guest, done, doing=doing, forms=_CAPTURED)
    remote = source.account.archive(operation)
    try:
        size = int(made["size"])
        if size > limit:
            raise ArtifactInvalid(
                f"User image of UA '{ua.id}' on VM '{guest.name}' refused: "
                f"its tar has {size:,} bytes, more than {limit:,}",
                hint="exclude large paths under user_data.exclude in the UA definition",
                details={"host": guest.name, "size": size, "limit": limit},
            )
        guest.fetch(remote, into, limit=size)
    finally:
        if not source.last:
            _forget(guest, remote)
    with into.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != made["sha256"]:
        fail(guest, doing=doing, reason="the tar changed on its way to the controller")
    point("image.capture.fetched")
    return made


def _measured(guest: Guest, done: GuestResult, *, doing: str) -> Measured:
    """What a guest says of data that it did not archive."""
    told = answers(guest, done, doing=doing, forms=_MEASURED)
    listed = [name.partition(" ") for name in names(guest, told.get("largest", ""), doing=doing)]
    largest = tuple((path, int(size)) for size, _, path in listed if re.fullmatch("[0-9]{1,18}", size))
    return Measured(int(told["bytes"]), int(told["paths"]), largest[:LARGEST])


def _forget(guest: Guest, remote: str) -> None:
    """Remove a temporary file; where the guest is gone the next operation on it does so."""
    try:
        guest.run(f"rm -f '{remote}'")
    except GuestUnreachable:
        return
