"""Cleaning a guest after a session, run for real in a guest of namespaces on this machine."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import pytest

from vmm_automation.errors import TaskFailed
from vmm_automation.operations.user_image import clean, plan_clean

from .local_guest import UID, LocalGuest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces with accounts need root")

MESS = r"""
echo secret >.bash_history; echo changed >.profile; mkdir -p a/b; chmod 0500 a
echo s >/tmp/mine; mkdir /var/tmp/mine; echo s >/var/tmp/mine/f; echo s >/dev/shm/mine
"""


def test_clean_removes_everything_of_the_user_and_nothing_else(guest: LocalGuest) -> None:
    """Home, processes, temporary files, IPC, crontab and mail are gone; what belongs to others stays."""
    guest.as_session(MESS)
    guest.in_background("trap : TERM; while :; do sleep 0.05; done")
    guest.as_session("ipcmk -M 4096 -Q -S 1 >/dev/null")
    guest.run(
        "cd /var/spool && mkdir -p cron/crontabs && echo x >cron/crontabs/session; echo x >/var/mail/session"
    )
    guest.run(
        "echo other >/tmp/other; touch /root/.vmm-user-image.x.tar; mkdir /home/.vmm-stage-x; mkdir /run/s"
    )
    guest.run("chown session /run/s")
    planned = plan_clean(guest)
    for found in (
        ".bash_history",
        "/tmp/mine",
        "/dev/shm/mine",
        "process",
        "ipc -m",
        "ipc -q",
        "ipc -s",
        "crontabs",
    ):
        assert any(found in action for action in planned.actions), found
    clean(guest)
    assert plan_clean(guest) == replace(planned, changed=False, actions=())
    assert guest.tree().splitlines()[0] == f"f 644 {UID} ./.profile "
    assert guest.outside("/home/session/.profile").read_text() == "umask 077\n"
    assert guest.outside("/tmp/other").exists()
    assert guest.outside("/home/session").stat().st_mode & 0o777 == 0o700


def test_fork_bomb_does_not_outrun_clean(guest: LocalGuest) -> None:
    """Processes that keep replacing each other are all ended at once."""
    guest.in_background("f() { sleep 0.02; f & }; f & f & f")
    clean(guest)
    time.sleep(0.3)
    assert not plan_clean(guest).changed


def test_clean_says_what_it_could_not_remove(guest: LocalGuest) -> None:
    """What is left is named, and the VM is not called clean."""
    guest.as_session("mkdir /tmp/held; touch /tmp/held/x")
    guest.run("mount --bind -o ro /tmp/held /tmp/held; mount -o remount,ro,bind /tmp/held")
    with pytest.raises(TaskFailed, match=r"/tmp/held") as failed:
        clean(guest)
    assert "path /tmp/held/x" in failed.value.details["left"]
