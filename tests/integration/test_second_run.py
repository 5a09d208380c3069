"""Every playbook, run by plain Ansible: a dry run changes nothing, a first run does, a second does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .controller import REPOSITORY, Controller, Played

#: what makes something anew each time it is asked to; the second run is a change, and says so
_ANEW = {"vm_rebuild", "image_capture", "image_deploy", "watcher_lock_acquire"}
_VM, _WATCHER, _OTHER = "vm-3", "wes", "ann"
_DESTROY = {"vm_allow_destroy": True}
_DESTROY_IMAGE = {"user_image_allow_destroy": True}


def converge(vmm: Controller, playbook: str, *, nothing_to_do: bool = False, **variables: Any) -> Played:
    """Dry run, run, run again; what the run left. ``nothing_to_do``: it starts from what is wanted."""
    before = vmm.everything()
    planned = vmm.play(playbook, check=True, **variables)
    assert planned.result is not None
    assert vmm.everything() == before, f"the dry run of {playbook} changed something"
    first = vmm.play(playbook, **variables)
    assert first.result is not None
    assert bool(planned.changed) == bool(first.changed) == (not nothing_to_do), (planned, first)
    after = vmm.everything()
    second = vmm.play(playbook, **variables)
    assert second.result is not None
    if playbook in _ANEW:
        assert second.changed
        return first
    assert second.changed == 0, f"the second run of {playbook} reports a change:\n{second.output}"
    assert vmm.everything() == after, f"the second run of {playbook} changed something"
    return first


@pytest.fixture
def session(vmm: Controller, radicale: tuple[str, str]) -> Iterator[str]:
    """An active session."""
    opened = vmm("session", "open", "--user", "sam", "--ua", "radicale", "--vm", radicale[0]).result
    identifier: str = opened["session"]["id"]
    yield identifier
    vmm("session", "close", identifier)


def test_base_image_build_finds_what_is_built(vmm: Controller, two_vms: tuple[str, str]) -> None:
    """A base image that is there is verified and not built again."""
    del two_vms
    converge(vmm, "base_image_build", nothing_to_do=True, base_image_name="debian")


def test_vm_playbooks_end_in_the_wanted_state_whatever_they_find(
    vmm: Controller, two_vms: tuple[str, str]
) -> None:
    """Create, stop, start, rebuild and delete a VM, each twice; afterwards nothing of it is left."""
    before = vmm.everything()
    domain = f"vmm-{vmm.name}-{_VM}"
    created = converge(vmm, "vm_create", vm_names=[_VM])
    assert created.result["vms"][_VM]["action"] == "create"
    converge(vmm, "vm_stop", vm_names=[_VM])
    assert vmm.virsh("domstate", domain).strip() == "shut off"
    converge(vmm, "vm_start", vm_names=[_VM])
    assert vmm.virsh("domstate", domain).strip() == "running"
    vmm.on_guest(_VM, "echo mark > /root/mark")
    rebuilt = vmm.play("vm_rebuild", check=True, vm_names=[_VM], **_DESTROY)
    assert rebuilt.changed
    assert vmm.on_guest(_VM, "cat /root/mark") == "mark"
    assert vmm.play("vm_rebuild", vm_names=[_VM], **_DESTROY).changed
    assert vmm.on_guest(_VM, "cat /root/mark 2>&1 || true") != "mark"
    converge(vmm, "vm_delete", vm_names=[_VM], **_DESTROY)
    after = vmm.everything()
    assert (after["domains"], after["files"]) == (before["domains"], before["files"])
    assert [vm["name"] for vm in vmm("vm", "list").result["vms"]] == list(two_vms)


def test_ua_playbooks_end_in_the_wanted_state_whatever_they_find(
    vmm: Controller, idle_vms: tuple[str, str]
) -> None:
    """Remove, install and update an application on two VMs, each twice."""
    both = list(idle_vms)
    assert vmm.play("ua_remove", ua_id="radicale", ua_vms=both, ua_allow_destroy=True).status == 0
    converge(vmm, "ua_install", ua_id="radicale", ua_version="3.2.3", ua_vms=both)
    updated = converge(vmm, "ua_update", ua_id="radicale", ua_version="3.5.4", ua_vms=both)
    assert {vm: done["version"] for vm, done in updated.result["vms"].items()} == dict.fromkeys(both, "3.5.4")
    converge(vmm, "ua_rollback", ua_id="radicale", ua_vms=both[:1])
    converge(vmm, "ua_activate", ua_id="radicale", ua_version="3.5.4", ua_vms=both[:1])
    converge(vmm, "ua_deactivate", ua_id="radicale", ua_vms=both[:1])
    assert vmm.play("ua_remove", ua_id="radicale", ua_version="3.2.3", ua_allow_destroy=True).status == 0
    converge(vmm, "ua_deliver", ua_id="radicale", ua_version="3.2.3", ua_vms=both)
    converge(vmm, "ua_status", nothing_to_do=True, ua_repair=True, ua_vms=both)
    converge(vmm, "ua_remove", ua_id="radicale", ua_vms=both, ua_allow_destroy=True)
    left = "find / -xdev -iname '*radicale*' ! -path '/var/log/*'"
    assert [vmm.on_guest(vm, left) for vm in both] == ["", ""]


def test_session_opened_a_second_time_is_the_same_session(vmm: Controller, radicale: tuple[str, str]) -> None:
    """Open and close, each twice: no second session or generation; select and explain change nothing."""
    wanted: dict[str, Any] = {"session_user": "tea", "session_ua": "radicale", "session_vm": radicale[0]}
    converge(vmm, "session_select", nothing_to_do=True, **wanted)
    opened = converge(vmm, "session_open", **wanted).result["session"]
    converge(vmm, "session_explain", nothing_to_do=True, session_id=opened["id"])
    converge(vmm, "session_move", session_id=opened["id"], session_terminal="phone")
    converge(vmm, "session_move", session_id=opened["id"], session_terminal="desktop")
    assert vmm.play("session_open", **wanted).result["session"] == opened
    vmm.virsh("suspend", f"vmm-{vmm.name}-{opened['vm']}")
    converge(vmm, "reconcile")
    assert vmm.virsh("domstate", f"vmm-{vmm.name}-{opened['vm']}").strip() == "running"
    converge(vmm, "session_close", session_id=opened["id"])
    assert len(vmm("image", "list", "--user", "tea").result["generations"]) == 1
    assert vmm.condition(radicale[0]) == "clean"


def test_watcher_and_suspension_playbooks_end_in_the_wanted_state_whatever_they_find(
    vmm: Controller, session: str
) -> None:
    """Assign, update, acquire, hand over, break, suspend, resume, release and revoke, each twice."""
    who: dict[str, Any] = {"watcher_session": session, "watcher_name": _WATCHER}
    converge(vmm, "watcher_assign", **who, watcher_privileges=["suspend"])
    converge(vmm, "watcher_update", **who, watcher_privileges=["view"])
    converge(vmm, "watcher_lock_acquire", **who)
    assert vmm.play("watcher_lock_renew", **who).changed
    converge(vmm, "session_suspend", session_id=session, session_watcher=_WATCHER)
    converge(vmm, "session_resume", session_id=session, session_watcher=_WATCHER)
    assert vmm.play("session_touch", session_id=session).changed
    converge(vmm, "watcher_lock_release", **who)
    assert vmm.play(
        "watcher_assign", **{**who, "watcher_name": _OTHER}, watcher_privileges=["suspend"]
    ).changed
    assert vmm.play("watcher_lock_acquire", **who).changed
    converge(vmm, "watcher_lock_hand_over", **who, watcher_to=_OTHER)
    converge(vmm, "watcher_lock_break", watcher_session=session, watcher_reason="ann went home")
    converge(vmm, "watcher_revoke", **who)


def test_image_playbooks_make_a_generation_and_bring_it_back(
    vmm: Controller, session: str, radicale: tuple[str, str], tmp_path: Path
) -> None:
    """Each capture is a new generation, but for one that was due; each deploy replaces the present data."""
    captured = converge(vmm, "image_capture", user_image_session=session).result["generation"]
    number = captured["number"]
    deploy: dict[str, Any] = {"user_image_session": session, "user_image_generation": number}
    assert converge(vmm, "image_deploy", **deploy, **_DESTROY_IMAGE).result["deployed"] == number
    converge(vmm, "image_preview", nothing_to_do=True, user_image_session=session)
    converge(vmm, "image_capture_due", nothing_to_do=True)
    definition = (vmm.site / "uas" / "radicale.yml").read_text()
    timed = vmm.on_site(tmp_path / "site", {"uas/radicale.yml": f"{definition}capture: {{every_s: 1}}\n"})
    vmm.on_guest(radicale[0], "install -D -o session /etc/hostname /home/session/.local/share/radicale/more")
    before = timed.everything()
    planned = timed.play("image_capture_due", check=True)
    assert (bool(planned.changed), timed.everything()) == (True, before)
    assert session in timed.play("image_capture_due").result["captured"]
    assert timed.play("image_capture_due").changed == 0  # it only notes that it has looked


def test_stored_images_end_in_the_wanted_state_whatever_they_find(
    vmm: Controller, radicale: tuple[str, str]
) -> None:
    """Verify, restore and prune the generations of a user whose session is over, each twice."""
    whose: dict[str, Any] = {"image_store_user": "ula", "image_store_ua": "radicale"}
    opened = vmm("session", "open", "--user", "ula", "--ua", "radicale", "--vm", radicale[0]).result
    vmm("image", "capture", opened["session"]["id"])
    vmm("session", "close", opened["session"]["id"])
    converge(vmm, "image_verify", nothing_to_do=True, image_store_all=True, **whose)
    restored = converge(vmm, "image_restore", image_store_generation=1, **whose).result["generation"]
    assert (restored["number"], restored["reason"]) == (3, "restored from generation 1")
    converge(vmm, "image_prune", image_store_keep_last=1, image_store_allow_destroy=True, **whose)
    converge(vmm, "image_flatten", nothing_to_do=True)
    left = vmm("image", "list", "--user", "ula").result["generations"]
    assert [generation["number"] for generation in left] == [3]


def test_no_playbook_is_left_out() -> None:
    """Every playbook of the project is run above, or in tests/ansible where it needs no VM."""
    files = [Path(__file__), *(REPOSITORY / "tests" / "ansible").glob("test_*.py")]
    texts = "".join(file.read_text() for file in files)
    names = [path.stem for path in (REPOSITORY / "playbooks").glob("*.yml")]
    assert [name for name in names if f'"{name}"' not in texts] == []
