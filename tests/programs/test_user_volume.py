"""What becomes of a session's volume: which sessions get one, what is kept, what the VM is left with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vmm_automation.errors import Conflict, NotFound, TaskFailed
from vmm_automation.images.borg import archive_name
from vmm_automation.images.manifest import to_generation
from vmm_automation.model.policies import Tier
from vmm_automation.model.session import LIVE, Session, SessionState
from vmm_automation.operations import image_upkeep, user_volume, volume_upkeep
from vmm_automation.operations.context import Context
from vmm_automation.ports import GuestResult
from vmm_automation.state import generations, sessions, vms

from ..fake_clock import FakeClock
from ..unit.one_vm import OneVm, context, vm
from ..unit.test_lease_end import with_policies
from .stored_images import make_tar, manifest_of

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

    def fetch(self, remote: str, local: Path) -> None:
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


def test_what_an_active_session_wrote_is_kept_aside_if_nothing_was_captured(
    context: Context, guest: MountingGuest
) -> None:
    """Until the session has ended it is left alone; then a person finds it, and may delete it."""
    bring_up(context, guest)
    user_volume.settle(context, "vm-1")
    assert user_volume.is_open(context, "s-1", vm="vm-1")
    ended(context)
    user_volume.settle(context, "vm-1")
    session = the_session(context)
    of: dict[str, Any] = {"user": session.user, "ua": session.ua}
    (found,) = volume_upkeep.listed(context, **of, orphaned=True)
    assert (found["archive"], found["session"], found["tier"]) == ("s-1", "s-1", "volume")
    assert volume_upkeep.listed(context, user="nobody", orphaned=True) == []
    assert volume_upkeep.aside(context, "s-1", user="nobody", ua=session.ua) is None
    volume_upkeep.delete_aside(context, "s-1", **of, check=True)
    volume_upkeep.delete_aside(context, "s-1", **of)
    with pytest.raises(NotFound):
        volume_upkeep.delete_aside(context, "s-1", **of)


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


def test_repair_lets_go_what_nobody_names_or_that_is_damaged(context: Context, guest: MountingGuest) -> None:
    """A layer of a generation that is gone, a damaged one, an overlay without VM; a second run: none."""
    archive = kept(context, guest)
    context.volumes.commit(**OF, archive="nobody.1")
    ended(context)
    with context.store.transaction() as tx:
        vms.forget(tx, vm="vm-1")
    layer = context.volumes.layer(archive)
    assert layer
    file = context.places.user_volumes / "layers" / f"{layer.name}.qcow2"
    file.chmod(0o600)
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    told = image_upkeep.repair(context, check=True)["volumes"]
    assert told == {"damaged": [archive], "unnamed": ["nobody.1"], "vms_gone": ["vm-1"]}
    assert image_upkeep.repair(context)["volumes"] == told
    assert [path.stem for path in context.volumes.asides()] == ["s-1"]
    assert not any(image_upkeep.repair(context)["volumes"].values())


def test_volume_of_another_data_version_or_without_one_to_replace_is_refused(
    context: Context, vm: OneVm, guest: MountingGuest
) -> None:
    """What was kept aside is of a UA version; a session whose data came as files has no place for it."""
    del vm
    bring_up(context, guest)
    context.volumes.set_aside(**OF)
    session = the_session(context)
    plain = context.site.ua("radicale")
    definition = replace(plain, versions=(replace(plain.versions[0], version=session.version),))
    with pytest.raises(NotFound, match="'other'"):
        volume_upkeep.require_aside(context, "other", session=session, definition=definition)
    newer = replace(definition.versions[0], version="9", data_version=2)
    two = replace(definition, versions=(*definition.versions, newer))
    with pytest.raises(Conflict, match="data version 1, not 2"):
        volume_upkeep.require_aside(context, "s-1", session=replace(session, version="9"), definition=two)
    volume_upkeep.require_aside(context, "s-1", session=session, definition=definition)
    with pytest.raises(Conflict, match="has no volume"):
        user_volume.swap(context, guest, session=session, name="s-1")


def test_flatten_looks_at_the_newest_generations(
    context: Context, guest: MountingGuest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chain that is too long is told of by a dry run, and made one layer by the other."""
    kept(context, guest)
    assert not volume_upkeep.flatten(context)["changed"]
    monkeypatch.setattr("vmm_automation.images.volume.DEPTH", 0)
    assert volume_upkeep.flatten(context, check=True)["flattened"][0]["generation"] == 1
    assert volume_upkeep.flatten(context)["changed"]


def test_session_that_moved_on_leaves_no_volume_behind(context: Context, guest: MountingGuest) -> None:
    """The overlay on a VM that is not the session's own is only removed."""
    bring_up(context, guest)
    file = context.volumes.session_file(**OF)
    file.rename(context.volumes.session_file(session="s-1", vm="vm-2"))
    user_volume.settle(context, "vm-2")
    assert not context.volumes.asides()
    assert not context.volumes.sessions_on()
