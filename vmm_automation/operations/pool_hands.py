"""What a pool does to its VMs, by the operations on VMs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vmm_automation.errors import VmmError, error_from_document
from vmm_automation.operations import vm
from vmm_automation.operations.context import Context


@dataclass(frozen=True)
class VmHands:
    """Implements ``ports.PoolHands``; the pool's definition has decided, whoever refills it."""

    context: Context

    def create(self, names: Sequence[str], *, profile: str) -> dict[str, VmmError]:
        """Make VMs, all at the same time."""
        count = len(names)
        return _tried(
            names, lambda: vm.present(self.context, names, profile=profile, parallel=count, by_site=True)
        )

    def start(self, names: Sequence[str]) -> dict[str, VmmError]:
        """Boot or resume VMs."""
        return _tried(names, lambda: vm.started(self.context, names))

    def park(self, names: Sequence[str]) -> dict[str, VmmError]:
        """Save VMs with their memory."""
        return _tried(names, lambda: vm.parked(self.context, names))

    def stop(self, names: Sequence[str]) -> dict[str, VmmError]:
        """Shut VMs down."""
        return _tried(names, lambda: vm.stopped(self.context, names, by_site=True))

    def delete(self, names: Sequence[str]) -> dict[str, VmmError]:
        """Remove VMs."""
        return _tried(names, lambda: vm.absent(self.context, names, allow_destroy=True, by_site=True))


def _tried(names: Sequence[str], act: Callable[[], dict[str, Any]]) -> dict[str, VmmError]:
    """The failures by name; what failed before any VM was begun failed for all."""
    if not names:
        return {}
    try:
        act()
    except VmmError as failure:
        told = failure.details.get("vms")
        if told is None:
            return dict.fromkeys(names, failure)
        return {name: error_from_document(each["error"]) for name, each in told.items() if each.get("error")}
    return {}
