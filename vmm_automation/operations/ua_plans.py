"""What UA deliveries have to do, from what a guest has: pure, and exactly what a check reports."""

from __future__ import annotations

from vmm_automation.adapters.bundles import Bundle
from vmm_automation.adapters.kinds import kind_of
from vmm_automation.model.ua import UaDefinition, UaVersion
from vmm_automation.operations.ua_reports import GuestStatus, UaOnGuest

#: the file that says that a probe was not decided yet
PROBING = ".probing"


def plan_install(
    seen: GuestStatus, *, definition: UaDefinition, version: UaVersion, bundle: Bundle, activate: bool = True
) -> list[str]:
    """What an installation has to do, in order: pure."""
    there = seen.ua(definition.id)
    deliver = there.versions.get(version.version) != bundle.digest
    active = there.active == version.version
    actions = ["deliver"] if deliver else []
    if activate or active:
        if deliver or not active:
            actions += kind_of(version.kind).activation
        if there.unit_sha256 != bundle.unit_sha256:
            actions.append("install_unit" if bundle.unit_sha256 else "remove_unit")
        if not active:
            actions.append("switch")
        if deliver or not active:
            actions = with_restart(there, actions)
        if definition.probe and (deliver or not active or PROBING in there.unfinished):
            actions.append("probe")
    return actions


def plan_remove(seen: GuestStatus, *, ua: str, versions: list[str]) -> list[str]:
    """What a removal has to do, in order: pure."""
    there = seen.ua(ua)
    actions: list[str] = []
    for version in versions:
        actions += ["remove_unit"] if version == there.active and there.unit_sha256 else []
        actions += [f"remove {version}"] if version in there.versions else []
    if there.unfinished:
        actions.append("remove_unfinished")
    if seen.orphans(without=[(ua, version) for version in versions]):
        actions.append("purge_packages")
    return actions


def plan_activate(there: UaOnGuest, *, version: str, probe: bool = False) -> list[str]:
    """What a switch to a delivered version has to do, in order: pure."""
    active = there.active == version
    actions = ["install_packages"] if there.packages.get(version) and not active else []
    wanted = there.units.get(version, "")
    if there.unit_sha256 != wanted:
        actions.append("install_unit" if wanted else "remove_unit")
    if not active:
        actions = with_restart(there, [*actions, "switch"])
    return [*actions, "probe"] if probe and (not active or PROBING in there.unfinished) else actions


def plan_deactivate(there: UaOnGuest) -> list[str]:
    """What it takes that no version is active, in order: pure."""
    if not there.active:
        return []
    return [
        *(["stop"] if there.running else []),
        *(["remove_unit"] if there.unit_sha256 else []),
        "deactivate",
    ]


def with_restart(there: UaOnGuest, actions: list[str]) -> list[str]:
    """With the stop and the start that a running service needs."""
    return ["stop", *actions, "start"] if there.active and there.running and actions else actions
