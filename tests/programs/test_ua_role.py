"""UA versions that an operator's own role brings: a real role by the real Ansible, on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fake_clock import FakeClock
from tests.made_site import make_site
from tests.programs.sandbox_guest import SandboxGuest
from vmm_automation.errors import ArtifactInvalid, SiteInvalid, TaskFailed
from vmm_automation.operations import deployment, ua_lifecycle
from vmm_automation.operations.context import Context
from vmm_automation.places import Places
from vmm_automation.site import Site
from vmm_automation.state.store import Engine

TASKS = """\
- name: Bring the program
  ansible.builtin.copy:
    content: "{{ greeting }} {{ vmm_ua_version }}"
    dest: "{{ place }}/{{ vmm_ua_id }}-{{ vmm_ua_version }}"
    mode: "0755"
  when: vmm_ua_state == 'present'
- name: Take the program away
  ansible.builtin.file:
    path: "{{ place }}/{{ vmm_ua_id }}-{{ vmm_ua_version }}"
    state: absent
  when: vmm_ua_state == 'absent'
- name: Fail where that is wanted
  ansible.builtin.command: test ! -e "{{ place }}/broken"
  changed_when: false
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the role brings its program to."""
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


@pytest.fixture
def context(
    store: Engine, clock: FakeClock, tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> Context:
    """A site with a role and a UA of two versions; its inventory knows vm-1, which is this machine."""
    site = make_site(tmp_path / "made")
    tasks = site.directory / "roles" / "greeter" / "tasks"
    tasks.mkdir(parents=True)
    (tasks / "main.yml").write_text(TASKS)
    told = {"kind": "role", "role": "greeter", "variables": {"greeting": "hello", "place": str(place)}}
    definition = {"command": [f"{place}/demo"], "versions": {"1.0": told, "2.0": told}}
    (site.directory / "uas" / "demo.yml").write_text(json.dumps(definition))
    monkeypatch.setenv("ANSIBLE_INVENTORY_ENABLED", "ini")
    site.inventory.write_text("vm-1 ansible_connection=local\n")
    made = Context(site=Site.load(site.directory), places=Places(site.home), clock=clock, actor="root")
    made.__dict__.update(store=store)
    return made


def actions(done: dict[str, Any]) -> list[str]:
    found: list[str] = done["vms"]["vm-1"]["actions"]
    assert done["changed"] == bool(found)
    return found


def there(place: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in place.iterdir()}


def test_role_brings_each_version_and_takes_it_away_again(
    context: Context, guest: SandboxGuest, place: Path
) -> None:
    """As planned, once, side by side; then files and guest are what they were."""
    clean = guest.tree()
    planned = deployment.active(context, guest, ua_id="demo", version="1.0", check=True)
    assert there(place) == {}
    done = deployment.active(context, guest, ua_id="demo", version="1.0")
    assert actions(done) == actions(planned) == ["run_role", "deliver", "install_unit", "switch"]
    assert actions(deployment.active(context, guest, ua_id="demo", version="1.0")) == []
    assert actions(ua_lifecycle.delivered(context, guest, ua_id="demo")) == ["run_role", "deliver"]
    assert there(place) == {"demo-1.0": "hello 1.0", "demo-2.0": "hello 2.0"}
    gone = deployment.absent(context, guest, ua_id="demo", allow_destroy=True)
    assert actions(gone)[:2] == ["run_role 1.0", "run_role 2.0"]
    assert (there(place), guest.tree()) == ({}, clean)


def test_role_that_failed_is_run_again_and_what_it_left_is_taken_away(
    context: Context, guest: SandboxGuest, place: Path
) -> None:
    """The failure tells its task; the version does not count as delivered; removal runs the role too."""
    clean = guest.tree()
    (place / "broken").touch()
    with pytest.raises(TaskFailed, match="Fail where that is wanted"):
        deployment.active(context, guest, ua_id="demo", version="1.0")
    assert guest.tree() == clean
    (place / "broken").unlink()
    assert actions(deployment.absent(context, guest, ua_id="demo", allow_destroy=True)) == ["run_role 1.0"]
    assert there(place) == {}


def test_role_is_run_again_for_a_disk_that_was_made_anew(
    context: Context, guest: SandboxGuest, place: Path, tmp_path: Path
) -> None:
    """As policy rebuild cleans a VM: what the role brought went with the old disk."""
    deployment.active(context, guest, ua_id="demo", version="1.0")
    (place / "demo-1.0").unlink()
    again = SandboxGuest(tmp_path / "again", name=guest.name)
    deployment.renewed(context, again)
    assert (there(place), again.tree()) == ({"demo-1.0": "hello 1.0"}, guest.tree())


def test_role_that_changed_is_delivered_anew(context: Context, guest: SandboxGuest, place: Path) -> None:
    """What it was is part of the version's digest."""
    deployment.active(context, guest, ua_id="demo", version="1.0")
    tasks = context.site.directory / "roles/greeter/tasks/main.yml"
    tasks.write_text(tasks.read_text().replace("{{ greeting }}", "{{ greeting }} again"))
    assert actions(deployment.active(context, guest, ua_id="demo", version="1.0"))[0] == "run_role"
    assert there(place) == {"demo-1.0": "hello again 1.0"}


def test_role_that_is_not_there_or_not_for_this_kind_is_refused(
    context: Context, guest: SandboxGuest
) -> None:
    """Before a VM is touched; a VM that the inventory lacks is never taken for one that has it."""
    file = context.site.directory / "uas" / "demo.yml"
    stranger = SandboxGuest(guest.root, name="vm-9")
    with pytest.raises(TaskFailed, match="did nothing on VM 'vm-9'"):
        deployment.active(context, stranger, ua_id="demo", version="1.0")
    file.write_text("versions: {'1.0': {kind: role, role: nothing}}")
    missing = Context(site=Site.load(context.site.directory), places=context.places, actor="root")
    missing.__dict__.update(store=context.store)
    with pytest.raises(ArtifactInvalid, match="Role 'nothing' is absent"):
        deployment.active(missing, guest, ua_id="demo", version="1.0")
    file.write_text("versions: {'1.0': {kind: apt, packages: [x1], role: greeter}}")
    with pytest.raises(SiteInvalid, match="role: is for kind 'role' only"):
        Site.load(context.site.directory).ua("demo")
