"""A user's data beyond what the UA allows: refused by the real scripts, in a guest of namespaces."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vmm_automation.errors import ImageTooLarge
from vmm_automation.images.borg import BorgStore
from vmm_automation.model.session import LIVE, SessionState
from vmm_automation.operations import session_guest
from vmm_automation.operations.context import Context
from vmm_automation.operations.image_preview import preview
from vmm_automation.operations.session import find
from vmm_automation.operations.user_image import deploy
from vmm_automation.operations.user_image_fetch import Base
from vmm_automation.site import Site
from vmm_automation.state import sessions

from .local_guest import UA, LocalGuest, captured, leftovers
from .test_user_image_preview import context

__all__ = ["context"]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces with accounts need root")
SMALL = replace(UA, user_data=replace(UA.user_data, max_mib=1, max_paths=5))
MIB = 1 << 20
FILL = f"mkdir -p .config/notes; cd .config/notes; head -c {MIB} /dev/urandom >big"


def as_base(store: BorgStore, made: tuple[Any, str]) -> Base:
    manifest, archive = made
    return Base(archive, manifest, lambda into: store.extract(archive, into=into))


def refused(guest: LocalGuest, store: BorgStore, tmp_path: Path, **of: Any) -> dict[str, Any]:
    """What is told of the refusal of a capture, which leaves no trace and moves nothing."""
    before, guest.transfers = store.archives(), 0
    with pytest.raises(
        ImageTooLarge, match="Cannot capture the user data of UA 'notes' on VM 'local'"
    ) as wrong:
        captured(guest, store, tmp_path, ua=SMALL, **of)
    assert (guest.transfers, store.archives(), leftovers(guest, tmp_path)) == (0, before, [])
    told: dict[str, Any] = wrong.value.details["cap"]
    return told


@pytest.mark.parametrize("stamped", [True, False])
def test_data_beyond_the_cap_are_refused_in_the_guest_and_the_last_generation_stays(
    guest: LocalGuest, store: BorgStore, tmp_path: Path, stamped: bool
) -> None:
    """By the byte, with what has changed or with all of it; the processes that stood still go on."""
    guest.as_session(FILL)
    guest.in_background("while :; do sleep 0.1; done")
    first = captured(guest, store, tmp_path, ua=SMALL)
    before = guest.tree()
    guest.as_session("cd .config/notes; echo more >more; mkdir cache; echo >a.tmp; truncate -s 9M cache/x")
    base = as_base(store, first) if stamped else None
    told = refused(guest, store, tmp_path, number=2, base=base)
    assert (told["within"], told["size"], told["paths"]) == (False, MIB + 5, 3)
    assert told["largest"] == [
        {"path": ".config/notes/big", "size": MIB},
        {"path": ".config/notes/more", "size": 5},
    ]
    assert "T" not in guest.run("ps -o stat= -u session").stdout
    wide = replace(SMALL, user_data=replace(SMALL.user_data, max_mib=2))
    second, archive = captured(guest, store, tmp_path, number=2, ua=wide, base=base)
    assert second.size == MIB + 5
    tar, manifest = store.read(archive, into=tmp_path / "second")  # and is deployed where the cap is lower
    deploy(guest, tar=tar, manifest=manifest, ua=SMALL, session="s-2")
    tar, manifest = store.read(first[1], into=tmp_path / "first")
    deploy(guest, tar=tar, manifest=manifest, ua=SMALL, session="s-2")
    assert guest.tree() == before


@pytest.mark.parametrize(
    ("more", "size", "paths"),
    [
        ("truncate -s 3G hole", (3 << 30) + MIB, 3),
        ("ln big second", 2 * MIB, 3),
        ("touch 1 2 3 4", MIB, 6),
    ],
)
def test_holes_hard_links_and_empty_files_count(
    guest: LocalGuest, store: BorgStore, tmp_path: Path, more: str, size: int, paths: int
) -> None:
    """As the manifest counts them, before a byte of them is read."""
    guest.as_session(f"{FILL}; {more}")
    told = refused(guest, store, tmp_path)
    assert (told["size"], told["paths"]) == (size, paths)


def test_what_the_guest_cannot_measure_is_refused_by_the_controller(
    guest: LocalGuest, store: BorgStore, tmp_path: Path
) -> None:
    """A name with a line break is no line: the guest passes over it, the controller counts it."""
    guest.as_session(f'{FILL}; printf 12345 >"a\nb"')
    with pytest.raises(ImageTooLarge):
        captured(guest, store, tmp_path, ua=SMALL)
    assert (store.archives(), leftovers(guest, tmp_path)) == ((), [])


def capped(context: Context, *, mib: int) -> Context:
    """The same site, whose UA allows so much."""
    file = context.site.directory / "uas" / "notes.yml"
    file.write_text(file.read_text().replace("user_data: {", f"user_data: {{max_mib: {mib}, ", 1))
    return replace(context, site=Site.load(context.site.directory))


def test_preview_tells_the_verdict_and_a_refused_close_can_be_repeated(
    context: Context, guest: LocalGuest
) -> None:
    """The session stays closing with all of its data; with a larger cap, the same command ends it."""
    small = capped(context, mib=1)
    guest.as_session(FILL)
    told = preview(small, guest, "s-9")
    assert (told["refused"], told["cap"]["within"], told["cap"]["size"]) == ("", True, MIB)
    guest.as_session("echo 1 >.config/notes/more")
    before = guest.tree()
    told = preview(small, guest, "s-9")
    assert (told["cap"]["within"], told["changes"]) == (False, [])
    assert "1.1 MiB in 3 paths, of 1 MiB" in told["refused"]
    with small.store.transaction() as tx:
        now = small.clock.now()
        sessions.move_to(tx, session_id="s-9", state=SessionState.CLOSING, expected=LIVE, now=now)
    with pytest.raises(ImageTooLarge, match=r"largest '\.config/notes/big' with 1\.0 MiB") as refused:
        session_guest.save(small, guest, "s-9")
    assert refused.value.hint.startswith("user_data: {max_mib: 2} in uas/notes.yml")
    assert (guest.tree(), find(small, "s-9").state) == (before, SessionState.CLOSING)
    text = (context.site.directory / "uas" / "notes.yml").read_text()
    (context.site.directory / "uas" / "notes.yml").write_text(text.replace("max_mib: 1,", "max_mib: 2,"))
    wide = replace(context, site=Site.load(context.site.directory))
    assert session_guest.save(wide, guest, "s-9")["generation"]["number"] == 1
