"""Where things lie on the controller: one directory, so that an operator has one thing to know and to save.

Layout below :attr:`Places.home` (0711; owner only, except what the hypervisor's QEMU must read)::

    site                    the name of the one site whose state lies here
    state.db                the small state file (SQLite, WAL), unless the state is in PostgreSQL
    state.lock …            lock files, never unlinked
    base_images/<name>-<digest>/   read-only base images
    vms/<site>/<vm>/        overlay, seed and console log of each VM
    artifacts/<sha256>      files that UAs are delivered from
    bundles/                what is sent to guests, by digest
    user_images/            the borg repository of User Image Files, its key and lock
    user_volumes/           the same data as disks in layers, where sessions have a volume
    ssh/                    the controller's key, known hosts, connection sockets
    run/<random>/           private data of one playbook run; removed at its end
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from vmm_automation.errors import Conflict

_PASSED = 0o711  # others pass through and see nothing: QEMU, as its own user, reads disks below


def make_directory(directory: Path, *, mode: int = _PASSED) -> None:
    """Make a directory of that mode, whatever the umask; one that is there stays as it is.

    Those above it that are missing can be passed through by everybody and listed by nobody else.
    """
    if directory.is_dir():
        return
    make_directory(directory.parent)
    try:
        directory.mkdir()
    except FileExistsError:  # another process was faster, or it is no directory
        if not directory.is_dir():
            raise
    else:
        directory.chmod(mode)


@dataclass(frozen=True)
class Places:
    """The directories and files of one controller."""

    home: Path

    @classmethod
    def from_environment(cls) -> Places:
        """``VMM_HOME``, else the usual place of root (``/var/lib``) or of the user (``~/.local/share``)."""
        named = os.environ.get("VMM_HOME")
        if named:
            return cls(Path(named).expanduser().absolute())
        if os.geteuid() == 0:
            return cls(Path("/var/lib/vmm-automation"))
        data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
        return cls(Path(data).expanduser() / "vmm-automation")

    def reserve_for(self, site: str) -> None:
        """Note whose state lies here: names of VMs and users are only unique within a site.

        Raises:
            Conflict: it is another site's.
        """
        mark = self.home / "site"
        try:
            owner = mark.read_text().strip()
        except FileNotFoundError:
            make_directory(self.home)
            with contextlib.suppress(FileExistsError), mark.open("x") as file:
                file.write(f"{site}\n")
            owner = mark.read_text().strip()
        if owner not in {site, ""}:
            raise Conflict(
                f"Directory '{self.home}' holds the state of site '{owner}', not of '{site}'",
                hint=f"VMM_HOME={self.home}-{site} vmm …",
                details={"home": str(self.home), "site": owner},
            )

    @property
    def state_file(self) -> Path:
        """The SQLite file."""
        return self.home / "state.db"

    @property
    def base_images(self) -> Path:
        """Read-only base images."""
        return self.home / "base_images"

    @property
    def vms(self) -> Path:
        """Overlays, seeds and console logs, by site and VM."""
        return self.home / "vms"

    @property
    def artifacts(self) -> Path:
        """Files that UAs are delivered from, named by SHA-256."""
        return self.home / "artifacts"

    @property
    def bundles(self) -> Path:
        """What is sent to guests, named by digest."""
        return self.home / "bundles"

    @property
    def user_images(self) -> Path:
        """The store of User Image Files."""
        return self.home / "user_images"

    @property
    def user_volumes(self) -> Path:
        """The layers of users' volumes, and what sessions write to."""
        return self.home / "user_volumes"

    @property
    def ssh(self) -> Path:
        """The controller's key, known hosts and connection sockets."""
        return self.home / "ssh"

    @property
    def runs(self) -> Path:
        """Private data directories of playbook runs."""
        return self.home / "run"
