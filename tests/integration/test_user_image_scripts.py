"""The guest scripts of user images, run for real: a guest of namespaces on this machine instead of a VM.

The guest has its own processes, mounts and account; nothing outside its directory can be touched.
"""

from __future__ import annotations

import io
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from vmm_automation.errors import ArtifactInvalid, GuestUnreachable, TaskFailed
from vmm_automation.images.borg import BorgStore
from vmm_automation.model.image import Manifest
from vmm_automation.model.ua import CaptureRules
from vmm_automation.operations.user_image import clean, deploy, plan_capture, plan_deploy
from vmm_automation.ports import GuestResult

from .local_guest import FILL, UA, LocalGuest, captured, leftovers

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces with accounts need root")


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


def test_capture_of_an_application_that_may_not_stand_still_is_recorded_as_live(
    guest: LocalGuest, store: BorgStore, tmp_path: Path
) -> None:
    """A generation says that it was taken beside a process that still wrote, which cannot block it."""
    unstopped = replace(UA, capture=CaptureRules(freeze_s=0))
    guest.as_session("mkdir -p .config/notes; head -c 3000000 /dev/urandom >.config/notes/log")
    guest.in_background("while :; do echo more >>.config/notes/log; done")
    manifest, _ = captured(guest, store, tmp_path, ua=unstopped)
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
    """A link out of the home refuses the capture, names the path, and stores nothing."""
    guest.as_session("mkdir -p .config/notes; ln -s /etc/passwd .config/notes/out")
    with pytest.raises(ArtifactInvalid, match=r"notes/out.*leads out of the home"):
        captured(guest, store, tmp_path)
    assert store.archives() == ()
    assert leftovers(guest, tmp_path) == []


def test_named_pipes_and_sockets_are_left_out(guest: LocalGuest, store: BorgStore, tmp_path: Path) -> None:
    """They hold no data, so that they stop no capture; a file whose path ends like a pipe's is kept."""
    sock = r"import socket; socket.socket(socket.AF_UNIX).bind(\".config/notes/sock\")"
    guest.as_session(
        'mkdir -p .config/notes/.config/notes; cd .config/notes; mkfifo pipe "a [b]*" .config/notes/e;'
        'echo 1 >.config/notes/pipe; echo 2 >"a b"; mkfifo ../../.notesrc; cd ../..;'
        f'python3 -c "{sock}"'
    )
    manifest, archive = captured(guest, store, tmp_path)
    kept = {entry.path for entry in manifest.files if entry.kind == "file"}
    assert kept == {".config/notes/a b", ".config/notes/.config/notes/pipe"}
    assert manifest.consistency == "stopped"
    assert plan_capture(guest, ua=UA).actions == ("capture 5 files, directories and links",)
    tar, read = store.read(archive, into=tmp_path / "out")
    deploy(guest, tar=tar, manifest=read, ua=UA, session="s-2")
    assert not guest.outside("/home/session/.config/notes/pipe").exists()


_UNREADABLE = {
    "a file of root": ("echo 1 >.config/notes/x; chmod 600 .config/notes/x", ".config/notes/x"),
    "an own file of mode 000": ("as touch .config/notes/x; chmod 000 .config/notes/x", ".config/notes/x"),
    "a name to quote": ('echo 1 >".config/notes/a b é"; chmod 600 .config/notes/a*', ".config/notes/a b é"),
    "a directory": ("mkdir -m 700 .config/notes/d; echo 1 >.config/notes/d/x", ".config/notes/d"),
    "a directory above": ("as chmod 000 .config", ".config"),
    "the home": ("chmod 000 .", "."),
}


@pytest.mark.parametrize(("make", "path"), _UNREADABLE.values(), ids=_UNREADABLE.keys())
def test_path_the_account_cannot_read_fails_the_capture_until_it_is_mended_as_hinted(
    guest: LocalGuest, store: BorgStore, tmp_path: Path, make: str, path: str
) -> None:
    """A part of the data that cannot be captured is a failure, never a silent gap: it names the path."""
    guest.as_session("mkdir -p .config/notes; mkfifo .config/notes/zz")
    account = 'as() { setpriv --reuid=2000 --regid=2000 --clear-groups "$@"; }'
    done = guest.run(f"set -e; {account}; cd /home/session; {make}")
    assert done.status == 0, done.stderr
    with pytest.raises(TaskFailed, match=r"cannot (open|enter) '") as failed:
        captured(guest, store, tmp_path)
    assert failed.value.details["path"] == path
    assert f"'{path}': Permission denied" in failed.value.message
    assert leftovers(guest, tmp_path) == []
    assert store.archives() == ()
    typed = failed.value.hint.removeprefix("in the guest: ")
    assert typed != failed.value.hint
    guest.run(typed)
    captured(guest, store, tmp_path)


def test_tar_altered_on_its_way_is_refused(guest: LocalGuest, store: BorgStore, tmp_path: Path) -> None:
    """What arrives on the controller must have the digest that the guest computed."""

    class Corrupting(LocalGuest):
        def __init__(self) -> None:
            self.__dict__.update(guest.__dict__)

        def fetch(self, remote: str, local: Path, *, limit: int) -> None:
            super().fetch(remote, local, limit=limit)
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
