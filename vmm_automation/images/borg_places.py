"""Where a borg repository lies, on the controller or on another host, and how it is made there.

On another host it is reached by borg's own transport: ``borg serve``, started there by ssh. The host's key
must be known before, only the given key is used, and nothing is ever asked for.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from vmm_automation.adapters.process import Completed
from vmm_automation.model.remote_store import RemoteStore

Borg = Callable[..., Completed]

_ABSENT: Final = 13
_THERE_ALREADY: Final = 10
_SSH: Final = (
    *("ssh", "-F", "none"),
    *("-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"),
    *(
        "-o",
        "PasswordAuthentication=no",
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
        "GlobalKnownHostsFile=/dev/null",
    ),
    *("-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4"),
)


class LocalRepository:
    """A directory of the controller."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @property
    def location(self) -> str:
        """As borg is told."""
        return str(self._directory)

    @property
    def environment(self) -> Mapping[str, str]:
        """What borg needs to get there."""
        return {}

    @property
    def lost(self) -> str:
        """What to do where it should be and is not."""
        return f"restore '{self._directory.parent}' from your backup"

    def exists(self, _borg: Borg) -> bool:
        """Whether it was made."""
        return self._directory.exists()

    def make(self, borg: Borg) -> Completed:
        """Make it under another name first: a half-made repository is never taken for one."""
        fresh = self._directory.with_name(f"{self._directory.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        done = borg("init", "--encryption", "repokey-blake2", str(fresh))
        if done.status == 0:
            fresh.rename(self._directory)
        return done


class RemoteRepository:
    """A directory of another host. That it is there is asked once."""

    def __init__(self, store: RemoteStore) -> None:
        self._store, self._there = store, False

    @property
    def location(self) -> str:
        """As borg is told."""
        return self._store.url

    @property
    def environment(self) -> Mapping[str, str]:
        """What borg needs to get there."""
        key, hosts = self._store.ssh_key, self._store.known_hosts
        return {"BORG_RSH": shlex.join([*_SSH, "-i", key, "-o", f"UserKnownHostsFile={hosts}"])}

    @property
    def lost(self) -> str:
        """What to do where it should be and is not."""
        return f"restore '{self._store.url}' from its backup"

    def exists(self, borg: Borg) -> bool:
        """Whether it was made; True where only borg can say what is wrong with it."""
        self._there = self._there or borg("info", self._store.url).status != _ABSENT
        return self._there

    def make(self, borg: Borg) -> Completed:
        """Make it; one that another controller has made meanwhile will do."""
        done = borg("init", "--make-parent-dirs", "--encryption", "repokey-blake2", self._store.url)
        return Completed(done.argv, 0, done.stdout, done.stderr) if done.status == _THERE_ALREADY else done


def ensure_key(key_file: Path) -> None:
    """Make the passphrase of a repository that is about to be made, unless there is one."""
    if key_file.exists():
        return
    fresh = key_file.with_name(f"{key_file.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{secrets.token_urlsafe(48)}\n")
        file.flush()
        os.fsync(descriptor)
    fresh.rename(key_file)
