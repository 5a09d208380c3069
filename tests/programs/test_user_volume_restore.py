"""A volume replaced, or written to by files, while its session goes on; and nobody disturbs a capture."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from dataclasses import replace

import pytest

from vmm_automation.errors import Conflict, TaskFailed
from vmm_automation.operations import session_guest, user_volume
from vmm_automation.operations.context import Context
from vmm_automation.operations.image_transfer import base_of
from vmm_automation.operations.session_abandon import find
from vmm_automation.ports import GuestResult
from vmm_automation.state import generations

from ..unit.test_cleaning import SaidGuest
from .stored_images import context
from .test_restore_in_session import actions, session

__all__ = ["context", "session"]
SIZE_MIB = 64
REPLACING = "its data are being replaced, its UA is stopped"
_MARKS = {
    "mount --bind": "mount",
    "still in use": "unmount",
    "tree_digest": "deploy",
    "start_service\n": "start",
}


class VolumeGuest(SaidGuest):
    """Keeps what it was asked to do; ``before`` comes before the steps that it names, one call each."""

    def __init__(self, **before: list[Callable[[], GuestResult | None]]) -> None:
        super().__init__()
        self.before = before
        self.did: list[str] = []
        self.serves = self.mounted = True

    def run(self, script: str, *, stdin: bytes = b"") -> GuestResult:
        """What is none of the steps stops the UA."""
        super().run(script, stdin=stdin)
        what = next((step for mark, step in _MARKS.items() if mark in script), "stop")
        self.did.append(what)
        if (waiting := self.before.get(what)) and (refused := waiting.pop(0)()):
            return refused
        if what in ("start", "stop"):
            self.serves = what == "start"
        if what in ("mount", "unmount"):
            assert what == "mount" or not self.serves
            self.mounted = what == "mount"
        return GuestResult(0, "", "")


def well() -> None:
    """Nothing comes before."""


def refused() -> GuestResult:
    return GuestResult(4, "", "it is refused")


def killed() -> GuestResult:
    raise KeyboardInterrupt


@pytest.fixture
def volume(context: Context, session: str) -> str:
    """What a session wrote that was given up is kept aside by this name; session s-1 has a volume too."""
    definition = context.site.ua("radicale")
    definition = replace(definition, user_data=replace(definition.user_data, volume_mib=SIZE_MIB))
    context.volumes.open(session=session, vm="vm-0", archive="", size_mib=SIZE_MIB)
    context.volumes.set_aside(session=session, vm="vm-0")
    user_volume.bring_up(
        context, VolumeGuest(), session=find(context, session), archive="", definition=definition
    )
    return session


def without_service(context: Context) -> None:
    """Its UA is one that a person starts."""
    definition = replace(context.site.ua("radicale"), command=())
    vars(context.site)["ua"] = {"radicale": definition}.__getitem__


def test_volume_is_replaced_while_the_ua_is_stopped(context: Context, volume: str) -> None:
    """Mounted before, swapped in between, and the UA serves from the one that was kept aside."""
    guest, before = VolumeGuest(), find(context, volume)
    with context.store.reading() as tx:
        assert generations.newest(tx, user="ann", ua="radicale")
    assert session_guest.restore(context, guest, volume, orphan="s-1")["orphan"] == "s-1"
    assert guest.did == ["mount", "stop", "unmount", "mount", "mount", "start"]
    assert context.volumes.asides() == ()
    assert (guest.serves, guest.mounted, find(context, volume)) == (True, True, before)


def test_dry_run_replaces_no_volume(context: Context, volume: str) -> None:
    """It says what would be deployed, and asks nothing of the guest."""
    guest = VolumeGuest()
    assert session_guest.restore(context, guest, volume, orphan="s-1", check=True)["changed"]
    assert guest.did == []
    assert len(context.volumes.asides()) == 1


def test_damaged_volume_does_not_stop_the_ua(context: Context, volume: str) -> None:
    """The form of what was kept aside is proven first."""
    (aside,) = context.volumes.asides()
    aside.write_bytes(aside.read_bytes()[:4096] + b"\xff" * 65536)
    guest = VolumeGuest()
    with pytest.raises(TaskFailed):
        session_guest.restore(context, guest, volume, orphan="s-1")
    assert guest.did == ["mount"]
    assert (guest.serves, find(context, volume).reason) == (True, "")


def test_session_without_a_volume_goes_on(context: Context, session: str) -> None:
    """There is nothing that could be replaced: its UA is not stopped."""
    context.volumes.open(session=session, vm="vm-0", archive="", size_mib=SIZE_MIB)
    context.volumes.set_aside(session=session, vm="vm-0")
    guest = VolumeGuest()
    with pytest.raises(Conflict, match="has no volume"):
        session_guest.restore(context, guest, session, orphan="s-1")
    assert (guest.did, guest.serves) == ([], True)


def test_volume_that_is_in_use_stays_and_the_ua_serves_from_it(context: Context, volume: str) -> None:
    """The guest does not let it go: the failure is told, and the session is as it was before."""
    guest = VolumeGuest(unmount=[refused])
    with pytest.raises(TaskFailed, match="it is refused"):
        session_guest.restore(context, guest, volume, orphan="s-1")
    assert (guest.serves, guest.mounted, find(context, volume).reason) == (True, True, "")
    assert len(context.volumes.asides()) == 1


@pytest.mark.parametrize("serving", [True, False])
@pytest.mark.parametrize("mounts", [[well, refused, refused], [well, killed]])
def test_volume_that_was_not_mounted_again_is_told_and_mounted_by_reconciling(
    context: Context, volume: str, mounts: list[Callable[[], GuestResult | None]], serving: bool
) -> None:
    """Failed or killed behind the swap: the session says that it cannot be used, with a service or not."""
    if not serving:
        without_service(context)
    guest = VolumeGuest(mount=[*mounts, well])
    guest.serves = serving
    with pytest.raises((TaskFailed, KeyboardInterrupt)):
        session_guest.restore(context, guest, volume, orphan="s-1")
    assert (guest.mounted, find(context, volume).reason) == (False, REPLACING)
    assert actions(context) == ["start_ua"]
    assert session_guest.restart(context, guest, volume)["changed"]
    assert (guest.mounted, find(context, volume).reason) == (True, "")
    assert guest.did[-1] == ("start" if serving else "mount")


def test_files_go_onto_the_volume_and_leave_no_stamps(context: Context, volume: str) -> None:
    """A generation by files lies on the disk; without one it is in the VM's home, with stamps of it."""
    of = {"session": volume, "vm": "vm-1"}
    with context.store.reading() as tx:
        newest = generations.newest(tx, user="ann", ua="radicale")
    assert newest
    stated = {True: ("/var/lib/vmm/user-data/home", "''"), False: ("/home/session", newest.archive)}
    for on_volume, (home, tag) in stated.items():
        guest = VolumeGuest()
        session_guest.restore(context, guest, volume)
        (script,) = [each for each in guest.scripts if "tree_digest" in each]
        assert {f"home={home}", f"tag={tag}"} < set(script.splitlines())
        assert base_of(context, newest, session=find(context, volume)).stamped is not on_volume
        context.volumes.drop_session(**of)


def test_nothing_takes_the_volume_away_while_its_data_are_read(context: Context, volume: str) -> None:
    """The VM is held meanwhile; for a session without a volume it is not."""
    lock = context.places.vms / context.site.name / "vm-1.lock"
    guest = VolumeGuest()

    def is_held() -> bool:
        with lock.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    for on_volume in (True, False):
        with user_volume.undisturbed(context, guest, volume):
            assert is_held() is on_volume
        context.volumes.drop_session(session=volume, vm="vm-1")
    assert guest.did == ["mount"]
