"""Whether packages would come with an activation: only the guest knows, and a dry run asks it."""

from __future__ import annotations

from vmm_automation.adapters.bundles import Bundle, notes_of
from vmm_automation.adapters.kinds import kind_of
from vmm_automation.model.ua import UaDefinition
from vmm_automation.operations import ua_scripts
from vmm_automation.operations.ua_reports import raise_failure, says
from vmm_automation.ports import Guest

_ACTION = "install_packages"


def as_it_would_be(
    guest: Guest,
    actions: list[str],
    *,
    definition: UaDefinition,
    version: str,
    bundle: Bundle | None = None,
) -> list[str]:
    """``actions`` of a plan, without the installation of packages where the guest has them all.

    Without a ``bundle`` the version is delivered already. One that the catalogue has no more is as planned.
    """
    kinds = [each.kind for each in definition.versions if each.version == version]
    if _ACTION not in actions or not kinds:
        return actions
    script = ua_scripts.packages_script(
        definition.id,
        version=version,
        would_install=kind_of(kinds[0]).would_install,
        notes=notes_of(bundle) if bundle else {},
    )
    result = guest.run(script)
    if result.status != 0:
        raise_failure(result, vm=guest.name, ua=definition.id, version=version, action="plan")
    return actions if says(result.stdout, "would") else [each for each in actions if each != _ACTION]
