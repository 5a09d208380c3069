"""What becomes of a session's volume: which sessions get one, what is kept, what the VM is left with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vmm_automation.errors import TaskFailed
from vmm_automation.images.borg import archive_name
from vmm_automation.images.manifest import to_generation
from vmm_automation.model.policies import Tier
from vmm_automation.model.session import LIVE, Session, SessionState
from vmm_automation.operations import user_volume
from vmm_automation.operations.context import Context
from vmm_automation.ports import GuestResult
from vmm_automation.state import generations, sessions

from ..fake_clock import FakeClock
from ..unit.one_vm import OneVm, context, vm
from ..unit.test_lease_end import with_policies
from .stored_images import ensure_store, make_tar, manifest_of

__all__ = ["context", "vm"]
OF = {"session": "s-1", "vm": "vm-1"}


class MountingGuest:
    """Implements ``ports.Guest``: keeps what it was asked to do; ``refuses`` names what it cannot, once."""

    name = "vm-1"

    def __init__(self, *refuses: str) -> None:
        self.refuses = list(refuses)
        self.did: list[str] = []
        self.kept: list[bytes] = []

    def run(self, script: str, *, stdin: bytes = b"") -> GuestResult:
        """As the scripts for volumes."""
        does = {"mount --bind": "mount", "cmp -s": "seal", "still in use": "unmount"}
        (what,) = [word for mark, word in does.items() if mark in script]
        if what in self.refuses:
            self.refuses.remove(what)
            return GuestResult(7, "", f"cannot {what}")
        self.did.append(what)
        if what == "seal":
            self.kept = stdin.split(b"\0")[:-1]
        return GuestResult(0, "", "")

    def put(self, local: Path, remote: str) -> None:
        """Not asked for here."""
        raise NotImplementedError

    def fetch(self, remote: str, local: Path, *, limit: int) -> None:
        """Not asked for here."""
        raise NotImplementedError


@pytest.fixture
def guest() -> MountingGuest:
    return MountingGuest()


def the_session(context: Context) -> Session:
    with context.store.reading() as tx:
        return sessions.get(tx, session_id="s-1")


def bring_up(context: Context, guest: MountingGuest, *, archive: str = "") -> bool:
    definition = context.site.ua("radicale")
    definition = replace(definition, user_data=replace(definition.user_data, volume_mib=64))
    return user_volume.bring_up(
        context, guest, session=the_session(context), archive=archive, definition=definition
    )


def captured(context: Context, *, number: int = 1, consistency: str = "stopped") -> str:
    """A generation of the session's as closing leaves it; its archive."""
    assert isinstance(context.clock, FakeClock)
    tar = make_tar(context.places.home / "tars" / "user.tar", {"s/a": b"x"})
    session = the_session(context)
    manifest = manifest_of(tar, number=number, clock=context.clock, user=session.user)
    manifest = replace(manifest, consistency=consistency, ua=session.ua, fence=session.fence, session="s-1")
    archive = archive_name(user=session.user, ua=session.ua, number=number, session="s-1")
    ensure_store(context.places.user_images)
    context.images.write(archive, tar=tar, manifest=manifest)
    with context.store.transaction() as tx:
        generations.add(tx, generation=to_generation(manifest, archive), manifest=manifest)
    return archive


def kept(context: Context, guest: MountingGuest, **of: Any) -> str:
    """The archive of a generation that the session's volume was to become the layer of."""
    bring_up(context, guest)
    archive = captured(context, **of)
    user_volume.keep(context, guest, session=the_session(context), number=of.get("number", 1))
    return archive


def ended(context: Context, state: SessionState = SessionState.FAILED) -> None:
    with context.store.transaction() as tx:
        now = context.clock.now()
        sessions.move_to(tx, session_id="s-1", state=state, expected=LIVE, now=now)


def test_ua_decides_on_the_tier_before_the_site(context: Context) -> None:
    """The site's policy holds where a UA's definition says nothing; without both data go as files."""
    plain = context.site.ua("radicale")
    stated = {tier: replace(plain, user_data=replace(plain.user_data, tier=tier)) for tier in (None, *Tier)}
    for policy, expected in ((Tier.PORTABLE, False), (Tier.VOLUME, True)):
        site = with_policies(context, user_data_tier=policy)
        assert user_volume.is_wanted(site, stated[None]) is expected
        assert user_volume.is_wanted(site, stated[Tier.VOLUME])
        assert not user_volume.is_wanted(site, stated[Tier.PORTABLE])
    assert not user_volume.is_wanted(context, plain)


def test_volume_becomes_the_layer_of_what_was_captured(
    context: Context, vm: OneVm, guest: MountingGuest
) -> None:
    """Only the generation's paths and those above stay on it; the VM has none, the next session the layer."""
    archive = kept(context, guest)
    assert guest.did == ["mount", "seal"]
    assert guest.kept == [b"s", b"s/a"]
    assert vm.disk is None
    assert context.volumes.archives() == (archive,)
    assert bring_up(context, guest, archive=archive)
    assert vm.disk == context.volumes.session_file(**OF)


def test_session_whose_data_were_stored_for_a_move_can_go_on_where_it_was(
    context: Context, vm: OneVm, guest: MountingGuest
) -> None:
    """The move is undone after its volume became a layer: the session has one with that content again."""
    archive = kept(context, guest)
    user_volume.mount(context, guest, "s-1")
    file = context.volumes.session_file(**OF)
    layer = context.volumes.layer(archive)
    assert layer
    assert vm.disk == file
    assert [path.stem for path in context.volumes.chain(file)][1:] == [layer.name, "blank-64"]


@pytest.mark.parametrize(("consistency", "refuses"), [("live", ()), ("frozen", ()), ("stopped", ("seal",))])
def test_volume_that_may_hold_more_than_was_captured_is_no_layer(
    context: Context, consistency: str, refuses: tuple[str, ...]
) -> None:
    """Something ran while the data were read, or other paths are there: the generation goes by files."""
    guest = MountingGuest(*refuses)
    kept(context, guest, consistency=consistency)
    assert context.volumes.archives() == ()
    assert user_volume.is_open(context, "s-1", vm="vm-1")


def test_layer_that_a_guest_cannot_mount_is_replaced_by_an_empty_volume(context: Context, vm: OneVm) -> None:
    """The caller is told to deploy by files; a guest that mounts neither has no session."""
    archive = kept(context, MountingGuest())
    guest = MountingGuest("mount")
    assert not bring_up(context, guest, archive=archive)
    assert guest.did == ["unmount", "mount"]
    assert len(context.volumes.chain(context.volumes.session_file(**OF))) == 2
    user_volume.let_go(context, guest)
    with pytest.raises(TaskFailed, match="cannot mount"):
        bring_up(context, MountingGuest("mount", "mount"), archive=archive)
    assert vm.disk


def test_mounting_again_attaches_nothing_twice(context: Context, vm: OneVm, guest: MountingGuest) -> None:
    """After a start of the VM the disk is plugged in again, and only then."""
    user_volume.mount(context, guest, "s-1")
    assert (vm.disk, guest.did) == (None, [])
    bring_up(context, guest)
    user_volume.mount(context, guest, "s-1")
    vm.power_cut()
    user_volume.mount(context, guest, "s-1")
    assert vm.disk == context.volumes.session_file(**OF)


def test_what_was_captured_is_not_kept_twice(context: Context, guest: MountingGuest) -> None:
    """A closing that noted its generation leaves nothing of its volume behind but the layer."""
    kept(context, guest)
    with context.store.transaction() as tx:
        sessions.set_generation(tx, session_id="s-1", generation=1)
    ended(context)
    user_volume.settle(context, "vm-1")
    assert not context.volumes.asides()
    assert not context.volumes.sessions_on()
    assert len(context.volumes.archives()) == 1


def test_session_that_moved_on_leaves_no_volume_behind(context: Context, guest: MountingGuest) -> None:
    """The overlay on a VM that is not the session's own is only removed."""
    bring_up(context, guest)
    file = context.volumes.session_file(**OF)
    file.rename(context.volumes.session_file(session="s-1", vm="vm-2"))
    user_volume.settle(context, "vm-2")
    assert not context.volumes.asides()
    assert not context.volumes.sessions_on()


@pytest.mark.parametrize(("mode", "aside"), [("read-only", 0), ("branch", 1)])
def test_volume_of_a_session_that_does_not_write_is_never_a_layer(
    context: Context, guest: MountingGuest, mode: str, aside: int
) -> None:
    """Whatever was captured meanwhile. In the end that of a branch is kept aside, unless it was saved."""
    bring_up(context, guest)
    captured(context)
    with context.store.transaction() as tx:
        tx.execute("UPDATE sessions SET mode = :mode", mode=mode)
    user_volume.keep(context, guest, session=the_session(context), number=1)
    assert (guest.did, context.volumes.archives()) == (["mount"], ())
    ended(context)
    user_volume.settle(context, "vm-1")
    assert len(context.volumes.asides()) == aside
    assert not context.volumes.sessions_on()


def test_branch_that_was_saved_leaves_no_volume(context: Context, guest: MountingGuest) -> None:
    """What it wrote is kept aside as an archive already, though there was no generation before."""
    bring_up(context, guest)
    with context.store.transaction() as tx:
        tx.execute("UPDATE sessions SET mode = 'branch'")
        sessions.set_generation(tx, session_id="s-1", generation=0)
    ended(context)
    user_volume.settle(context, "vm-1")
    assert (context.volumes.asides(), context.volumes.sessions_on()) == ((), ())
