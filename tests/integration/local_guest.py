"""A guest of namespaces on this machine instead of a VM, and an application with user data in it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vmm_automation.adapters.bounded_file import bounded
from vmm_automation.adapters.clock import SystemClock
from vmm_automation.images.borg import BorgStore
from vmm_automation.model.image import Manifest
from vmm_automation.model.ua import UaDefinition, UaVersion, UserData
from vmm_automation.operations.user_image import OnOmitted, Origin, capture
from vmm_automation.operations.user_image_fetch import Base
from vmm_automation.ports import GuestResult

UID = 2000
PRIVATE = ("home", "root", "tmp", "var/tmp", "run", "dev/shm", "etc/skel", "var/spool", "var/mail")
UA = UaDefinition(
    id="notes",
    display_name="Notes",
    versions=(UaVersion("1.0", "files", data_version=2),),
    user_data=UserData(
        settings=(".config/notes", ".notesrc"),
        exceptions=(".config/notes/exceptions",),
        exclude=("*.tmp", "cache"),
    ),
)

FILL = r"""
umask 022
mkdir -p .config/notes/exceptions .config/notes/cache .config/other
echo colour=blue >.config/notes/settings; echo never >.config/notes/exceptions/rule
printf x >".config/notes/name with spaces and é"; printf y >".config/notes/$(printf "bad\377")"
printf z >".config/notes/new
line"; : >.config/notes/empty; echo big >.config/notes/cache/page; echo t >.config/notes/a.tmp
ln -s settings .config/notes/link; ln .config/notes/settings .config/notes/hard
truncate -s 1M .config/notes/sparse; echo end >>.config/notes/sparse
chmod 4711 .config/notes/settings; mkdir -m 0500 .config/notes/readonly
echo rc >.notesrc; echo private >.config/other/kept
"""


class LocalGuest:
    """A guest of namespaces: root inside, the same kernel and tools, its own files, processes and account."""

    name = "local"

    def __init__(self, base: Path) -> None:
        self._base = base
        for place in PRIVATE:
            (base / place).mkdir(parents=True, exist_ok=True)
        for place in ("tmp", "var/tmp", "dev/shm"):
            (base / place).chmod(0o1777)
        (base / "passwd").write_text(
            f"root:x:0:0::/root:/bin/sh\nsession:x:{UID}:{UID}::/home/session:/bin/sh\n"
        )
        (base / "group").write_text(f"root:x:0:\nsession:x:{UID}:\n")
        mounts = [f"mount --bind {base / place} /{place}" for place in PRIVATE if not place.startswith("tmp")]
        mounts += [f"mount --bind {base / name} /etc/{name}" for name in ("passwd", "group")]
        mounts.append(f"mount --bind {base / 'tmp'} /tmp")
        script = "\n".join(["set -e", *mounts, "echo ready", "exec sleep infinity"])
        start = [
            "unshare",
            "--mount",
            "--pid",
            "--ipc",
            "--fork",
            "--mount-proc",
            "--kill-child",
            "sh",
            "-c",
            script,
        ]
        self._root = subprocess.Popen(start, stdout=subprocess.PIPE, text=True)
        assert self._root.stdout is not None
        assert self._root.stdout.readline() == "ready\n"
        children = Path(f"/proc/{self._root.pid}/task/{self._root.pid}/children").read_text()
        self._enter = ["nsenter", "-t", children.split()[0], "--mount", "--pid", "--ipc"]
        self.transfers = 0
        self.fetched: list[int] = []

    def close(self) -> None:
        """End the guest with all of its processes."""
        self._root.kill()
        self._root.wait()

    def run(self, script: str, *, stdin: bytes = b"") -> GuestResult:
        """As :class:`ports.Guest`."""
        argv = [*self._enter, "sh", "-c", script]
        done = subprocess.run(argv, input=stdin, capture_output=True, check=False)
        return GuestResult(
            done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        )

    def put(self, local: Path, remote: str) -> None:
        """As :class:`ports.Guest`."""
        self.transfers += 1
        shutil.copyfile(local, self.outside(remote))

    def fetch(self, remote: str, local: Path, *, limit: int) -> None:
        """As :class:`ports.Guest`."""
        self.transfers += 1
        self.fetched.append(self.outside(remote).stat().st_size)
        with bounded(local, limit=limit, origin=remote):
            shutil.copyfile(self.outside(remote), local)

    def outside(self, path: str) -> Path:
        """Where a path of the guest lies on this machine."""
        return self._base / path.lstrip("/")

    def as_session(self, script: str) -> None:
        """Run something as the session account, from its home."""
        done = self.run(
            f"cd /home/session && setpriv --reuid={UID} --regid={UID} --clear-groups sh -c '{script}'"
        )
        assert done.status == 0, done.stderr

    def in_background(self, script: str) -> None:
        """Leave something running as the session account."""
        self.as_session(f"({script}) >/dev/null 2>&1 </dev/null & sleep 0.2")

    def tree(self) -> str:
        """Everything in the home with kinds, modes, owners and digests, one text."""
        find = r"cd /home/session && find . -mindepth 1 -printf '%y %m %U %p %l\n' | sort"
        return self.run(find + "; find . -type f -print0 | sort -z | xargs -0 -r sha256sum").stdout


@contextmanager
def started_guest(base: Path) -> Iterator[LocalGuest]:
    """A guest with an account 'session' whose home is as its skeleton."""
    local = LocalGuest(base)
    local.outside("/etc/skel/.profile").write_text("umask 077\n")
    local.run("cp -rT /etc/skel /home/session; chown -R 2000:2000 /home/session; chmod 0700 /home/session")
    try:
        yield local
    finally:
        local.close()


def captured(
    guest: LocalGuest,
    store: BorgStore,
    tmp_path: Path,
    *,
    number: int = 1,
    ua: UaDefinition = UA,
    base: Base | None = None,
    last: bool = False,
    on_omitted: OnOmitted = lambda _omitted: None,
) -> tuple[Manifest, str]:
    return capture(
        guest,
        Origin("ann", "1.0", "s-1", 7, number - 1),
        ua=ua,
        spool=tmp_path / "spool",
        images=store,
        clock=SystemClock(),
        base=base,
        last=last,
        on_omitted=on_omitted,
    )


def leftovers(guest: LocalGuest, tmp_path: Path) -> list[str]:
    """What lies about beside the stamps of the newest archives, which are kept on purpose."""
    spool = tmp_path / "spool"
    found = [*guest.outside("/root").iterdir(), *guest.outside("/home").glob(".*")]
    names = [path.name for path in [*found, *(spool.iterdir() if spool.exists() else [])]]
    return [name for name in names if not name.startswith(".vmm-user-image-stamps.")]
