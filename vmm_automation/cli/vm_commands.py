"""``vmm vm``: VMs as linked clones."""

from __future__ import annotations

from typing import Any

import click

from vmm_automation.cli.door import Door, Reply, fields, operation, table


@click.group("vm")
def command() -> None:
    """VMs: create, list, show, start, stop, rebuild, delete.

    Example: vmm vm create vm-1 vm-2
    """


_names = click.argument("names", nargs=-1, required=True, metavar="NAME...")
_yes = click.option("--yes", is_flag=True, help="Do not ask.")


@operation(command, "create", changes=True, by_operator=True)
@_names
@click.option("--profile", default="small", show_default=True, help="A file of the site's profiles/.")
def create(door: Door, names: tuple[str, ...], profile: str) -> Reply:
    """Make VMs of a profile exist, run and answer over SSH; several at once.

    Example: vmm vm create vm-1 vm-2 --profile small
    """
    return _told(door.playbook("vm_create", {"vm_names": list(names), "vm_profile": profile}))


@operation(command, "list")
def list_(door: Door) -> Reply:
    """List the VMs of the site, with what is on them.

    Example: vmm vm list --output json
    """
    from vmm_automation.operations.vm_listing import listing

    vms = listing(door.context)
    headings = ("NAME", "STATE", "PROFILE", "VCPUS", "MIB", "CONDITION", "SESSION", "UAS")
    rows = [
        (
            *(vm[key] for key in ("name", "state", "profile", "vcpus", "memory_mib", "condition", "session")),
            ", ".join(f"{ua} {version}" for ua, version in vm["uas"].items()),
        )
        for vm in vms
    ]
    return Reply({"vms": vms}, table(headings, rows, empty="No VMs. Make one: vmm vm create vm-1"))


@operation(command, "show")
@click.argument("name")
def show(door: Door, name: str) -> Reply:
    """Show one VM, with the last lines of its console.

    Example: vmm vm show vm-1
    """
    from vmm_automation.operations.vm_listing import description

    vm = description(door.context, name)
    shown = {key: value for key, value in vm.items() if key not in {"console", "uas"}}
    shown["uas"] = ", ".join(f"{ua} {version}" for ua, version in vm["uas"].items())
    console = "\n".join(f"  {line}" for line in vm["console"])
    return Reply({"vm": vm}, f"{fields(shown)}\nconsole:\n{console}")


@operation(command, "start", changes=True)
@_names
def start(door: Door, names: tuple[str, ...]) -> Reply:
    """Start VMs and wait until they answer over SSH.

    Example: vmm vm start vm-1
    """
    return _told(door.playbook("vm_start", {"vm_names": list(names)}))


@operation(command, "stop", changes=True, by_operator=True)
@_names
@click.option("--force", is_flag=True, help="Cut the power of one that does not shut down within 90 s.")
def stop(door: Door, names: tuple[str, ...], force: bool) -> Reply:
    """Shut VMs down; refused while a session is on one, unless forced.

    Example: vmm vm stop vm-1
    """
    return _told(door.playbook("vm_stop", {"vm_names": list(names), "vm_force": force}))


@operation(command, "rebuild", changes=True, by_operator=True)
@_names
@_yes
def rebuild(door: Door, names: tuple[str, ...], yes: bool) -> Reply:
    """Put VMs back on a fresh disk and install again the UAs that were active on them.

    Example: vmm vm rebuild vm-1 --yes
    """
    door.confirm(f"Rebuild {', '.join(names)}, losing what is on their disks?", yes=yes)
    return _told(door.playbook("vm_rebuild", {"vm_names": list(names), "vm_allow_destroy": True}))


@operation(command, "delete", changes=True, by_operator=True)
@_names
@_yes
def delete(door: Door, names: tuple[str, ...], yes: bool) -> Reply:
    """Delete VMs with their disks; users' stored images stay.

    Example: vmm vm delete vm-1 --yes
    """
    door.confirm(f"Delete {', '.join(names)} with their disks?", yes=yes)
    return _told(door.playbook("vm_delete", {"vm_names": list(names), "vm_allow_destroy": True}))


def _told(reply: Reply) -> Reply:
    lines = [_line(name, vm) for name, vm in reply.result.get("vms", {}).items()]
    return Reply(reply.result, "\n".join(lines), changed=reply.changed)


def _line(name: str, vm: dict[str, Any]) -> str:
    phases = ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in (vm.get("phases") or {}).items())
    action = vm.get("action") or f"restored {vm.get('restored')}"
    return f"{name}: {'unchanged' if action == 'none' else action}" + (f" ({phases})" if phases else "")
