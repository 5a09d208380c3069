"""What an image may not hold: refused with all of its paths, or left out and told; on a local guest."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from vmm_automation.errors import ArtifactInvalid
from vmm_automation.images.borg import BorgStore
from vmm_automation.images.omitted import Omitted
from vmm_automation.model.image import Manifest
from vmm_automation.model.policies import RefusedEntries
from vmm_automation.operations import audit_log, session_guest
from vmm_automation.operations.context import Context
from vmm_automation.operations.user_image_fetch import Base
from vmm_automation.site import Site

from .local_guest import UA, LocalGuest, captured
from .test_user_image_preview import context

__all__ = ["context"]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces with accounts need root")

SKIPPING = replace(UA, user_data=replace(UA.user_data, refused_entries=RefusedEntries.SKIP))
_HOME = """
mkdir -p .config/notes/d .config/notes/exceptions; cd .config/notes
echo a >d/a; ln d/a d/b; ln -s d/a soft; head -c 5000000 /dev/urandom >large; echo z >z; sleep 0.1
"""
#: ../.. leads to the home and is let in, one more is not
_LEADS_OUT = "ln -s /etc/passwd absolute; ln -s ../../../etc up; ln -s ../.. home; ln absolute second"


@pytest.fixture
def tree(guest: LocalGuest) -> LocalGuest:
    """A home with nothing in it that an image may not hold."""
    guest.as_session(_HOME)
    return guest


def _extracted(store: BorgStore, archive: str, into: Path) -> Path:
    return store.extract(archive, into=into)


def paths(manifest: Manifest) -> set[str]:
    return {entry.path.removeprefix(".config/notes/") for entry in manifest.files}


def test_links_that_lead_out_are_left_out_where_the_ua_says_so(
    tree: LocalGuest, store: BorgStore, tmp_path: Path
) -> None:
    """The rest is what it is without them, proven as ever; each is told with its reason."""
    without, _ = captured(tree, store, tmp_path, ua=SKIPPING)
    tree.as_session(f"cd .config/notes; {_LEADS_OUT}")
    told: list[Omitted] = []
    manifest, archive = captured(tree, store, tmp_path, number=2, ua=SKIPPING, on_omitted=told.extend)
    assert {each.path for each in told} == {f".config/notes/{name}" for name in ("absolute", "up", "second")}
    assert {each.path for each in told if "leads out of the home" in each.why} == {
        ".config/notes/absolute",
        ".config/notes/up",
    }
    assert paths(manifest) == {*paths(without), "home"}
    store.read(archive, into=tmp_path / "read")


def test_they_are_refused_where_it_does_not(tree: LocalGuest, store: BorgStore, tmp_path: Path) -> None:
    """All of them are named, and nothing is stored."""
    tree.as_session(f"cd .config/notes; {_LEADS_OUT}")
    with pytest.raises(ArtifactInvalid) as refused:
        captured(tree, store, tmp_path)
    named = {each["path"] for each in refused.value.details["refused_entries"]}
    assert named >= {".config/notes/absolute", ".config/notes/up"}
    assert store.archives() == ()


def test_captures_after_one_that_left_something_out_are_whole(
    tree: LocalGuest, store: BorgStore, tmp_path: Path
) -> None:
    """A file that becomes such a link is there no more; what was left out stays out, unchanged or not."""
    base: Base | None = None
    for number, change in enumerate(("true", "rm z; ln -s / z", "echo more >>d/a", "true"), start=1):
        tree.as_session(f"cd .config/notes; sleep 0.1; {change}")
        told: list[Omitted] = []
        manifest, archive = captured(
            tree, store, tmp_path, number=number, ua=SKIPPING, base=base, on_omitted=told.extend
        )
        assert [each.path for each in told] == [".config/notes/z"] * (number > 1)
        assert ("z" in paths(manifest)) == (number == 1)
        whole, _ = captured(tree, store, tmp_path / str(number), number=number, ua=SKIPPING)
        assert manifest.root_digest == whole.root_digest
        base = Base(archive, manifest, partial(_extracted, store, archive))
        store.read(archive, into=tmp_path / f"read-{number}")


def test_pipes_and_sockets_are_told_and_in_the_audit_log(context: Context, guest: LocalGuest) -> None:
    """They hold no data; who looks for them in the generation knows why they are not there."""
    bind = 'import socket; socket.socket(socket.AF_UNIX).bind(".config/notes/socket")'
    guest.as_session(
        "mkdir -p .config/notes; echo 1 >.config/notes/a; mkfifo .config/notes/pipe;"
        f" python3 -c '\\''{bind}'\\''"
    )
    done = session_guest.capture(context, guest, "s-9")
    assert done["omitted"] == [
        {"path": ".config/notes/pipe", "why": "it is a named pipe, which holds no data"},
        {"path": ".config/notes/socket", "why": "it is a socket, which holds no data"},
    ]
    (event,) = [each for each in audit_log.read(context.store)["events"] if each["action"] == "image.capture"]
    assert event["result"]["omitted"] == done["omitted"]
    guest.as_session("rm .config/notes/pipe .config/notes/socket")
    assert session_guest.capture(context, guest, "s-9")["omitted"] == []


def test_definition_of_a_ua_says_what_becomes_of_them(context: Context, guest: LocalGuest) -> None:
    """The key of the definition reaches the capture of a session."""
    guest.as_session("mkdir -p .config/notes; echo 1 >.config/notes/a; ln -s /etc .config/notes/out")
    with pytest.raises(ArtifactInvalid):
        session_guest.capture(context, guest, "s-9")
    file = context.site.directory / "uas" / "notes.yml"
    file.write_text(file.read_text().replace("user_data: {", "user_data: {refused_entries: skip, ", 1))
    made = replace(context, site=Site.load(context.site.directory))
    made.__dict__.update(store=context.store, images=context.images, hypervisor=context.hypervisor)
    assert made.site.ua("notes").user_data.refused_entries is RefusedEntries.SKIP
    done = session_guest.capture(made, guest, "s-9")
    assert [each["path"] for each in done["omitted"]] == [".config/notes/out"]
