"""An older generation put in place while a session goes on: its UA runs afterwards, whatever came between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from vmm_automation.errors import ArtifactInvalid, TaskFailed
from vmm_automation.model.session import LIVE, SessionState
from vmm_automation.operations import session_guest
from vmm_automation.operations.context import Context
from vmm_automation.operations.reconcile import reconcile
from vmm_automation.operations.session_abandon import find
from vmm_automation.ports import GuestResult
from vmm_automation.state import generations, sessions, vms

from ..unit.one_vm import OneVm
from ..unit.test_cleaning import SaidGuest
from .stored_images import context, store_generation

__all__ = ["context"]


class ServingGuest(SaidGuest):
    """Knows whether its UA runs; deploying there does what the test says."""

    def __init__(self, deploying: Callable[[], GuestResult] = lambda: GuestResult(0, "", "")) -> None:
        super().__init__()
        self.serves = True
        self.deploying = deploying

    def run(self, script: str, *, stdin: bytes = b"") -> GuestResult:
        """By what the script is for."""
        if "tree_digest" in script:
            assert not self.serves
            return self.deploying()
        self.serves = "start_service\n" in script
        return super().run(script, stdin=stdin)


@pytest.fixture
def session(context: Context) -> str:
    """An active session of ann's, who has two generations."""
    vars(context)["hypervisor"] = OneVm()
    for content in (b"first", b"second"):
        store_generation(context, {".config/radicale/config": content})
    with context.store.transaction() as tx:
        now = context.clock.now()
        vms.mark_clean(tx, vm="vm-1", now=now)
        sessions.claim(
            tx, session_id="s-1", user="ann", ua="radicale", version="3.2.3", vm="vm-1", terminal="phone",
            explanation={}, owner="", now=now,
        )  # fmt: skip
        sessions.move_to(tx, session_id="s-1", state=SessionState.ACTIVE, expected=LIVE, now=now)
    return "s-1"


def actions(context: Context) -> list[str]:
    return [finding["action"] for finding in reconcile(context, check=True)["findings"]]


def test_data_are_replaced_while_the_ua_is_stopped(context: Context, session: str) -> None:
    """Afterwards it runs, and the session is as it was but for what it says was deployed."""
    guest, before = ServingGuest(), find(context, session)
    assert session_guest.restore(context, guest, session, number=1)["deployed"] == 1
    assert (guest.serves, find(context, session)) == (True, replace(before, deployed=1))


def test_generation_that_is_lost_does_not_stop_the_ua(context: Context, session: str) -> None:
    """It is read and proven first."""
    with context.store.reading() as tx:
        context.images.delete(generations.get(tx, user="ann", ua="radicale", number=1).archive)
    guest = ServingGuest()
    with pytest.raises(ArtifactInvalid):
        session_guest.restore(context, guest, session, number=1)
    assert (guest.scripts, guest.serves, find(context, session).reason) == ([], True, "")


def test_guest_that_cannot_take_the_data_runs_its_ua_again(context: Context, session: str) -> None:
    """A full disk there: the failure is told, with the UA on the data of before."""
    guest = ServingGuest(lambda: GuestResult(2, "", "tar: no space left on device"))
    with pytest.raises(TaskFailed, match="no space left"):
        session_guest.restore(context, guest, session, number=1)
    assert (guest.serves, find(context, session).reason, actions(context)) == (True, "", [])


def test_run_killed_while_the_ua_is_stopped_leaves_that_to_reconciling(
    context: Context, session: str
) -> None:
    """The session says why it cannot be used; the next reconciliation starts the UA, and all is well."""

    def killed() -> GuestResult:
        raise KeyboardInterrupt

    guest = ServingGuest(killed)
    with pytest.raises(KeyboardInterrupt):
        session_guest.restore(context, guest, session, number=1)
    assert (guest.serves, find(context, session).reason) == (
        False,
        "its data are being replaced, its UA is stopped",
    )
    assert actions(context) == ["start_ua"]
    assert session_guest.restart(context, guest, session)["changed"]
    assert (guest.serves, actions(context)) == (True, [])
