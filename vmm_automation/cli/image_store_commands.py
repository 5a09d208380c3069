"""``vmm image``: what is done with stored generations, without any guest."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from vmm_automation.cli.door import Door, Reply, operation, table
from vmm_automation.cli.durations import Duration
from vmm_automation.places import Places

#: its members become members of ``vmm image``
command = click.Group("image")
_user = click.argument("user")
_ua = click.argument("ua")
_NUMBER = click.IntRange(1)
_generation = click.option("--generation", type=_NUMBER, required=True, help="Its number.")
ORPHAN = "The archive of a save that was kept aside, instead; see `vmm image list --orphaned`."


@operation(command, "verify")
@click.argument("user", default="")
@click.argument("ua", default="")
@click.option("--generation", type=_NUMBER, help="Its number; the newest if left out.")
@click.option(
    "--all", "every", is_flag=True, help="Every generation, not only the newest of each user and UA."
)
def verify(door: Door, user: str, ua: str, generation: int | None, every: bool) -> Reply:
    """Read generations whole and compare every file's digest; a damaged or missing one ends with status 9.

    Example: vmm image verify --all
    """
    from vmm_automation.operations.image_store import verify

    result = verify(door.context, user=user, ua=ua, number=generation or 0, every=every)
    keys = ("user", "ua", "number", "file_count", "size", "status")
    rows = [[one[key] for key in keys] for one in result["generations"]]
    headings = ("USER", "UA", "GENERATION", "PATHS", "BYTES", "STATUS")
    return Reply(result, table(headings, rows, empty="No user images."))


@operation(command, "diff")
@_user
@_ua
@click.option("--from", "old", type=_NUMBER, required=True, help="The number of the one generation.")
@click.option("--to", "new", type=_NUMBER, help="The number of the other.")
@click.option("--orphan", default="", metavar="ARCHIVE", help=ORPHAN)
def diff(door: Door, user: str, ua: str, old: int, new: int | None, orphan: str) -> Reply:
    """Show the paths that one generation adds to, changes in or removes from another, by layer.

    Example: vmm image diff ada radicale --from 2 --to 3
    """
    from vmm_automation.images.volume import VolumeStore
    from vmm_automation.operations.image_listing import difference

    volumes = VolumeStore(Places.from_environment().user_volumes)
    result = difference(door.store, volumes, user=user, ua=ua, old=old, new=new or 0, orphan=orphan)
    rows = [
        (layer, kind, path)
        for layer, kinds in result["layers"].items()
        for kind, paths in kinds.items()
        for path in paths
    ]
    return Reply(result, table(("LAYER", "CHANGE", "PATH"), rows, empty="They hold the same."))


@operation(command, "restore", changes=True, by_operator=True)
@_user
@_ua
@click.option("--generation", type=_NUMBER, help="The number of the generation to go back to.")
@click.option("--orphan", default="", metavar="ARCHIVE", help=ORPHAN)
@click.option("--reason", default="", help="Why; kept with the new generation.")
@click.option("--yes", is_flag=True, help="Do not ask before --orphan.")
def restore(
    door: Door, user: str, ua: str, generation: int | None, orphan: str, reason: str, yes: bool
) -> Reply:
    """Make a generation, or a save that was kept aside, the newest; the user's next session starts from it.

    Example: vmm image restore ada radicale --generation 3 --reason "ticket 4711"
    """
    from vmm_automation.operations.image_store import restore

    if orphan:
        door.confirm(f"Let the next session of user '{user}' start from '{orphan}'?", yes=yes)
    wanted: dict[str, Any] = {"number": generation or 0, "orphan": orphan, "reason": reason}
    result = restore(door.context, user=user, ua=ua, **wanted, check=door.check)
    text = f"Generation {result['generation']['number']} is the newest of user '{user}', UA '{ua}'"
    return Reply(result, text, changed=result["changed"])


@operation(command, "pin", changes=True, by_operator=True)
@_user
@_ua
@_generation
def pin(door: Door, user: str, ua: str, generation: int) -> Reply:
    """Keep a generation whatever a retention says.

    Example: vmm image pin ada radicale --generation 3
    """
    return _pinned(door, user, ua, generation, pinned=True)


@operation(command, "unpin", changes=True, by_operator=True)
@_user
@_ua
@_generation
def unpin(door: Door, user: str, ua: str, generation: int) -> Reply:
    """Leave a generation to the retention again.

    Example: vmm image unpin ada radicale --generation 3
    """
    return _pinned(door, user, ua, generation, pinned=False)


@operation(command, "prune", changes=True, by_operator=True)
@click.argument("user", default="")
@click.argument("ua", default="")
@click.option("--keep-last", type=click.IntRange(0), default=0, help="That many newest.")
@click.option("--keep-daily", type=click.IntRange(0), default=0, help="The newest of that many days.")
@click.option("--keep-weekly", type=click.IntRange(0), default=0, help="The newest of that many weeks.")
@click.option("--within", type=Duration(), default=timedelta(), help="All that are not older, such as 14d.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def prune(door: Door, user: str, ua: str, within: timedelta, yes: bool, **keep: int) -> Reply:
    """Delete the generations that no rule keeps; never a pinned one, the newest, or the newest good one.

    Example: vmm image prune --keep-last 5 --keep-daily 7 --keep-weekly 4 --yes
    """
    from vmm_automation.model.retention import Retention
    from vmm_automation.operations.image_upkeep import prune

    door.confirm("Delete the generations that no rule keeps, for good?", yes=yes)
    rules = {name.removeprefix("keep_"): count for name, count in keep.items()}
    retention = Retention(**rules, within=within)
    result = prune(door.context, retention=retention, user=user, ua=ua, check=door.check)
    rows = [
        (one["user"], one["ua"], one.get("session", ""), len(one["kept"]), len(one["pruned"]))
        for one in (*result["images"], *result["branches"])
    ]
    text = table(("USER", "UA", "BRANCH", "KEPT", "PRUNED"), rows, empty="No user images.")
    return Reply(result, text, changed=result["changed"])


@operation(command, "delete", changes=True, by_operator=True)
@_user
@_ua
@click.option("--generation", type=_NUMBER, help="Its number.")
@click.option("--orphan", default="", metavar="ARCHIVE", help=ORPHAN)
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(door: Door, user: str, ua: str, generation: int | None, orphan: str, yes: bool) -> Reply:
    """Delete one generation that is neither the newest nor pinned, or one save that was kept aside.

    Example: vmm image delete ada radicale --generation 3 --yes
    """
    from vmm_automation.operations.image_store import delete

    door.confirm(f"Delete data of user '{user}', UA '{ua}', for good?", yes=yes)
    result = delete(door.context, user=user, ua=ua, number=generation or 0, orphan=orphan, check=door.check)
    return Reply(result, f"'{result['deleted']}' is deleted", changed=result["changed"])


@operation(command, "repair", changes=True, by_operator=True)
@click.option("--yes", is_flag=True, help="Delete the archives that no generation names.")
@click.option(
    "--recent", type=Duration(), default="1h", help="Leave those that were stored within this time."
)
def repair(door: Door, yes: bool, recent: timedelta) -> Reply:
    """Mark generations whose archive is missing, list archives without a generation, drop damaged volumes.

    Example: vmm image repair --yes
    """
    from vmm_automation.operations.image_upkeep import repair

    result = repair(door.context, remove=yes, recent=recent, check=door.check)
    counts = {key: len(result[key]) for key in ("missing", "found_again", "unnamed", "removed")}
    counts |= {f"volumes_{key}": len(found) for key, found in result["volumes"].items()}
    rows = [(key.replace("_", " "), count) for key, count in counts.items()]
    return Reply(result, table(("WHAT", "HOW MANY"), rows, empty=""), changed=result["changed"])


@operation(command, "flatten", changes=True, by_operator=True)
def flatten(door: Door) -> Reply:
    """Make one layer of each newest volume that lies on too many; for a timer, while sessions go on.

    Example: vmm image flatten
    """
    from vmm_automation.operations.volume_upkeep import flatten

    result = flatten(door.context, check=door.check)
    rows = [(one["user"], one["ua"], one["generation"]) for one in result["flattened"]]
    text = table(("USER", "UA", "GENERATION"), rows, empty="No volume lies on too many layers.")
    return Reply(result, text, changed=result["changed"])


@operation(command, "export", changes=True)
@_user
@_ua
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--generation", type=_NUMBER, help="Its number; the newest if left out.")
@click.option("--orphan", default="", metavar="ARCHIVE", help=ORPHAN)
@click.option(
    "--recipients", type=click.Path(path_type=Path), help="Encrypt it for the age recipients in this file."
)
def export(
    door: Door, user: str, ua: str, file: Path, generation: int | None, orphan: str, recipients: Path | None
) -> Reply:
    """Write a generation, or a save, as one new .vmmimage file, which tar and zstd (and age) can open.

    Example: vmm image export ada radicale ada-radicale.vmmimage
    """
    from vmm_automation.operations.image_file import export

    wanted: dict[str, Any] = {"target": file.absolute(), "number": generation or 0, "recipients": recipients}
    result = export(door.context, user=user, ua=ua, orphan=orphan, **wanted, check=door.check)
    which = f"Save '{orphan}'" if orphan else f"Generation {result['generation']['number']}"
    text = f"{which} is in '{result['path']}'"
    return Reply(result, text, changed=result["changed"])


@operation(command, "import", changes=True, by_operator=True)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--key", type=click.Path(path_type=Path), help="The key of the store that it was exported from."
)
@click.option(
    "--identity", type=click.Path(path_type=Path), help="The age identity that it is encrypted for, a file."
)
def import_(door: Door, file: Path, key: Path | None, identity: Path | None) -> Reply:
    """Make the content of a .vmmimage file the newest generation of its user, after all of it is proven.

    Example: vmm image import ada-radicale.vmmimage
    """
    from vmm_automation.operations.image_file import import_

    files: dict[str, Any] = {"source": file.absolute(), "key_file": key, "identity": identity}
    result = import_(door.context, **files, check=door.check)
    number = result["generation"]["number"]
    return Reply(result, f"Its content is generation {number}", changed=result["changed"])


def _pinned(door: Door, user: str, ua: str, generation: int, *, pinned: bool) -> Reply:
    from vmm_automation.operations.image_store import pin

    result = pin(door.context, user=user, ua=ua, number=generation, pinned=pinned, check=door.check)
    word = "pinned" if pinned else "not pinned"
    return Reply(result, f"Generation {generation} is {word}", changed=result["changed"])
