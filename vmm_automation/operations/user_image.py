"""User Image Files in a guest: capture, deploy, clean; and what each of them would do.

Each takes one script run and at most one transfer. None writes the state store: the operation that closes
a session records the generation, in its own transaction, once :func:`capture` has returned and the archive
is in the image store. An archive that no row names is left by a kill in between and may be deleted.
"""

from __future__ import annotations

import re
import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from vmm_automation.errors import TaskFailed
from vmm_automation.images.archive import ArchivePolicy
from vmm_automation.images.borg import BorgStore, archive_name
from vmm_automation.images.layers import below_home, declared, outermost
from vmm_automation.images.manifest import verify
from vmm_automation.images.omitted import Omitted
from vmm_automation.images.printable import shown
from vmm_automation.model.image import Manifest
from vmm_automation.model.times import to_text
from vmm_automation.model.ua import Converter, UaDefinition
from vmm_automation.operations.user_image_answers import fail, number, succeeded
from vmm_automation.operations.user_image_fetch import Base, Fetched, Source, fetch
from vmm_automation.operations.user_image_scripts import (
    SessionAccount,
    capture_script,
    clean_script,
    deploy_script,
    printed,
)
from vmm_automation.ports import Clock, Guest, GuestResult
from vmm_automation.trace import point

_SESSION_ACCOUNT = SessionAccount()
_DIFFERENT = 5
_LISTED = re.compile(r"^(?:[dlo] |f [0-7]+ |[0-9a-f]{64}  )")
_SHOWN_LEFTOVERS = 20


OnOmitted = Callable[[Sequence[Omitted]], None]


@dataclass(frozen=True)
class ImagePlan:
    """What an operation would do; ``changed`` tells whether it would change anything."""

    changed: bool
    actions: tuple[str, ...]


@dataclass(frozen=True)
class Origin:
    """Whose data are captured: by which session, on which version of the UA, after which generation."""

    user: str
    version: str
    session: str
    fence: int
    parent: int


def capture(
    guest: Guest,
    origin: Origin,
    *,
    ua: UaDefinition,
    spool: Path,
    images: BorgStore | None,
    clock: Clock,
    unless: str = "",
    base: Base | None = None,
    last: bool = False,
    on_omitted: OnOmitted = lambda _omitted: None,
    account: SessionAccount = _SESSION_ACCOUNT,
    policy: ArchivePolicy | None = None,
) -> tuple[Manifest, str]:
    """Put a user's data of one UA into the image store as the one after its parent; its archive's name.

    With ``unless`` (a root digest), the same content is not stored again: the name is then empty. Without
    ``images`` nothing is stored at all. With ``base``, the parent's archive, what the guest knows to be
    unchanged since is taken from there. ``last``: the guest is cleaned next, so it notes nothing for another
    capture, and what it made for this one is not taken away first. ``on_omitted`` is given what of the data
    an image may not hold, or cannot, before anything is stored.

    ``consistency`` of the manifest is ``stopped`` when no process of the account ran before and after
    and no file changed while it was read; ``frozen`` when all of them stood still meanwhile; else ``live``.
    Nothing to capture is a generation too.

    Raises:
        TaskFailed: tar failed in the guest, or its tar changed on the way.
        ArtifactInvalid: the tar holds what an image may not hold.
        DiskFull: no space is left below ``spool`` or in the store; nothing is recorded.
    """
    source = Source(guest, ua, account, policy or ArchivePolicy(home=account.home), last)
    captured_at = to_text(clock.now())
    archive = archive_name(user=origin.user, ua=ua.id, number=origin.parent + 1, session=origin.session)
    tag = archive if images and not last else ""
    with _spooled(spool) as tar:
        got = fetch(source, into=tar, tag=tag, base=base if base and base.worthwhile else None)
        manifest = _manifest(origin, ua, captured_at=captured_at, got=got)
        if manifest.root_digest == unless:
            return manifest, ""
        if images is not None and not got.complete():
            tar.unlink()
            got = fetch(source, into=tar, tag=tag)
            manifest = _manifest(origin, ua, captured_at=captured_at, got=got)
        on_omitted(got.omitted)
        if images is not None:
            images.write(archive, tar=tar, manifest=manifest)
    return manifest, archive


def _manifest(origin: Origin, ua: UaDefinition, *, captured_at: str, got: Fetched) -> Manifest:
    return Manifest(
        user=origin.user,
        ua=ua.id,
        ua_version=origin.version,
        data_version=ua.version(origin.version).data_version,
        generation=origin.parent + 1,
        parent=origin.parent,
        session=origin.session,
        fence=origin.fence,
        captured_at=captured_at,
        consistency=got.consistency,
        files=got.files,
    )


@contextmanager
def _spooled(spool: Path) -> Iterator[Path]:
    """Where a tar lies on the controller between guest and store; gone afterwards, whatever happens."""
    spool.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="capture-", dir=spool) as place:
        yield Path(place) / "user.tar"


def plan_capture(guest: Guest, *, ua: UaDefinition, account: SessionAccount = _SESSION_ACCOUNT) -> ImagePlan:
    """What :func:`capture` would read now; the guest is not changed.

    Raises:
        TaskFailed: the guest could not be looked through.
    """
    script = capture_script(account, operation=secrets.token_hex(8), ua=ua, count_only=True)
    doing = "count the user data"
    count = number(guest, succeeded(guest, guest.run(script), doing=doing), doing=doing)
    return ImagePlan(changed=True, actions=(f"capture {count} files, directories and links",))


def deploy(
    guest: Guest,
    *,
    tar: Path,
    manifest: Manifest,
    ua: UaDefinition,
    session: str,
    converters: Sequence[Converter] = (),
    archive: str = "",
    account: SessionAccount = _SESSION_ACCOUNT,
    policy: ArchivePolicy | None = None,
) -> None:
    """Put a generation into a guest's session home and prove that it is there; then convert it, if need be.

    Every path that the UA declares or the generation holds is replaced as a whole, and removed where the
    generation does not have it. Killed at any point, it may be repeated. ``archive`` is its name in the
    store, for the next capture.

    Raises:
        ArtifactInvalid: the tar is not what the manifest says; nothing was sent.
        TaskFailed: the guest could not unpack or convert it, or holds something else; its home is as it was.
    """
    verify(tar, manifest, policy=policy or ArchivePolicy(home=account.home))
    operation = secrets.token_hex(8)
    script = deploy_script(
        account,
        operation=operation,
        paths=_switched(ua, manifest),
        entries=manifest.files,
        ua=ua,
        converters=converters,
        tag=archive,
    )
    guest.put(tar, account.archive(operation))
    point("image.deploy.sent")
    result = guest.run(script)
    doing = (
        f"deploy generation {manifest.generation} of {manifest.user}/{manifest.ua} for session '{session}'"
    )
    if result.status == _DIFFERENT:
        _refuse_difference(guest, result, manifest=manifest, doing=doing)
    succeeded(guest, result, doing=doing)


def plan_deploy(manifest: Manifest, *, ua: UaDefinition) -> ImagePlan:
    """What :func:`deploy` would do; needs no guest."""
    held = outermost(entry.path for entry in manifest.files)
    actions = [f"{'replace' if path in held else 'remove'} {path}" for path in _switched(ua, manifest)]
    return ImagePlan(changed=bool(actions), actions=tuple(actions))


def clean(guest: Guest, *, account: SessionAccount = _SESSION_ACCOUNT) -> None:
    """Remove all of a user's data from a guest, and prove it in the same run.

    Ends the account's processes, makes its home anew, and empties every place where an account may write.
    The UA must be stopped first: a service that restarts itself is found again and fails this.

    Raises:
        TaskFailed: something of the user is left; ``details['left']`` lists up to 20 of it.
    """
    script = clean_script(account)
    result = succeeded(guest, guest.run(script), doing="remove the user's data")
    left = _leftovers(result, account=account)
    if left:
        raise TaskFailed(
            f"Cannot remove the user's data from VM '{guest.name}': "
            f"{len(left)} items are left, first {shown(left[0])}",
            hint=f"vmm vm rebuild {guest.name}",
            details={"host": guest.name, "task": "clean", "left": left[:_SHOWN_LEFTOVERS]},
        )


def plan_clean(guest: Guest, *, account: SessionAccount = _SESSION_ACCOUNT) -> ImagePlan:
    """What :func:`clean` would remove now; the guest is not changed.

    Raises:
        TaskFailed: the guest could not be looked through.
    """
    script = clean_script(account, check=True)
    result = succeeded(guest, guest.run(script), doing="look for the user's data")
    actions = tuple(f"remove {found}" for found in _leftovers(result, account=account))
    return ImagePlan(changed=bool(actions), actions=actions)


def _leftovers(result: GuestResult, *, account: SessionAccount) -> list[str]:
    """What the clean script printed, with diff's words for an additional path made a path."""
    only = re.compile(rf"^Only in ({re.escape(account.home)}[^:]*): ")
    return [only.sub(r"path \1/", line) for line in result.stdout.splitlines()]


def _switched(ua: UaDefinition, manifest: Manifest) -> tuple[str, ...]:
    """What is replaced: declared paths, and what an older definition declared and the generation holds."""
    held = outermost(entry.path for entry in manifest.files)
    return outermost([*declared(ua.user_data), *(below_home(path) for path in held)])


def _refuse_difference(guest: Guest, result: GuestResult, *, manifest: Manifest, doing: str) -> NoReturn:
    unlike = set(printed(manifest.files)) ^ set(result.stdout.splitlines())
    paths = sorted(_LISTED.sub("", line) for line in unlike)
    first = f"path '{paths[0]}'" if paths else "the order of paths"
    fail(guest, doing=doing, reason=f"the guest holds something else than the manifest: {first}")
