"""The inventory of a site: its VMs as hosts, read from libvirt at each run, reached over verified SSH."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin

from vmm_automation.adapters.ssh import USER, SshPlaces, trust
from vmm_automation.errors import HypervisorUnreachable, VmmError
from vmm_automation.model.vm import Vm, VmState
from vmm_automation.operations.context import open_context

DOCUMENTATION = """
name: vmm
short_description: VMs of a vmm-automation site
description:
  - Reads the site directory that the source file lies in, and lists its VMs from libvirt.
  - Every VM is a host of group C(vms) with verified SSH over a forwarded port of 127.0.0.1.
  - Variable C(vmm_site) tells roles which site they work on.
options:
  plugin:
    description: Must be C(vmm).
    required: true
    choices: [vmm]
"""

_ENDING = ".vmm.yml"


class InventoryModule(BaseInventoryPlugin):
    """Ansible loads the class by this name."""

    NAME = "vmm"

    def verify_file(self, path: str) -> bool:
        """Take files that end in ``.vmm.yml``."""
        return bool(super().verify_file(path)) and path.endswith(_ENDING)

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Fill the inventory from the site that the file lies in.

        Without libvirt the inventory has no VMs, and a warning: plays that need none still run, and a task
        that needs libvirt says itself that it does not answer.
        """
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        site = Path(path).absolute().parent
        inventory.set_variable("all", "vmm_site", str(site))
        inventory.add_host("localhost")
        inventory.set_variable("localhost", "ansible_connection", "local")
        inventory.set_variable("localhost", "ansible_python_interpreter", sys.executable)
        inventory.add_group("vms")
        try:
            context = open_context(site)
            ssh = SshPlaces.of(context.places)
            hypervisor = context.hypervisor
            try:
                for vm in hypervisor.vms():
                    self._add(vm, ssh)
            finally:
                hypervisor.close()  # tasks run in forks of this process, which must not share a connection
        except HypervisorUnreachable as failure:
            self.display.warning(f"{failure.message}. Hint: {failure.hint}")
        except VmmError as failure:
            raise AnsibleParserError(f"{failure.message}. Hint: {failure.hint}") from failure

    def _add(self, vm: Vm, ssh: SshPlaces) -> None:
        if vm.state is VmState.RUNNING:
            trust(ssh, vm)
        host = self.inventory.add_host(vm.name, group="vms")
        variables = {
            "ansible_host": "127.0.0.1",
            "ansible_port": vm.ssh_port,
            "ansible_user": USER,
            "ansible_ssh_private_key_file": str(ssh.key),
            "ansible_ssh_common_args": shlex.join(ssh.options(vm)),
            "ansible_control_path": str(ssh.control_path(vm)),
            "vmm_state": str(vm.state),
            "vmm_profile": vm.profile,
        }
        for key, value in variables.items():
            self.inventory.set_variable(host, key, value)
