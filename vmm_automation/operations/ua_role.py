"""UA versions that an operator's own Ansible role brings to a VM.

What the role has to keep to: it is run on one VM, as root, without facts, with ``vmm_ua_state`` *present* or
*absent*, ``vmm_ua_id``, ``vmm_ua_version`` and the version's own ``variables``. *present* brings the version
beside others that are there, starts nothing, and run again changes nothing; *absent* takes away what it
brought and nothing else. It tells the truth in check mode. It keeps out of ``/opt/vmm``, where the unit and
the configuration of the definition come; which version runs is not its business.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from vmm_automation.adapters.kinds import kind_of
from vmm_automation.adapters.kinds.role import role_directory
from vmm_automation.errors import TaskFailed
from vmm_automation.model.ua import DeploymentState, UaDefinition, UaVersion
from vmm_automation.operations.context import Context
from vmm_automation.ports import Guest
from vmm_automation.state import ledger


def with_role(
    context: Context,
    guest: Guest,
    *,
    definition: UaDefinition,
    version: UaVersion,
    install: Callable[[bool], dict[str, Any]],
    check: bool,
) -> dict[str, Any]:
    """``install`` (given whether it only checks), after the version's role if that is its kind.

    The role is run where the version is to be delivered; an interrupted one is run again then.

    Raises:
        ArtifactInvalid: the site has no such role.
        TaskFailed, GuestUnreachable: as the role failed.
    """
    if not kind_of(version.kind).by_role:
        return install(check)
    planned = install(True)
    ran = "deliver" in planned["actions"] and run_role(
        context, guest.name, ua_id=definition.id, version=version, state="present", check=check
    )
    done = planned if check else install(False)
    return {
        **done,
        "changed": ran or done["changed"],
        "actions": [*(["run_role"] if ran else []), *done["actions"]],
    }


def without_role(
    context: Context,
    guest: Guest,
    *,
    ua_id: str,
    version: str,
    remove: Callable[[bool], dict[str, Any]],
    check: bool,
) -> dict[str, Any]:
    """``remove`` (given whether it only checks), after the roles of what is removed took theirs away.

    ``version`` is empty for all. The ledger says what was brought, failed versions too: a role may have been
    cut off.

    Raises:
        ArtifactInvalid, TaskFailed, GuestUnreachable: as :func:`with_role`.
    """
    with context.store.reading() as tx:
        rows = [row for row in ledger.for_vm(tx, vm=guest.name) if row.ua == ua_id]
    known = {each.version: each for each in context.site.ua(ua_id).versions} if rows else {}
    meant = [row.version for row in rows if version in ("", row.version)]
    gone = {row.version for row in rows if row.state is DeploymentState.REMOVED}
    brought = [known[each] for each in meant if each in known and each not in gone]
    by_role = [each for each in brought if kind_of(each.kind).by_role]
    if not by_role:
        return remove(check)
    planned = remove(True)
    ran = [
        f"run_role {each.version}"
        for each in by_role
        if run_role(context, guest.name, ua_id=ua_id, version=each, state="absent", check=check)
    ]
    done = planned if check else remove(False)
    return {**done, "changed": bool(ran) or done["changed"], "actions": [*ran, *done["actions"]]}


def run_role(
    context: Context, vm: str, *, ua_id: str, version: UaVersion, state: str, check: bool = False
) -> bool:
    """Run a version's role on one VM; whether it changed (with ``check``: would change) something.

    Raises:
        ArtifactInvalid: the site has no such role.
        TaskFailed, GuestUnreachable: as the role failed.
    """
    from vmm_automation.adapters.runner import PlaybookRun, run_playbook

    role = role_directory(version, definition_dir=context.site.directory / "uas")
    context.progress(f"run role {version.role} on {vm}: {state}")
    named: dict[str, Any] = {"name": f"Run role {version.role}", "hosts": vm, "gather_facts": False}
    play = {**named, "roles": [{"role": str(role)}]}
    given = {"vmm_ua_id": ua_id, "vmm_ua_version": version.version, "vmm_ua_state": state}
    with tempfile.TemporaryDirectory(prefix="vmm-role-") as scratch:
        playbook = Path(scratch) / f"{version.role}.yml"
        playbook.write_text(yaml.safe_dump([play]))
        request = PlaybookRun(
            playbook=playbook,
            inventory=context.site.directory / "site.vmm.yml",
            variables={**version.variables, **given},
            check=check,
        )
        outcome = run_playbook(request, runs=context.places.runs, listener=lambda _event: None)
    if vm not in outcome.ok_hosts:
        raise TaskFailed(
            f"Role '{version.role}' did nothing on VM '{vm}': it has no task, or the inventory no such VM",
            hint="vmm vm list",
            details={"host": vm, "role": version.role},
        )
    return outcome.changed
