"""The guest scripts of user images, run for real: a guest of namespaces on this machine instead of a VM.

The guest has its own processes, mounts and account; nothing outside its directory can be touched.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from vmm_automation.adapters.clock import SystemClock
from vmm_automation.errors import ArtifactInvalid, GuestUnreachable, TaskFailed
from vmm_automation.images.borg import BorgStore
from vmm_automation.model.image import Manifest
from vmm_automation.model.ua import UaDefinition, UaVersion, UserData
from vmm_automation.operations.user_image import capture, clean, deploy, plan_capture, plan_clean, plan_deploy
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

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces with accounts need root")


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

    def fetch(self, remote: str, local: Path) -> None:
        """As :class:`ports.Guest`."""
        self.transfers += 1
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


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[LocalGuest]:
    local = LocalGuest(tmp_path / "guest")
    local.outside("/etc/skel/.profile").write_text("umask 077\n")
    local.run("cp -rT /etc/skel /home/session; chown -R 2000:2000 /home/session; chmod 0700 /home/session")
    yield local
    local.close()


@pytest.fixture
def store(tmp_path: Path) -> BorgStore:
    return BorgStore(tmp_path / "user_images" / "repository", key_file=tmp_path / "user_images" / "key")


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


def captured(guest: LocalGuest, store: BorgStore, tmp_path: Path, *, number: int = 1) -> tuple[Manifest, str]:
    return capture(
        guest,
        user="ann",
        ua=UA,
        version="1.0",
        session="s-1",
        fence=7,
        parent=number - 1,
        number=number,
        spool=tmp_path / "spool",
        images=store,
        clock=SystemClock(),
    )


def leftovers(guest: LocalGuest, tmp_path: Path) -> list[str]:
    spool = tmp_path / "spool"
    found = [*guest.outside("/root").iterdir(), *guest.outside("/home").glob(".*")]
    return [path.name for path in [*found, *(spool.iterdir() if spool.exists() else [])]]


def test_user_data_goes_round_from_guest_to_store_to_guest(
    guest: LocalGuest, store: BorgStore, tmp_path: Path
) -> None:
    """Captured, cleaned away, deployed: the same files, modes, links and digests; nothing else is touched."""
    guest.as_session(FILL)
    manifest, archive = captured(guest, store, tmp_path)
    entries = {entry.path: entry for entry in manifest.files}
    assert manifest.consistency == "stopped"
    assert (manifest.data_version, manifest.generation, manifest.parent) == (2, 1, 0)
    assert entries[".config/notes/exceptions/rule"].layer == "exceptions"
    assert entries[".config/notes/settings"].layer == "settings"
    assert entries[".config/notes/settings"].mode == 0o711
    assert not [path for path in entries if "cache" in path or path.endswith(".tmp") or "other" in path]
    assert leftovers(guest, tmp_path) == []

    guest.run("cd /home/session && rm -r .config/other .config/notes/cache .config/notes/a.tmp")
    guest.run("chmod 0711 /home/session/.config/notes/settings; chmod 0700 /home/session/.config")
    before = guest.tree()
    clean(guest)
    assert ".config" not in guest.tree()
    tar, read = store.read(archive, into=tmp_path / "out")
    guest.transfers = 0
    deploy(guest, tar=tar, manifest=read, ua=UA, session="s-2")
    assert guest.tree() == before
    assert guest.transfers == 1
    assert leftovers(guest, tmp_path) == []


def test_empty_home_is_a_generation_without_files(
    guest: LocalGuest, store: BorgStore, tmp_path: Path
) -> None:
    """A user who has stored nothing yet gets a valid generation; deploying it removes declared paths."""
    manifest, archive = captured(guest, store, tmp_path)
    assert manifest.files == ()
    guest.as_session(FILL)
    tar, read = store.read(archive, into=tmp_path / "out")
    assert plan_deploy(read, ua=UA).actions == ("remove .config/notes", "remove .notesrc")
    deploy(guest, tar=tar, manifest=read, ua=UA, session="s-2")
    assert not guest.outside("/home/session/.notesrc").exists()
    assert guest.outside("/home/session/.config/other/kept").exists()


def test_capture_while_the_application_runs_is_recorded_as_live(
    guest: LocalGuest, store: BorgStore, tmp_path: Path
) -> None:
    """A generation says that it was taken beside a process that still wrote, which cannot block it."""
    guest.as_session("mkdir -p .config/notes; head -c 3000000 /dev/urandom >.config/notes/log")
    guest.in_background("while :; do echo more >>.config/notes/log; done")
    manifest, _ = captured(guest, store, tmp_path)
    assert manifest.consistency == "live"
    assert [entry.path for entry in manifest.files] == [".config/notes", ".config/notes/log"]


def test_file_that_changes_while_it_is_read_is_recorded_as_live(
    guest: LocalGuest, store: BorgStore, tmp_path: Path
) -> None:
    """A writer under another account is found by tar: read twice, then recorded for what it is."""
    guest.as_session("mkdir -p .config/notes; head -c 30000000 /dev/zero >.config/notes/log")
    guest.run("cd /home/session; (while :; do echo m >>.config/notes/log; done) >/dev/null 2>&1 </dev/null &")
    manifest, _ = captured(guest, store, tmp_path)
    assert manifest.consistency == "live"


def test_link_above_a_declared_path_gives_no_file_of_root(
    guest: LocalGuest, store: BorgStore, tmp_path: Path
) -> None:
    """Archiving has the user's rights only: a link cannot make root read, nor write, what the user cannot."""
    guest.run("mkdir /root/notes; echo secret >/root/notes/key; chmod 700 /root")
    guest.as_session("ln -s /root .config")
    manifest, archive = captured(guest, store, tmp_path)
    assert manifest.files == ()
    guest.as_session(f"rm .config; {FILL}")
    full, archive = captured(guest, store, tmp_path, number=2)
    guest.as_session("rm -rf .config .notesrc; ln -s /root .config; echo old >.notesrc")
    tar, read = store.read(archive, into=tmp_path / "out")
    with pytest.raises(TaskFailed, match=r"'/home/session/.config' is a symbolic link"):
        deploy(guest, tar=tar, manifest=read, ua=UA, session="s-2")
    assert guest.outside("/root/notes/key").read_text() == "secret\n"
    assert guest.outside("/home/session/.notesrc").read_text() == "old\n"
    assert full.files


def test_capture_of_what_an_image_may_not_hold_is_refused(
    guest: LocalGuest, store: BorgStore, tmp_path: Path
) -> None:
    """A named pipe or a link out of the home refuses the capture, names the path, and stores nothing."""
    guest.as_session("mkdir -p .config/notes; mkfifo .config/notes/pipe")
    with pytest.raises(ArtifactInvalid, match=r"notes/pipe.*named pipe"):
        captured(guest, store, tmp_path)
    assert store.archives() == ()
    assert leftovers(guest, tmp_path) == []


def test_file_the_account_cannot_read_fails_the_capture(
    guest: LocalGuest, store: BorgStore, tmp_path: Path
) -> None:
    """A part of the data that cannot be captured is a failure, never a silent gap."""
    guest.as_session("mkdir -p .config/notes")
    guest.run("touch /home/session/.config/notes/roots; chmod 600 /home/session/.config/notes/roots")
    with pytest.raises(TaskFailed, match=r"notes/roots|previous errors"):
        captured(guest, store, tmp_path)
    assert leftovers(guest, tmp_path) == []


def test_tar_altered_on_its_way_is_refused(guest: LocalGuest, store: BorgStore, tmp_path: Path) -> None:
    """What arrives on the controller must have the digest that the guest computed."""

    class Corrupting(LocalGuest):
        def __init__(self) -> None:
            self.__dict__.update(guest.__dict__)

        def fetch(self, remote: str, local: Path) -> None:
            super().fetch(remote, local)
            with local.open("r+b") as file:
                file.seek(700)
                file.write(b"\xff")

    guest.as_session(FILL)
    with pytest.raises(TaskFailed, match=r"changed on its way"):
        captured(Corrupting(), store, tmp_path)
    assert leftovers(guest, tmp_path) == []


def test_altered_tar_is_not_sent(guest: LocalGuest, store: BorgStore, tmp_path: Path) -> None:
    """Deploying proves the tar against its manifest before the guest is touched."""
    guest.as_session(FILL)
    manifest, archive = captured(guest, store, tmp_path)
    tar, _ = store.read(archive, into=tmp_path / "out")
    first, *others = manifest.files
    wrong = replace(manifest, files=(replace(first, mode=0o777), *others))
    guest.transfers = 0
    with pytest.raises(ArtifactInvalid, match=r"does not match its manifest"):
        deploy(guest, tar=tar, manifest=wrong, ua=UA, session="s-2")
    assert guest.transfers == 0


def test_guest_that_unpacks_something_else_is_found_before_the_switch(
    guest: LocalGuest, store: BorgStore, tmp_path: Path
) -> None:
    """The read-back in the guest fails the deployment, names the path, and the home stays as it was."""
    guest.as_session(FILL)
    _, archive = captured(guest, store, tmp_path)
    tar, manifest = store.read(archive, into=tmp_path / "out")
    before = guest.tree()

    class Meddling(LocalGuest):
        def __init__(self) -> None:
            self.__dict__.update(guest.__dict__)

        def run(self, script: str, *, stdin: bytes = b"") -> GuestResult:
            unpacked = 'if [ "$(listing'
            return super().run(
                script.replace(unpacked, f'echo evil >"$stage/new/.notesrc"\n{unpacked}'), stdin=stdin
            )

    with pytest.raises(TaskFailed, match=r"something else than the manifest: .*notesrc"):
        deploy(Meddling(), tar=tar, manifest=manifest, ua=UA, session="s-2")
    assert guest.tree() == before
    assert leftovers(guest, tmp_path) == []


@pytest.mark.parametrize("at", range(6))
def test_deploy_killed_at_any_step_is_completed_by_the_next(
    guest: LocalGuest, store: BorgStore, tmp_path: Path, at: int
) -> None:
    """SIGKILL of the script between any two steps: the next run starts from clean staging and succeeds."""
    marks = [
        'mkdir -m 0711 "$stage"',
        "(umask 0 && as_account",
        'for path in "$@"; do open_parents',
        'number=0\nfor path in "$@"; do\n    number=$((number + 1))',
        '    if exists "$stage/new/$path"; then mv',
        '    rm -rf "$stage" "$archive"',
    ]
    guest.as_session(FILL)
    _, archive = captured(guest, store, tmp_path)
    tar, manifest = store.read(archive, into=tmp_path / "out")
    guest.run("cd /home/session/.config/notes && chmod 0711 settings && rm -r cache a.tmp")
    before = guest.tree()

    class Killed(LocalGuest):
        def __init__(self) -> None:
            self.__dict__.update(guest.__dict__)

        def run(self, script: str, *, stdin: bytes = b"") -> GuestResult:
            assert marks[at] in script
            done = super().run(script.replace(marks[at], f"kill -KILL $$\n{marks[at]}"), stdin=stdin)
            raise GuestUnreachable(f"status {done.status}")

    with pytest.raises(GuestUnreachable):
        deploy(Killed(), tar=tar, manifest=manifest, ua=UA, session="s-2")
    deploy(guest, tar=tar, manifest=manifest, ua=UA, session="s-2")
    assert guest.tree() == before
    assert leftovers(guest, tmp_path) == []


def test_switch_that_fails_half_way_is_undone(guest: LocalGuest, store: BorgStore, tmp_path: Path) -> None:
    """When a later path cannot be switched, the earlier ones are put back."""
    guest.as_session(FILL)
    _, archive = captured(guest, store, tmp_path)
    tar, manifest = store.read(archive, into=tmp_path / "out")
    guest.as_session("echo newer >.config/notes/settings; rm .notesrc; mkdir .notesrc")
    before = guest.tree()
    guest.run("mount -t tmpfs none /home/session/.notesrc")
    with pytest.raises(TaskFailed, match=r"busy"):
        deploy(guest, tar=tar, manifest=manifest, ua=UA, session="s-2")
    guest.run("umount /home/session/.notesrc")
    assert guest.tree() == before


MESS = r"""
echo secret >.bash_history; echo changed >.profile; mkdir -p a/b; chmod 0500 a
echo s >/tmp/mine; mkdir /var/tmp/mine; echo s >/var/tmp/mine/f; echo s >/dev/shm/mine
"""


def test_clean_removes_everything_of_the_user_and_nothing_else(guest: LocalGuest) -> None:
    """Home, processes, temporary files, IPC, crontab and mail are gone; what belongs to others stays."""
    guest.as_session(MESS)
    guest.in_background("trap : TERM; while :; do sleep 0.05; done")
    guest.as_session("ipcmk -M 4096 -Q -S 1 >/dev/null")
    guest.run(
        "cd /var/spool && mkdir -p cron/crontabs && echo x >cron/crontabs/session; echo x >/var/mail/session"
    )
    guest.run(
        "echo other >/tmp/other; touch /root/.vmm-user-image.x.tar; mkdir /home/.vmm-stage-x; mkdir /run/s"
    )
    guest.run("chown session /run/s")
    planned = plan_clean(guest)
    for found in (
        ".bash_history",
        "/tmp/mine",
        "/dev/shm/mine",
        "process",
        "ipc -m",
        "ipc -q",
        "ipc -s",
        "crontabs",
    ):
        assert any(found in action for action in planned.actions), found
    clean(guest)
    assert plan_clean(guest) == replace(planned, changed=False, actions=())
    assert guest.tree().splitlines()[0] == f"f 644 {UID} ./.profile "
    assert guest.outside("/home/session/.profile").read_text() == "umask 077\n"
    assert guest.outside("/tmp/other").exists()
    assert guest.outside("/home/session").stat().st_mode & 0o777 == 0o700


def test_fork_bomb_does_not_outrun_clean(guest: LocalGuest) -> None:
    """Processes that keep replacing each other are all ended at once."""
    guest.in_background("f() { sleep 0.02; f & }; f & f & f")
    clean(guest)
    time.sleep(0.3)
    assert not plan_clean(guest).changed


def test_clean_says_what_it_could_not_remove(guest: LocalGuest) -> None:
    """What is left is named, and the VM is not called clean."""
    guest.as_session("mkdir /tmp/held; touch /tmp/held/x")
    guest.run("mount --bind -o ro /tmp/held /tmp/held; mount -o remount,ro,bind /tmp/held")
    with pytest.raises(TaskFailed, match=r"/tmp/held") as failed:
        clean(guest)
    assert "path /tmp/held/x" in failed.value.details["left"]


def test_plan_of_capture_counts_and_changes_nothing(guest: LocalGuest, tmp_path: Path) -> None:
    """A dry run tells how much would be captured and leaves no file anywhere."""
    guest.as_session(FILL)
    before = guest.tree()
    assert plan_capture(guest, ua=UA).actions == ("capture 13 files, directories and links",)
    assert guest.tree() == before
    assert leftovers(guest, tmp_path) == []


def test_hostile_generation_is_never_sent(guest: LocalGuest, tmp_path: Path) -> None:
    """Even an archive whose manifest lists it is refused when it holds what no image may hold."""
    tar = tmp_path / "evil.tar"
    with tarfile.open(tar, "w") as writer:
        header = tarfile.TarInfo("../../etc/cron.d/x")
        writer.addfile(header, io.BytesIO())
    manifest = Manifest("ann", "notes", "1.0", 1, 1, 0, "s", 1, "2026-01-31T08:05:10.000000Z", "stopped", ())
    with pytest.raises(ArtifactInvalid, match=r"refused"):
        deploy(guest, tar=tar, manifest=manifest, ua=UA, session="s-2")
    assert guest.transfers == 0
