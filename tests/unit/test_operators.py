"""What only an operator may do with VMs, UAs, pools and stored images, and who that is not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from vmm_automation.errors import GuestUnreachable, NotPermitted, VmmError
from vmm_automation.model.access import Access
from vmm_automation.model.retention import Retention
from vmm_automation.operations import (
    audit_log,
    base_image,
    deployment,
    image_file,
    image_store,
    image_upkeep,
    pool,
    session,
    session_guest,
    ua_lifecycle,
    ua_rollout,
    ua_status,
    volume_upkeep,
    watcher,
)
from vmm_automation.operations import vm as vms
from vmm_automation.operations.context import Context
from vmm_automation.operations.pool_hands import VmHands
from vmm_automation.operations.ua_rollout_plan import Terms
from vmm_automation.ports import GuestResult
from vmm_automation.state.pools import Drain

from .one_vm import OneVm, context, vm
from .test_identity import SITE, acting

__all__ = ["context", "vm"]


class NoGuest:
    """Implements ``ports.Guest``; nothing reaches it."""

    name = "vm-1"

    def run(self, script: str, *, stdin: bytes = b"") -> GuestResult:
        del script, stdin
        raise GuestUnreachable("VM 'vm-1' could not be reached")

    def put(self, local: Path, remote: str) -> None:
        del local, remote
        raise GuestUnreachable("VM 'vm-1' could not be reached")

    def fetch(self, remote: str, local: Path, *, limit: int) -> None:
        del local, remote, limit
        raise GuestUnreachable("VM 'vm-1' could not be reached")


class NoImages:
    """A store of images with nothing in it."""

    def stored_since(self) -> dict[str, Any]:
        return {}


GUEST = NoGuest()
TERMS = Terms(version="3.5.10")
OF = {"user": "ada", "ua": "radicale"}
VERBS: dict[str, Callable[[Context], Any]] = {
    "base image": lambda c: base_image.present(c, "none", check=True),
    "vm create": lambda c: vms.present(c, ["vm-9"], profile="none", check=True),
    "vm stop": lambda c: vms.stopped(c, ["vm-1"], force=True, check=True),
    "vm rebuild": lambda c: vms.rebuilt(c, ["vm-1"], allow_destroy=True, check=True),
    "vm delete": lambda c: vms.absent(c, ["vm-1"], allow_destroy=True, check=True),
    "ua install": lambda c: ua_rollout.opened(c, ["vm-9"], ua_id="radicale", terms=TERMS, check=True),
    "ua install, on a VM": lambda c: ua_rollout.on_vm(
        c, GUEST, lambda: deployment.active(c, GUEST, ua_id="none"), ua_id="none", terms=TERMS
    ),
    "ua remove": lambda c: deployment.absent(c, GUEST, ua_id="radicale", allow_destroy=True, check=True),
    "ua restore": lambda c: deployment.restored(c, GUEST, check=True),
    "ua deliver": lambda c: ua_lifecycle.delivered(c, GUEST, ua_id="none", check=True),
    "ua activate": lambda c: ua_lifecycle.activated(c, GUEST, ua_id="none", check=True),
    "ua deactivate": lambda c: ua_lifecycle.deactivated(c, GUEST, ua_id="radicale", check=True),
    "ua rollback": lambda c: ua_lifecycle.rolled_back(c, GUEST, ua_id="radicale", check=True),
    "ua repair": lambda c: ua_status.told(c, GUEST, ua_id="radicale", repair=True, check=True),
    "image restore": lambda c: image_store.restore(c, **OF, number=1, check=True),
    "image pin": lambda c: image_store.pin(c, **OF, number=1, pinned=True, check=True),
    "image delete": lambda c: image_store.delete(c, **OF, number=1, check=True),
    "image prune": lambda c: image_upkeep.prune(c, retention=Retention(0, 0, 0, timedelta()), check=True),
    "image repair": lambda c: image_upkeep.repair(c, check=True),
    "image flatten": lambda c: volume_upkeep.flatten(c, check=True),
    "image import": lambda c: image_file.import_(c, source=Path("/none.vmmimage"), check=True),
    "image deploy": lambda c: session_guest.restore(c, GUEST, "s-1", number=1, check=True),
    "pool scale": lambda c: pool.scaled(c, "none", ready=1, check=True),
    "pool drain": lambda c: pool.drained(c, "none", drain=Drain.KEEP, check=True),
    "session close, discarding": lambda c: session.begin_close(c, "s-1", discard=True, check=True),
}


def tried(verb: str, context: Context) -> VmmError | None:
    """What a verb failed with, if it did."""
    context.__dict__["images"] = NoImages()
    try:
        VERBS[verb](context)
    except VmmError as failure:
        return failure
    return None


@pytest.mark.parametrize("verb", VERBS)
def test_verb_of_an_operator_is_refused_to_anybody_else(context: Context, verb: str) -> None:
    """Before anything is looked at, and with the names of those who may; ann is past that."""
    before = audit_log.read(context.store)["events"]
    for name in ("eve", "bo", "linux"):
        refused = tried(verb, acting(context, name))
        assert isinstance(refused, NotPermitted), refused
        assert "is no operator of this site, only ann, root" in refused.message
    assert audit_log.read(context.store)["events"] == before
    assert not isinstance(tried(verb, acting(context, "ann")), NotPermitted)


@pytest.mark.parametrize("verb", VERBS)
def test_without_a_list_nobody_is_refused(context: Context, verb: str) -> None:
    """A site that says nothing of people asks nothing of them."""
    watcher.update(context.store, context.clock, session="s-1", watcher="bo", add=["end"], actor="root")
    assert not isinstance(tried(verb, acting(context, "bo", Access())), NotPermitted)


def test_watcher_with_end_closes_and_does_not_discard(context: Context) -> None:
    """What the user made in the session is for an operator to give up, also once somebody began to close."""
    by_bo = acting(context, "bo", SITE)
    watcher.update(context.store, context.clock, session="s-1", watcher="bo", add=["end"], actor="root")
    assert session.begin_close(by_bo, "s-1", check=True)["changed"]
    session.begin_close(by_bo, "s-1")
    with pytest.raises(NotPermitted, match="only ann, root"):
        session.begin_close(by_bo, "s-1", discard=True)


def test_what_the_site_decided_is_asked_of_nobody(context: Context, vm: OneVm) -> None:
    """A pool is refilled from a timer, whose login is no operator."""
    vm.there = False
    assert VmHands(acting(context, "linux")).delete(["vm-9"]) == {}
