"""What the server of forked processes imports: what our programs and Ansible load before they work."""

from __future__ import annotations

import gc
import os
from importlib import import_module

from vmm_automation.content import content_directory

_COMMANDS = ("audit", "image", "playbook", "pool", "reconcile", "session", "state", "ua", "vm", "watcher")
_PLUGINS = (
    *("strategy.linear", "inventory", "shell.sh", "vars.host_group_vars", "cache.memory"),
    *("callback.default", "callback.junit", "callback.minimal", "callback.oneline", "callback.tree"),
    *("connection.local", "connection.ssh", "connection.paramiko_ssh", "connection.psrp", "connection.winrm"),
)

# Ansible reads both while it is imported.
os.environ["ANSIBLE_CONFIG"] = str(content_directory() / "ansible.cfg")
os.environ["ANSIBLE_NOCOLOR"] = "1"
for _name in (
    *("ansible.cli.playbook", "ansible.executor.task_executor", "ansible.executor.process.worker"),
    *(f"ansible.plugins.{name}" for name in _PLUGINS),
    *(f"vmm_automation.cli.{name}_commands" for name in _COMMANDS),
    *("vmm_automation.adapters.libvirt", "vmm_automation.ansible.action_base", "jsonschema"),
    *("vmm_automation.state.postgres", "vmm_automation.state.sqlite", "vmm_automation.operations.tokens"),
):
    import_module(_name)
# A fork that looked through all of this for garbage would copy it.
gc.collect()
gc.freeze()
