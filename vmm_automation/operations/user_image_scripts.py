"""What runs in a guest for a user image: one shell script per operation, so one round trip each.

Shell and GNU tools only: an interpreter takes seconds to start in an emulated guest. The scripts read and
write a user's files with that user's rights, never with root's: a link or a device that a user has
prepared leads them nowhere that the user could not go.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType

from vmm_automation.adapters.domain_xml import USER_DISK_SERIAL
from vmm_automation.adapters.ua_unit import fill_placeholders
from vmm_automation.images.archive import DIRECTORY, FILE
from vmm_automation.images.cap import LARGEST
from vmm_automation.images.layers import ancestors, declared, exclude_patterns, outermost
from vmm_automation.images.omitted import NAMED
from vmm_automation.model.image import FileEntry
from vmm_automation.model.ua import Converter, Hook, UaDefinition

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


@dataclass(frozen=True)
class VolumePlace:
    """Where a user's disk is mounted in a guest, by which serial it is known, and the home on it.

    Beside the home only root may write, and a switch from there into it is a rename, as it is in ``/home``.
    """

    directory: str = "/var/lib/vmm/user-data"
    serial: str = USER_DISK_SERIAL

    @property
    def home(self) -> str:
        """The session account's home on the disk."""
        return f"{self.directory}/home"


def capture_script(
    account: SessionAccount,
    *,
    operation: str,
    ua: UaDefinition,
    count_only: bool = False,
    tag: str = "",
    base: str = "",
) -> str:
    """Archive the paths that exist; prints ``consistency``, ``size`` and ``sha256``, a line each.

    Exits 8, before anything is archived, where it is beyond the UA's cap; then prints ``bytes``, ``paths``
    and ``largest``, the largest paths, each NUL-ended, in base64.

    With ``count_only`` nothing is written, and how many members the tar would have is printed. ``tag`` is
    the archive that it is for, ``base`` the one before. Where the guest knows what has changed since that,
    only this is archived, and two more lines are printed: ``kept``, a digest of the stamps of what is as it
    was, and ``removed``, the paths that are gone, each NUL-ended, in base64.
    """
    hooks = ua.capture
    target = "/dev/null" if count_only else account.archive(operation)
    settings = {
        "id": operation,
        "excludes": exclude_patterns(ua.user_data),
        "target": target,
        "freeze_s": str(hooks.freeze_s),
        "freezing": "hook" if hooks.freeze else "signal" if hooks.freeze_s else "none",
        "max_bytes": str(ua.user_data.max_bytes),
        "max_paths": str(ua.user_data.max_paths),
        "largest": str(LARGEST),
        "named": str(NAMED),
        "tag": tag,
        "base": base,
    }
    functions = {
        name: [_hook(ua, f"hook '{name}'", hook)] if hook else []
        for name, hook in (("freeze", hooks.freeze), ("thaw", hooks.thaw))
    }
    return _script(
        "capture",
        account=account,
        settings=settings,
        functions={f"{name}_hook": lines for name, lines in functions.items()},
        paths=outermost(declared(ua.user_data)),
    )


def hook_script(account: SessionAccount, *, operation: str, ua: UaDefinition, names: Sequence[str]) -> str:
    """Run those of the UA's hooks ``dump`` and ``stop`` that it has; empty if there is none to run.

    Prints ``done``, or ``skipped`` where no process of the account runs.
    """
    brought = {"dump": ua.capture.dump, "stop": ua.capture.stop}
    lines = [_hook(ua, f"hook '{name}'", hook) for name in names if (hook := brought[name])]
    if not lines:
        return ""
    return _script("hook", account=account, settings={"id": operation}, functions={"hooks": lines}, paths=())


def deploy_script(
    account: SessionAccount,
    *,
    operation: str,
    paths: Sequence[str],
    entries: Sequence[FileEntry],
    ua: UaDefinition,
    converters: Sequence[Converter] = (),
    tag: str = "",
) -> str:
    """Unpack the operation's tar beside the home, prove it, convert it, and switch ``paths`` into the home.

    ``tag`` is the archive that it is: a later capture then knows what has changed since.

    Exits 5 and prints what was unpacked, as :func:`printed`, when that is not ``entries``.
    """
    convert = [
        _hook(ua, f"converter from data version {each.older} to {each.newer}", each.hook, home='"$stage/new"')
        for each in converters
    ]
    settings = {
        "id": operation,
        "archive": account.archive(operation),
        "tree_digest": hashlib.sha256(b"".join(f + b"\0" for f in listing(entries))).hexdigest(),
        "excludes": exclude_patterns(ua.user_data),
        "tag": "" if converters else tag,
        "base": "",
    }
    return _script("deploy", account=account, settings=settings, functions={"convert": convert}, paths=paths)


def preview_script(account: SessionAccount, *, paths: Sequence[str], beside: Sequence[str]) -> str:
    """Print what lies below ``paths`` and directly in ``beside``: kind and path, NUL-ended, in base64."""
    settings = {"id": "preview", "beside": "\n".join(beside)}
    return _script("preview", account=account, settings=settings, paths=paths)


def clean_script(account: SessionAccount, *, check: bool = False) -> str:
    """Remove all that is the account's; prints what is left, a line each. With ``check`` only the latter."""
    settings = {"swept": " ".join(account.swept), "check": "1" if check else "0"}
    return _script("clean", account=account, settings=settings, paths=())


def mount_script(account: SessionAccount, volume: VolumePlace) -> str:
    """Put the account's home onto the user's disk; no change if it is there.

    Exits 7 where the disk has the home of an account of another number.
    """
    return _script("mount", account=account, settings=_on_volume(volume), paths=())


def seal_script(account: SessionAccount, volume: VolumePlace) -> str:
    """Leave only the paths on standard input, sorted and ended by NUL, on the user's disk, and unmount it."""
    settings = {**_on_volume(volume), "id": secrets.token_hex(8)}
    return _script("seal", account=account, settings=settings, paths=())


def unmount_script(account: SessionAccount, volume: VolumePlace) -> str:
    """End the account's processes and unmount the user's disk."""
    return _script("unmount", account=account, settings=_on_volume(volume), paths=())


def _on_volume(volume: VolumePlace) -> dict[str, str]:
    return {"volume": volume.directory, "volume_home": volume.home, "serial": volume.serial}


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


def _hook(ua: UaDefinition, name: str, hook: Hook, *, home: str = '"$home"') -> str:
    """A call of ``hook`` of ``user_image_common.sh``; ``home`` is shell text."""
    command = fill_placeholders(shlex.join(hook.command), ua=ua.id)
    return f"hook {shlex.quote(name)} {hook.deadline_s} {home} {shlex.quote(command)}"


def _script(
    name: str,
    *,
    account: SessionAccount,
    settings: Mapping[str, str],
    paths: Sequence[str],
    functions: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> str:
    variables = {
        "account": account.name,
        "home": account.home,
        "spool": account.spool,
        "skeleton": account.skeleton,
        **settings,
    }
    lines = [f"{variable}={shlex.quote(value)}" for variable, value in variables.items()]
    for function, calls in functions.items():
        lines += [f"{function}() {{", *(calls or [":"]), "}"]
    lines.append(shlex.join(["set", "--", *paths]))
    parts = ("common", "stamps", name) if "tag" in settings else ("common", name)
    bodies = [(_SCRIPTS / f"user_image_{part}.sh").read_text() for part in parts]
    return "\n".join([*lines, *bodies])
