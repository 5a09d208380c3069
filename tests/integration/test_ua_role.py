"""An application that a role of the site brings to a real VM, in a run of Ansible within a run of Ansible."""

from __future__ import annotations

from pathlib import Path

from .controller import Controller

_DEFINITION = "versions: {'1.0': {kind: role, role: greeter, variables: {greeting: hello}}}\n"
_TASKS = """\
- name: Bring the program, or take it away
  ansible.builtin.shell:
    cmd: >-
      {{ 'rm -r /opt/greeter' if vmm_ua_state == 'absent' else
         'mkdir /opt/greeter && echo ' ~ greeting ~ ' >/opt/greeter/' ~ vmm_ua_version }}
    creates: "{{ '/opt/greeter' if vmm_ua_state == 'present' else omit }}"
    removes: "{{ '/opt/greeter' if vmm_ua_state == 'absent' else omit }}"
"""


def test_role_of_the_site_brings_an_application_and_takes_it_away(
    vmm: Controller, idle_vms: tuple[str, str], tmp_path: Path
) -> None:
    """As its dry run says, once, and to the last file."""
    vm = idle_vms[0]
    own = vmm.on_site(tmp_path / "site", {"uas/greeter.yml": _DEFINITION})
    tasks = own.site / "roles" / "greeter" / "tasks"
    tasks.mkdir(parents=True)
    (tasks / "main.yml").write_text(_TASKS)
    install = ("ua", "install", "greeter", "--vm", vm)
    planned = own(*install, "--check").result["vms"]
    assert own(*install).result["vms"] == planned
    assert planned[vm]["actions"] == ["run_role", "deliver", "switch"]
    assert own.on_guest(vm, "cat /opt/greeter/1.0") == "hello"
    assert not own(*install).changed
    assert own("ua", "remove", "greeter", "--vm", vm, "--yes").changed
    assert own.on_guest(vm, "ls -d /opt/greeter /opt/vmm/ua/greeter 2>/dev/null || true") == ""
