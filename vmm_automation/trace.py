"""Named places between two steps that are not one: there a test can kill a process, or hold it.

An action of several steps may be cut off between any two of them, and what comes next must cope. So each such
place has a name in :data:`POINTS` and one call of :func:`point`. In daily use a call compares two texts.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Final

#: each name, and what has been done when a process comes to it
POINTS: Final[dict[str, str]] = {
    "audit.appended": "a change and its entry are written; their transaction is not committed",
    "session.enqueue.recorded": "a request waits; nobody looked yet whether it is its turn",
    "session.claim.recorded": "the seat is taken; nothing was begun on the VM",
    "session.activate.forwarded": "the port leads to the guest; the state does not know it",
    "session.activate.answered": "the UA answers; the session still counts as starting",
    "session.activate.recorded": "the session is active",
    "session.abandon.dropped": "the forwards of a session to be given up are gone",
    "session.abandon.recorded": "the session has failed; its VM is dirty",
    "session.close.recorded": "the session is closing; its forward is there, its guest may be paused",
    "session.close.unreachable": "the forward of a closing session is gone; its guest may be paused",
    "session.close.out_of_use": "the guest of a closing session runs, and nobody reaches it",
    "session.release.recorded": "the session is closed, its seat free",
    "session.move.recorded": "a session is to move, the other VM is held; nothing was begun on either",
    "session.move.unreachable": "the forward of a moving session is gone; its UA runs on the old VM",
    "session.move.captured": "its UA is stopped on the old VM, its data stored; nothing is on the new one",
    "session.move.forwarded": "the port leads to the new VM; the session is on the old one",
    "session.move.answered": "the UA answers on the new VM; the session is on the old one",
    "session.move.switched": "the session is on the new VM; its data is still on the old one, which is dirty",
    "session.move.undone": "the session is on its old VM, without forward and with its UA stopped",
    "session.switch.recorded": "to suspend or to resume is intended; the VM was not asked yet",
    "session.switch.followed": "the VM was paused or resumed; whether that is still wanted was not asked",
    "session.switch.acted": "the VM is as intended",
    "session.lease_end.recorded": "a session is to go on, its lease is over; its VM was not asked yet",
    "reconcile.planned": "state and VMs were compared; nothing was done",
    "reconcile.acted": "a VM was brought to what the state wants; no entry tells of it",
    "reconcile.noted": "one finding was dealt with, and an entry tells of it",
    "reconcile.marked": "it is noted that the VM was started anew; its forward is not there yet",
    "reconcile.forwarded": "the forward of a VM started anew is there; the state may have an old port",
    "image.capture.fetched": "the user's data is on the controller, not in the image store",
    "image.capture.stored": "the archive is in the image store; no row names it",
    "image.capture.recorded": "the generation is recorded",
    "image.volume.opened": "a session has a volume; nothing of it is attached",
    "image.volume.attached": "the VM has the volume; the guest did not mount it",
    "image.volume.mounted": "the user's home is on the volume; no entry tells of it",
    "image.volume.sealed": "what a session wrote is stored, its volume unmounted; the VM still has it",
    "image.volume.detached": "no VM has the volume; it is no layer",
    "image.volume.kept": "what a session wrote has a second name as a layer, which no archive names",
    "image.volume.renewed": "the session has an empty overlay over the layer; no archive names the layer",
    "image.deploy.read": "the generation lies on the controller",
    "image.deploy.sent": "it lies in the guest, packed",
    "image.deploy.unpacked": "the guest has the user's data; no entry tells of it",
    "image.deploy.recorded": "an entry tells of the deployment",
    "image.import.stored": "what a file held is in the image store; no row names it",
    "image.export.recorded": "an entry tells of an export; there is no file",
    "image.drop.recorded": "no row names some archives any more; they are in the image store",
    "image.drop.dropped": "the archives are gone; their space was not given back",
    "image.repair.marked": "one generation of several is marked as missing, or as found again",
    "vm.snapshot.dropped": "older snapshots of a clean VM are gone, the new one is not taken",
    "vm.snapshot.taken": "the snapshot of a clean VM is there; no entry tells of it",
    "vm.snapshot.recorded": "an entry tells of the snapshot; nothing of the user was sent to the VM",
    "vm.rebuild.reset": "a VM to be rebuilt is off, and nothing is kept of its memory; it counts as dirty",
    "vm.rebuild.renewed": "it has an empty disk over its base image; the domain is the one of before",
    "vm.rebuild.defined": "the domain is as its profile says now; it is off",
    "vm.rebuild.recorded": "it runs; if it had UAs, they are not there and it still counts as dirty",
    "vm.clean.reverted": "the VM is back at its snapshot, with the time of then",
    "vm.clean.destroyed": "the power of a VM to be cleaned is cut; its disk is the user's",
    "vm.clean.renewed": "its disk is empty over the base image; it is off",
    "vm.clean.started": "it runs on its new disk; its UAs are not there",
    "image.clean.cleaned": "nothing of the user is left in the guest; the VM still counts as dirty",
    "image.clean.recorded": "the VM counts as clean",
    "vm.create.disk": "the overlay of a new VM is there, nothing else",
    "vm.create.seed": "the seed of a new VM is there, no domain",
    "vm.create.defined": "the domain is defined, not started",
    "vm.create.answers": "the new VM answers; it does not count as clean",
    "vm.create.recorded": "the new VM counts as clean",
    "vm.boot.started": "the domain was started; nothing has answered",
    "vm.remove.destroyed": "the power of a VM is cut; its domain is defined",
    "vm.remove.undefined": "the domain is gone, its files are not",
    "vm.remove.removed": "domain and files are gone; the state still knows the VM",
    "vm.delete.recorded": "the state has forgotten the VM",
    "ua.install.sent": "the bundle lies in the guest, packed",
    "ua.install.activated": "the version is active in the guest; the ledger does not say so",
    "ua.install.recorded": "the ledger says that the version is active",
    "pool.remove.recorded": "VMs are leaving their pool and cannot be claimed; they are there",
    "pool.remove.removed": "the VMs are gone; the state still has them as members",
    "pool.create.recorded": "the members to be made are in the state; nothing of them is there",
    "pool.create.created": "new members answer; no UA is on them",
    "pool.put_away.recorded": "VMs to be parked or switched off cannot be claimed; they run",
    "pool.put_away.done": "they are parked or switched off; they cannot be claimed",
    "pool.install.reserved": "a member that lacks its UA cannot be claimed; its guest is as it was",
    "pool.install.installed": "its UA is active; it cannot be claimed",
    "state.migrate.defined": "the newer tables are made; their transaction is not committed",
    "state.import.replaced": "all rows of an export are in; their transaction is not committed",
    "state.file.written": "a backup or export is complete under its temporary name",
    "state.file.named": "a backup or export has its name; its directory is not on the disk",
}
_KILL: Final = os.environ.get("VMM_TRACE_KILL", "")
_PAUSE, _, _FLAG = os.environ.get("VMM_TRACE_PAUSE", "").partition(":")
_POLL_S: Final = 0.02


def point(name: str) -> None:
    """Go on, unless a test wants something here.

    ``VMM_TRACE_KILL=NAME`` kills this process at the point of that name, as a power cut would.
    ``VMM_TRACE_PAUSE=NAME:FILE`` makes FILE and waits there until somebody removes it.
    """
    if name == _KILL:
        os.kill(os.getpid(), signal.SIGKILL)
    if name == _PAUSE:
        flag = Path(_FLAG)
        flag.touch()
        while flag.exists():
            time.sleep(_POLL_S)
