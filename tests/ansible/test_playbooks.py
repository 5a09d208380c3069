"""Playbooks by the real ansible-playbook, as an operator or AWX runs them; no VM is needed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from vmm_automation.content import content_directory, playbooks

from ..made_site import MadeSite, make_site
from .by_hand import run_by_hand

TOP = content_directory()
ANSIBLE_PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
WATCHER = {"watcher_session": "s-1", "watcher_name": "bo"}


@dataclass(frozen=True)
class Outcome:
    """What ansible-playbook printed for an operator, read back."""

    status: int
    text: str

    @property
    def changed(self) -> int:
        """How many tasks changed something, by the recap."""
        return sum(int(number) for number in re.findall(r"changed=(\d+)", self.text))

    @property
    def stats(self) -> dict[str, Any]:
        """The result document in the custom stats."""
        found = re.search(r"RUN: (\{.*\})", self.text)
        return dict(json.loads(found[1])["vmm"]) if found else {}

    @property
    def error(self) -> dict[str, Any]:
        """The error document of the task that failed."""
        found = re.search(r"FAILED! => (\{.*\})", self.text)
        assert found, self.text
        return dict(json.loads(found[1]).get("vmm_error") or {})


def play(site: MadeSite, name: str, *words: str, **variables: Any) -> Outcome:
    """Run a playbook by hand, from the top of the project with its ansible.cfg."""
    done = run_by_hand(site, name, *words, **variables)
    return Outcome(done.returncode, done.stdout + done.stderr)


def test_every_playbook_is_read_by_ansible(site: MadeSite) -> None:
    """Syntax, roles and plugins are found; nothing is run."""
    done = subprocess.run(
        [ANSIBLE_PLAYBOOK, "--syntax-check", "--inventory", site.inventory, *playbooks().values()],
        capture_output=True,
        check=False,
        cwd=TOP,
        env=site.environment,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    assert len(playbooks()) >= 20


@pytest.mark.usefixtures("session")
def test_program_that_starts_anew_does_what_a_forked_one_does(site: MadeSite) -> None:
    """Started at the top of the project it finds roles and plugins by ansible.cfg alone."""
    words: list[str | Path] = [
        ANSIBLE_PLAYBOOK,
        "--inventory",
        site.inventory,
        TOP / "playbooks" / "watcher_assign.yml",
    ]
    given = json.dumps({**WATCHER, "watcher_privileges": ["view"]})
    done = subprocess.run(
        [*words, "--extra-vars", given],
        capture_output=True,
        check=False,
        cwd=TOP,
        env={**site.environment, "ANSIBLE_NOCOLOR": "1"},
        text=True,
    )
    assert (done.returncode, Outcome(0, done.stdout).changed) == (0, 1), done.stdout
    again = play(site, "watcher_assign", **WATCHER, watcher_privileges=["view"])
    assert (again.status, again.changed) == (0, 0)
    assert Outcome(0, done.stdout).stats["grant"] == again.stats["grant"]


@pytest.mark.usefixtures("session")
def test_argument_out_of_its_choices_is_refused_before_anything_runs(site: MadeSite) -> None:
    """The role's specs stop the play at its first step, naming the variable and the choices."""
    before = site.dump()
    done = play(site, "watcher_assign", **WATCHER, watcher_privileges=["view", "fly"])
    assert done.status != 0
    assert "watcher_privileges" in done.text
    assert "view, control, suspend, end" in done.text
    assert site.dump() == before


@pytest.mark.parametrize(
    ("name", "variables"),
    [
        ("watcher_assign", {"watcher_name": "bo"}),
        ("vm_create", {}),
        ("vm_stop", {"vm_names": ["vm-1"], "vm_force": "perhaps"}),
        ("image_deploy", {"user_image_session": "s-1", "user_image_generation": "newest"}),
    ],
)
def test_missing_or_mistyped_argument_is_refused(
    site: MadeSite, name: str, variables: dict[str, Any]
) -> None:
    """Every role is behind its specs."""
    done = play(site, name, **variables)
    assert done.status != 0
    assert "Validation of arguments failed" in done.text
    assert list(site.home.glob("state.db")) == []


STEPS: dict[str, dict[str, Any]] = {
    "watcher_assign": {"watcher_privileges": ["view", "suspend"], "watcher_seconds": 3600},
    "watcher_update": {"watcher_privileges": ["control"]},
    "watcher_lock_acquire": {"watcher_seconds": 300},
    "watcher_lock_release": {},
    "watcher_revoke": {"watcher_reason": "done"},
}


@pytest.mark.usefixtures("session")
def test_watcher_playbooks_change_once_and_check_mode_tells_the_truth(site: MadeSite) -> None:
    """For each verb: a dry run tells the change and makes none; then it changes; then it does not."""
    for name, variables in STEPS.items():
        before = site.dump()
        dry = play(site, name, "--check", **WATCHER, **variables)
        assert (dry.status, dry.changed, site.dump()) == (0, 1, before), name
        real = play(site, name, **WATCHER, **variables)
        assert (real.status, real.changed) == (0, 1), name
        assert real.stats.keys() == dry.stats.keys()
        after = site.dump()
        assert after != before
        if name == "watcher_lock_acquire":
            continue  # taking the right again renews it, which is a change
        again = play(site, name, **WATCHER, **variables)
        assert (again.status, again.changed, site.dump()) == (0, 0, after), name
        dry_again = play(site, name, "--check", **WATCHER, **variables)
        assert (dry_again.changed, site.dump()) == (0, after), name


def test_stats_are_the_document_that_the_command_line_gives(site: MadeSite, session: str) -> None:
    """One result, whichever door: the grant by playbook is the grant that `vmm watcher list` shows."""
    done = play(site, "watcher_assign", **WATCHER, watcher_privileges=["suspend"], watcher_reason="audit")
    (grant,) = site.json("watcher", "list", session)[1]["result"]["grants"]
    assert {**done.stats, "audit": None} == {"grant": grant, "audit": None}
    done = play(site, "watcher_lock_acquire", **WATCHER)
    assert done.stats["right"] == site.json("watcher", "lock", "show", session)[1]["result"]["right"]
    assert site.json("audit", "verify", "--head", done.stats["audit"]["hash"])[0] == 0
    assert done.stats["right"]["holder"] == "bo"


def test_lease_is_the_sites_unless_another_is_asked_for(site: MadeSite, session: str) -> None:
    """As by the command line."""
    file = site.directory / "site.yml"
    file.write_text(file.read_text() + "policies: {suspend_lease_s: 1234}\n")
    site.vmm("watcher", "assign", session, "bo", "--privilege", "suspend")
    for variables, expected in (({"watcher_seconds": 99}, 99), ({}, 1234)):
        before = datetime.now(UTC)
        right = play(site, "watcher_lock_acquire", **WATCHER, **variables).stats["right"]
        given = datetime.fromisoformat(right["expires_at"]) - timedelta(seconds=expected)
        assert before <= given <= datetime.now(UTC)


def test_failure_carries_the_same_error_as_the_command_line(site: MadeSite, session: str) -> None:
    """Class, code, message, hint and details are in the failed task; the message is the one line shown."""
    for name in ("bo", "cy"):
        play(
            site, "watcher_assign", watcher_session=session, watcher_name=name, watcher_privileges=["suspend"]
        )
    play(site, "watcher_lock_acquire", watcher_session=session, watcher_name="cy")
    failed = play(site, "watcher_lock_acquire", **WATCHER)
    _, document = site.json("watcher", "lock", "acquire", session, "bo")
    assert failed.status == 2
    assert failed.error == document["error"]
    assert (failed.error["class"], failed.error["exit_code"]) == ("LockHeld", 6)
    assert f"{failed.error['message']}. Hint: {failed.error['hint']}" in failed.text


@pytest.mark.usefixtures("session")
def test_who_acts_is_recorded_from_awx_too(site: MadeSite) -> None:
    """The name of AWX's user is the actor, where a job template gives one."""
    play(site, "watcher_assign", **WATCHER, watcher_privileges=["view"], awx_user_name="olga")
    assert any("olga" in row for row in site.dump())


def test_destruction_needs_its_permission(tmp_path: Path) -> None:
    """Without the variable the play fails before any VM is touched, and names what to set."""
    site = make_site(tmp_path, running=["vm-1"])
    for name, role in (("vm_delete", "vm"), ("vm_rebuild", "vm"), ("ua_remove", "ua")):
        done = play(site, name, vm_names=["vm-1"], ua_id="radicale", ua_vms=["vm-1"])
        assert done.error["class"] == "UsageError", name
        assert f"{role}_allow_destroy" in done.error["hint"]


def test_inventory_lists_vms_with_verified_ssh(tmp_path: Path) -> None:
    """Hosts come from libvirt, each with its port, its key and strict host key checking."""
    site = make_site(tmp_path, running={"vm-1": 2201, "vm-2": 2202})
    listed = subprocess.run(
        [ANSIBLE_PLAYBOOK.with_name("ansible-inventory"), "--inventory", site.inventory, "--list"],
        capture_output=True,
        check=True,
        cwd=TOP,
        env=site.environment,
        text=True,
    )
    document = json.loads(listed.stdout)
    hosts = document["_meta"]["hostvars"]
    assert document["vms"]["hosts"] == ["vm-1", "vm-2"]
    assert [hosts[name]["ansible_port"] for name in ("vm-1", "vm-2")] == [2201, 2202]
    for name in ("vm-1", "vm-2"):
        assert "StrictHostKeyChecking=yes" in str(hosts[name]["ansible_ssh_common_args"])
        assert "running" in str(hosts[name]["vmm_state"])
