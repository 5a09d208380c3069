"""Volumes after their sessions: what is kept aside, repaired, flattened, and what a VM's rebuild leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.claims import claim
from vmm_automation.errors import Conflict, NotFound
from vmm_automation.model.session import LIVE, SessionState
from vmm_automation.operations import (
    image_file,
    image_listing,
    image_store,
    image_upkeep,
    user_volume,
    volume_upkeep,
)
from vmm_automation.operations.context import Context
from vmm_automation.operations.image_listing import listing
from vmm_automation.state import sessions, vms

from ..unit.one_vm import OneVm, context, vm
from .test_user_volume import OF, MountingGuest, bring_up, ended, guest, kept, the_session

__all__ = ["context", "guest", "vm"]


def kept_aside(context: Context, **of: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = listing(context.store, context.volumes, **of, orphaned=True)["generations"]
    return found


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
    (found,) = kept_aside(context, **of)
    assert (found["archive"], found["session"], found["tier"]) == ("s-1", "s-1", "volume")
    assert kept_aside(context, user="nobody") == []
    assert volume_upkeep.aside(context, "s-1", user="nobody", ua=session.ua) is None
    volume_upkeep.delete_aside(context, "s-1", **of, check=True)
    volume_upkeep.delete_aside(context, "s-1", **of)
    with pytest.raises(NotFound):
        volume_upkeep.delete_aside(context, "s-1", **of)


def test_volume_that_was_kept_aside_is_read_by_a_session_only(
    context: Context, guest: MountingGuest, tmp_path: Path
) -> None:
    """Show, diff, export and restore refuse it with what to type; to others it does not exist."""
    bring_up(context, guest)
    ended(context)
    user_volume.settle(context, "vm-1")
    session = the_session(context)
    of: dict[str, Any] = {"user": session.user, "ua": session.ua, "orphan": "s-1"}
    refusing: list[Callable[[], Any]] = [
        lambda: image_listing.manifest(context.store, context.volumes, **of),
        lambda: image_listing.difference(context.store, context.volumes, **of, old=1),
        lambda: image_file.export(context, **of, target=tmp_path / "a.vmmimage"),
        lambda: image_store.restore(context, **of),
    ]
    for refused in refusing:
        with pytest.raises(Conflict, match="'s-1' is a volume and has no manifest") as failure:
            refused()
        assert failure.value.hint == f"vmm session open --user {session.user} --ua {session.ua}"
    assert not list(tmp_path.glob("*.vmmimage"))
    with pytest.raises(NotFound):
        image_listing.manifest(context.store, context.volumes, **{**of, "user": "nobody"})
    with context.store.transaction() as tx:
        vms.mark_clean(tx, vm="vm-2", now=context.clock.now())
        claim(tx, "s-2", ua=session.ua, version=session.version, vm="vm-2", now=context.clock.now())
        now = context.clock.now()
        sessions.move_to(tx, session_id="s-2", state=SessionState.ACTIVE, expected=LIVE, now=now)
    with pytest.raises(Conflict) as failure:
        refusing[0]()
    assert failure.value.hint == "vmm image deploy s-2 --orphan s-1 --yes"


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
    assert image_upkeep.repair(context)["volumes"] == {"damaged": [], "unnamed": ["nobody.1"], "vms_gone": []}
    assert image_upkeep.repair(context, remove=True)["changed"]
    assert context.volumes.archives() == ()
    again = image_upkeep.repair(context, remove=True)
    assert not (again["changed"] or any(again["volumes"].values()))


def test_damaged_layer_stays_where_it_may_be_all_that_is_left(context: Context, guest: MountingGuest) -> None:
    """The portable store has lost the archive: a repair tells of the layer's damage, and keeps it."""
    archive = kept(context, guest)
    layer = context.volumes.layer(archive)
    assert layer
    file = context.places.user_volumes / "layers" / f"{layer.name}.qcow2"
    file.chmod(0o600)
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    context.images.delete(archive)
    assert image_upkeep.repair(context, remove=True)["volumes"]["damaged"] == [archive]
    assert context.volumes.archives() == (archive,)


def test_rebuilt_vm_loses_no_volume(context: Context, vm: OneVm, guest: MountingGuest) -> None:
    """Its disk is new and nothing is attached; what was written is found by the next cleaning."""
    bring_up(context, guest)
    ended(context)
    vm.power_cut()
    with context.store.transaction() as tx:
        vms.mark_clean(tx, vm="vm-1", now=context.clock.now())
    assert context.volumes.session_file(**OF).exists()
    user_volume.settle(context, "vm-1")
    assert [path.stem for path in context.volumes.asides()] == ["s-1"]


def test_disk_of_an_attempt_that_was_cut_off_is_let_go_first(
    context: Context, vm: OneVm, guest: MountingGuest
) -> None:
    """Else the guest would write to a file that has no name any more, under the name of another."""
    bring_up(context, guest)
    bring_up(context, guest)
    assert guest.did == ["mount", "unmount", "mount"]
    assert vm.disk == context.volumes.session_file(**OF)


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
