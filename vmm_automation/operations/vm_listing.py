"""What is known of VMs: their domains, and from the state store what is on them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from vmm_automation.adapters.disks import VmFiles
from vmm_automation.model.vm import VmFacts
from vmm_automation.operations.context import Context
from vmm_automation.operations.vm_facts import facts


def listing(context: Context) -> list[dict[str, Any]]:
    """All VMs of the site, by name."""
    return [_document(fact) for fact in facts(context)]


def description(context: Context, name: str) -> dict[str, Any]:
    """One VM, with the last lines of its console.

    Raises:
        InvalidName, NotFound: there is no such VM.
    """
    context.hypervisor.vm(name)
    fact = next(fact for fact in facts(context) if fact.vm.name == name)
    files = VmFiles(context.places.vms / context.site.name / name)
    return {**_document(fact), **_more(fact), "console": files.console_tail()}


def _document(fact: VmFacts) -> dict[str, Any]:
    vm = asdict(fact.vm)
    shown = {key: vm[key] for key in ("name", "profile", "vcpus", "memory_mib", "ssh_port", "ready")}
    return {
        **shown,
        "state": str(fact.vm.state),
        "condition": str(fact.condition),
        "session": fact.session,
        "uas": fact.active_uas,
    }


def _more(fact: VmFacts) -> dict[str, Any]:
    vm = asdict(fact.vm)
    more = {key: vm[key] for key in ("domain", "uuid", "host_key", "base_digest", "created_at")}
    return {**more, "features": list(fact.vm.features), "protocols": list(fact.vm.protocols)}
