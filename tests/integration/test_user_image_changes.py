"""Captures that fetch what has changed: the same generation as a whole one, or the whole is fetched."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from vmm_automation.images.borg import BorgStore
from vmm_automation.model.image import Manifest
from vmm_automation.model.ua import UaDefinition, UserData
from vmm_automation.operations.user_image import clean, deploy
from vmm_automation.operations.user_image_fetch import WHOLE_EVERY, Base

from .local_guest import UA, LocalGuest, captured, leftovers

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces with accounts need root")

_MUCH = 5_000_000
_FILL = f"""
mkdir -p .config/notes/exceptions .config/notes/d; cd .config/notes
head -c {_MUCH} /dev/urandom >large; echo a >d/a; echo b >"d/b  b"; printf c >"$(printf "d/bad\\377")"
echo 1 >linked; ln linked zlink; ln -s d/a soft; truncate -s 1M sparse; echo end >>sparse
setfattr -n user.note -v kept d/a 2>/dev/null || true
echo rc >~/.notesrc; touch -d "2020-01-01 00:00:00.123456789" d/a; sleep 0.1
"""


class Captures:
    """One capture after the other, each from the one before; what came from the guest is counted."""

    def __init__(self, guest: LocalGuest, store: BorgStore, place: Path) -> None:
        self.guest, self.store, self.place, self.number = guest, store, place, 0
        self.base: Base | None = None

    def __call__(self, *, ua: UaDefinition = UA) -> Manifest:
        """The next one."""
        self.number += 1
        self.guest.fetched.clear()
        manifest, archive = captured(
            self.guest, self.store, self.place, number=self.number, ua=ua, base=self.base
        )
        self.base = Base(archive, manifest, lambda into: self.store.extract(archive, into=into))
        self.store.read(archive, into=self.place / f"read-{self.number}")  # proves it
        assert leftovers(self.guest, self.place) == []
        return manifest

    @property
    def bytes(self) -> int:
        """What the last one fetched."""
        return sum(self.guest.fetched)

    def whole(self) -> Manifest:
        """What a capture that knows nothing finds now."""
        return captured(self.guest, self.store, self.place, number=self.number)[0]


@pytest.fixture
def captures(guest: LocalGuest, store: BorgStore, tmp_path: Path) -> Captures:
    made = Captures(guest, store, tmp_path)
    guest.run("mkdir -p /home/session; setpriv true")
    guest.as_session(_FILL.replace("'", "'\\''"))
    return made


_CHANGES = {
    "a file is written": "echo more >>d/a",
    "the same size and time": "touch -r d/a ../t; echo z >d/a; touch -r ../t d/a; rm ../t",
    "another file takes its name": "echo n >new; mv new d/a",
    "a file is removed": 'rm "d/b  b"',
    "a directory is removed": "rm -r d",
    "a new one": "mkdir n; echo n >n/n",
    "renamed": "mv d e",
    "exchanged": "mkdir f; echo A >f/a; sleep 0.1; mv d x; mv f d; mv x f",
    "a mode": "chmod 600 d/a",
    "a time only": "touch d/a",
    "a link elsewhere": "ln -sfn sparse soft",
    "a hard link is written": "echo 2 >>zlink",
    "the first of hard links goes": "rm linked",
    "one more hard link": "ln linked alink",
    "a file becomes a directory": "rm large; mkdir large; echo l >large/l; head -c 5000000 /dev/zero >much",
    "a line break in a name": 'echo n >"new\nline"',
    "nothing": "true",
}


@pytest.mark.parametrize("change", _CHANGES)
def test_capture_of_changes_is_what_a_whole_capture_is(captures: Captures, change: str) -> None:
    """Every path, digest, mode and time, after two changes in a row; the rest is not fetched again."""
    captures()
    assert captures.bytes > _MUCH
    captures.guest.as_session(f"cd .config/notes; sleep 0.1; {_CHANGES[change]}".replace("'", "'\\''"))
    found = captures()
    assert found.files == captures.whole().files
    captures.guest.as_session("cd .config/notes; echo later >>sparse")
    captures.number = 1
    found = captures()
    assert found.files == captures.whole().files


def test_little_is_fetched_where_little_has_changed(captures: Captures) -> None:
    """A change costs its own size; nothing changed costs next to nothing."""
    captures()
    captures.guest.as_session("cd .config/notes; sleep 0.1; echo more >>d/a")
    captures()
    assert captures.bytes < 50_000
    captures()
    assert captures.bytes < 50_000


def test_stamps_of_some_members_only_are_not_kept(captures: Captures, guest: LocalGuest) -> None:
    """A name with a line break ends the look at the members half-way; the next capture is whole."""
    guest.as_session('cd .config/notes; echo n >"zz\nnew"')
    captures()
    assert not list(guest.outside("/root").glob(".vmm-user-image-stamps.*"))
    assert captures().files == captures.whole().files


@pytest.mark.parametrize("known", [True, False])
def test_capture_before_a_cleaning_is_the_same_and_leaves_its_tar_to_that(
    captures: Captures, guest: LocalGuest, store: BorgStore, tmp_path: Path, known: bool
) -> None:
    """Two connections less at the end of a session; nothing is noted for a capture that never comes."""
    captures()
    if not known:
        captures.base = None
        guest.run("rm /root/.vmm-user-image-stamps.*")
    captures.guest.as_session("cd .config/notes; sleep 0.1; echo more >>d/a")
    captures.guest.fetched.clear()
    found, _archive = captured(guest, store, tmp_path, number=2, base=captures.base, last=True)
    assert (captures.bytes < 50_000) == known
    assert found.files == captures.whole().files
    assert len(list(guest.outside("/root").glob(".vmm-user-image-stamps.*"))) == 1  # of the whole one
    captured(guest, store, tmp_path, number=3, last=True)
    (tar,) = guest.outside("/root").glob(".vmm-user-image.*")
    assert tar.suffix == ".tar"
    clean(guest)
    assert not list(guest.outside("/root").glob(".vmm*"))


def test_deployed_generation_is_known_to_the_next_capture(
    captures: Captures, guest: LocalGuest, tmp_path: Path
) -> None:
    """A session's end fetches what the session changed; a cleaned guest knows nothing any more."""
    first = captures()
    clean(guest)
    assert not list(guest.outside("/root").glob(".vmm*"))
    assert captures.base is not None
    tar = tmp_path / "read-1" / "user.tar"
    deploy(guest, tar=tar, manifest=first, ua=UA, session="s", archive=captures.base.archive)
    guest.as_session("sleep 0.1; echo more >>.config/notes/d/a")
    found = captures()
    assert captures.bytes < 50_000 + _MUCH * (found.files == ())
    assert found.files == captures.whole().files
    clean(guest)
    assert captures().files == ()


def test_whole_is_fetched_where_there_is_doubt(captures: Captures, store: BorgStore) -> None:
    """Stamps of another archive or none, an archive that is gone, another definition, and every so often."""
    first = captures()
    before = captures.base
    assert before is not None
    captures()
    captures.base = replace(before, archive="ann.notes.1.s-1-00000000")
    captures()
    assert captures.bytes > _MUCH, "the guest has no stamps of that archive"

    newest = captures.base
    captures.base = replace(newest, manifest=first.__class__(**{**vars(first), "files": first.files[1:]}))
    captures()
    assert captures.bytes > _MUCH, "the manifest is not that of the stamps"

    store.delete(captures.base.archive)
    captures()
    assert captures.bytes > _MUCH, "what it would build on is gone"

    captures.number = WHOLE_EVERY - 1
    newest = captures.base
    captures.base = replace(newest, manifest=replace(newest.manifest, generation=WHOLE_EVERY - 1))
    captures()
    assert captures.bytes > _MUCH, "it is time for a whole one"

    other = replace(UA, user_data=UserData(settings=(".config/notes", ".notesrc"), exclude=("zlink",)))
    captures.number = 1
    assert captures.base is not None
    found = captures(ua=other)
    assert [entry.path for entry in found.files if entry.path.endswith("zlink")] == []
