"""VMs of a list of names: present, started, stopped, rebuilt or absent."""

from __future__ import annotations

from typing import Any

from vmm_automation.ansible.action_base import VmmAction, text_list
from vmm_automation.errors import UsageError
from vmm_automation.operations import vm
from vmm_automation.operations.context import Context


class ActionModule(VmmAction):
    """``vmm_vm: {names: [vm-1], state: present, profile: small}``."""

    def perform(self, context: Context, arguments: dict[str, Any], *, check: bool) -> dict[str, Any]:
        """See :mod:`vmm_automation.operations.vm`."""
        names = text_list(arguments.get("names"), name="vm_names")
        state = arguments.get("state", "present")
        allow_destroy = bool(arguments.get("allow_destroy", False))
        if state == "present":
            return vm.present(context, names, profile=str(arguments.get("profile")), check=check)
        if state == "started":
            return vm.started(context, names, check=check)
        if state == "stopped":
            return vm.stopped(context, names, force=bool(arguments.get("force", False)), check=check)
        if state == "rebuilt":
            return vm.rebuilt(context, names, allow_destroy=allow_destroy, check=check)
        if state == "absent":
            return vm.absent(context, names, allow_destroy=allow_destroy, check=check)
        raise UsageError(f"'{state}' is not a state of VMs", hint="vm_state=present")
