"""The portable tier of User Image Files: one borg archive per generation.

Layout below the store's parent directory (``Places.user_images``)::

    repository/      the borg repository, encrypted and authenticated (repokey-blake2)
    key              the passphrase, mode 0600; without it no generation can be read, so save both apart
    borg/            borg's own cache and security notes (BORG_BASE_DIR), nothing is written elsewhere
    store.lock       held while the repository is made; never unlinked
    repository.new/  a repository whose making was interrupted; removed by the next attempt

Each archive holds the tar, byte for byte as it was proven, and the manifest, in :mod:`parts
<vmm_automation.images.parts>`; older ones hold ``user.tar`` and ``manifest.json``.

Atomicity: an archive is there completely or not at all; a writer that is killed leaves nothing that
:meth:`BorgStore.archives` lists, and its lock is taken over by the next one on the same controller.
Concurrency: any number of processes may read; writers wait for each other, :data:`LOCK_WAIT_S` at most.
Not promised: space of an interrupted write comes back only when borg compacts the repository.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from vmm_automation.adapters.lockfile import exclusive
from vmm_automation.adapters.process import Completed, run
from vmm_automation.errors import ArtifactInvalid, DiskFull, ToolMissing, VmmError
from vmm_automation.images.archive import ArchivePolicy
from vmm_automation.images.borg_failures import LOCKED, WARNING, WARNINGS, damaged, disk_full, translate
from vmm_automation.images.borg_places import LocalRepository, RemoteRepository, ensure_key
from vmm_automation.images.manifest import verify
from vmm_automation.images.parts import pack, unpack
from vmm_automation.model.image import Manifest
from vmm_automation.model.remote_store import RemoteStore
from vmm_automation.places import make_directory

LOCK_WAIT_S: Final = 120
TAR_NAME: Final = "user.tar"
MANIFEST_NAME: Final = "manifest.json"

# borg sleeps for a tenth of --lock-wait between two looks at a lock, even at a stale one: many short waits
# find it free sooner than a long one.
_LOCK_ATTEMPT_S: Final = 3
# 4 KiB to 256 KiB chunks, 16 KiB on average: settings are many small files, and a changed one must not
# drag its neighbours in the tar along. borg's default chunks hold dozens of such files.
_CHUNKS: Final = "buzhash,12,18,14,4095"
_INTO_FILE: Final = 'file=$1; shift; exec "$@" >"$file"'
_SAFE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,254}")
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._@+-]")

#: what a person's own use of borg may have left in the environment and would lead ours astray
_FOREIGN: Final = (
    "BORG_REPO",
    "BORG_RSH",
    "BORG_REMOTE_PATH",
    "BORG_PASSPHRASE",
    "BORG_PASSPHRASE_FD",
    "BORG_NEW_PASSPHRASE",
    "BORG_CACHE_DIR",
    "BORG_CONFIG_DIR",
    "BORG_SECURITY_DIR",
    "BORG_KEYS_DIR",
    "BORG_KEY_FILE",
    "BORG_LOGGING_CONF",
)


def archive_name(*, user: str, ua: str, number: int, session: str) -> str:
    """A new name for the archive of a generation; random at its end, so a repeated capture never collides."""
    name = f"{user}.{ua}.{number}.{session}-{secrets.token_hex(4)}"
    return _UNSAFE.sub("_", name)


class BorgStore:
    """The archives of one repository; made at the first write. With ``remote`` it is on another host.

    Raises on every call:
        ToolMissing: borg is not installed beside this Python nor on PATH.
        LockHeld: other writers kept the repository locked for longer than :data:`LOCK_WAIT_S`.
        PreflightFailed: the key file is absent or not the repository's.
        DiskFull: no space is left where the repository lies.
        ArtifactInvalid: the repository or an archive is damaged or absent.
    """

    def __init__(self, directory: Path, *, key_file: Path, remote: RemoteStore | None = None) -> None:
        self._home = directory.absolute().parent
        self._key_file = key_file.absolute()
        self._place = RemoteRepository(remote) if remote else LocalRepository(directory.absolute())

    def write(self, archive: str, *, tar: Path, manifest: Manifest) -> None:
        """Store a whole tar, already checked, and its manifest as one archive.

        Needs as much space again beside ``tar``.

        Raises:
            Conflict: there is an archive of that name.
        """
        self._ensure_repository()
        location = self._location(archive)
        with _out_of_space(tar.parent), tempfile.TemporaryDirectory(dir=tar.parent) as staging:
            packed = Path(staging) / "parts.tar"
            pack(tar, manifest, into=packed)
            options = ["--chunker-params", _CHUNKS, "-C", "zstd,3"]
            done = self._borg("import-tar", *options, location, str(packed))
        if done.status == 0:
            return
        broken = self._failure(done, doing=f"store user image '{archive}'")
        if done.status == WARNING or done.status >= WARNINGS:
            self.delete(archive)  # recorded, but not as it was given
        raise broken

    def read(self, archive: str, *, into: Path, policy: ArchivePolicy | None = None) -> tuple[Path, Manifest]:
        """Extract an archive into a directory of the caller and prove it against its manifest.

        Returns the tar's path below ``into``, which is made if need be, and the manifest.
        """
        tar = self.extract(archive, into=into)
        manifest = _parse(into / MANIFEST_NAME, archive=archive)
        verify(tar, manifest, policy=policy)
        return tar, manifest

    def extract(self, archive: str, *, into: Path) -> Path:
        """The same with no more proof than borg's own, for who compares all of it anyway; the tar's path."""
        self._require(f"read user image '{archive}'")
        with _out_of_space(into):
            into.mkdir(mode=0o700, parents=True, exist_ok=True)
        joined, location = into / "joined", self._location(archive)
        done = self._borg("extract", "--stdout", location, stdout=joined)
        if done.status != 0:
            broken = self._failure(done, doing=f"read user image '{archive}'")
            raise disk_full(into) if isinstance(broken, DiskFull) else broken
        if not unpack(joined, tar=into / TAR_NAME, manifest=into / MANIFEST_NAME):
            joined.unlink()
            self._extract_whole(location, doing=f"read user image '{archive}'", into=into)
        return into / TAR_NAME

    def _extract_whole(self, location: str, *, doing: str, into: Path) -> None:
        """An archive of two files, as they were written before there were parts."""
        options = ["--noacls", "--noxattrs", "--noflags"]
        done = self._borg("extract", *options, location, TAR_NAME, MANIFEST_NAME, cwd=into)
        if done.status != 0:
            raise self._failure(done, doing=doing)

    def archives(self) -> tuple[str, ...]:
        """The names of all archives, oldest first; none where nothing was ever written."""
        return tuple(self.stored_since())

    def stored_since(self) -> dict[str, datetime]:
        """When each archive was stored, by name."""
        if not self._exists():
            return {}
        done = self._borg("list", "--json", self._place.location)
        if done.status != 0:
            raise self._failure(done, doing="list the user images")
        listed = json.loads(done.stdout)["archives"]
        return {one["name"]: datetime.fromisoformat(one["time"]).replace(tzinfo=UTC) for one in listed}

    def delete(self, archive: str) -> None:
        """Take an archive out of the store; its space comes back with :meth:`compact`."""
        self._require(f"delete user image '{archive}'")
        done = self._borg("delete", self._location(archive))
        if done.status != 0:
            raise self._failure(done, doing=f"delete user image '{archive}'")

    def compact(self) -> None:
        """Give the space of deleted archives back."""
        if self._exists() and (done := self._borg("compact", self._place.location)).status != 0:
            raise self._failure(done, doing="compact the user image store")

    def check(self) -> None:
        """Read everything that is stored and compare it with its checksums: seconds per GB."""
        if not self._exists():
            return
        done = self._borg("check", "--verify-data", self._place.location)
        if done.status == WARNING:
            raise damaged(done, doing="check the user image store")
        if done.status != 0:
            raise self._failure(done, doing="check the user image store")

    def _exists(self) -> bool:
        return self._place.exists(self._borg)

    def _require(self, doing: str) -> None:
        if not self._exists():
            raise ArtifactInvalid(
                f"Cannot {doing}: there is no store at '{self._place.location}'",
                hint=self._place.lost,
                details={"repository": self._place.location},
            )

    def _ensure_repository(self) -> None:
        if self._exists():
            return
        parent = self._home
        with _out_of_space(parent):
            make_directory(parent, mode=0o700)
            with exclusive(parent / "store.lock", what="the user image store"):
                if not self._exists():
                    self._make_repository()

    def _make_repository(self) -> None:
        ensure_key(self._key_file)
        done = self._place.make(self._borg)
        if done.status != 0:
            raise self._failure(done, doing="make the user image store")

    def _location(self, archive: str) -> str:
        if not _SAFE_NAME.fullmatch(archive):
            raise ArtifactInvalid(
                f"Archive name {archive!r} is none that this store gives", details={"archive": archive}
            )
        return f"{self._place.location}::{archive}"

    def _borg(
        self, command: str, *words: str, cwd: Path | None = None, stdout: Path | None = None
    ) -> Completed:
        environment = {
            "BORG_BASE_DIR": str(self._home / "borg"),
            "BORG_PASSCOMMAND": f"cat {shlex.quote(str(self._key_file))}",
            "BORG_EXIT_CODES": "modern",
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "no",
            "BORG_DISPLAY_PASSPHRASE": "no",
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",  # borg tells times without a zone
            **self._place.environment,
        }
        foreign = [
            word
            for name in _FOREIGN
            if name in os.environ and name not in environment
            for word in ("-u", name)
        ]
        start = ["env", *foreign, _program()] if foreign else [_program()]
        argv = [*start, command, "--lock-wait", str(_LOCK_ATTEMPT_S), *words]
        if stdout:
            argv = ["sh", "-c", _INTO_FILE, "sh", str(stdout), *argv]
        for _ in range(LOCK_WAIT_S // _LOCK_ATTEMPT_S):
            done = run(argv, env=environment, cwd=cwd, check=False)
            if done.status not in LOCKED:
                break
        return done

    def _failure(self, done: Completed, *, doing: str) -> VmmError:
        return translate(done, doing=doing, store=self._home, key_file=self._key_file)


def _program() -> str:
    beside = Path(sys.executable).with_name("borg")
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("borg")
    if found is None:
        raise ToolMissing(
            "Program 'borg' is not installed on the controller",
            hint="pip install borgbackup",
            details={"program": "borg", "package": "borgbackup"},
        )
    return found


def _parse(path: Path, *, archive: str) -> Manifest:
    try:
        document = json.loads(path.read_bytes())
        manifest = Manifest.from_document(document)
        if document["root_digest"] != manifest.root_digest:
            raise ValueError("its root digest is not that of its entries")
    except (OSError, KeyError, TypeError, ValueError) as wrong:
        raise ArtifactInvalid(
            f"User image '{archive}' has no usable manifest: {wrong}",
            hint="vmm image verify --all",
            details={"archive": archive},
        ) from wrong
    return manifest


@contextmanager
def _out_of_space(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as full:
        if full.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise disk_full(directory) from full
