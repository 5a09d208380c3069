"""``vmm image``: User Image Files."""

from __future__ import annotations

import click

from vmm_automation.cli import image_store_commands
from vmm_automation.cli.door import Door, Reply, operation, table
from vmm_automation.places import Places


@click.group("image")
def command() -> None:
    """User Image Files, the numbered generations of a user's data: captured, kept, verified, restored.

    Example: vmm image list --user ada
    """


for _name, _member in image_store_commands.command.commands.items():
    command.add_command(_member, _name)

_GENERATIONS = (
    (
        "USER",
        "UA",
        "GENERATION",
        "CAPTURED",
        "PATHS",
        "BYTES",
        "UA VERSION",
        "SESSION",
        "STATE",
        "PINNED",
        "TIER",
    ),
    (
        *("user", "ua", "number", "captured_at", "file_count", "size", "ua_version", "session", "state"),
        *("pinned", "tier"),
    ),
)
_ORPHANS = (
    ("USER", "UA", "ARCHIVE", "CAPTURED", "PATHS", "BYTES", "SESSION", "WHY"),
    ("user", "ua", "archive", "captured_at", "file_count", "size", "session", "reason"),
)


@operation(command, "list")
@click.option("--user", help="Only of this user.")
@click.option("--ua", help="Only of this UA.")
@click.option("--orphaned", is_flag=True, help="The saves that were refused and kept aside, instead.")
def list_(door: Door, user: str | None, ua: str | None, orphaned: bool) -> Reply:
    """List stored generations.

    Example: vmm image list --user ada --ua radicale
    """
    from vmm_automation.images.volume import VolumeStore
    from vmm_automation.operations.image_listing import listing

    volumes = VolumeStore(Places.from_environment().user_volumes)
    with door.store as store:
        found = listing(store, volumes, user=user or "", ua=ua or "", orphaned=orphaned)["generations"]
    headings, keys = _ORPHANS if orphaned else _GENERATIONS
    rows = [[generation[key] for key in keys] for generation in found]
    empty = "No orphaned saves." if orphaned else "No user images."
    return Reply({"generations": found}, table(headings, rows, empty=empty))


@operation(command, "show")
@click.argument("user")
@click.argument("ua")
@click.option("--generation", type=click.IntRange(1), help="Its number; the newest if left out.")
@click.option("--orphan", default="", metavar="ARCHIVE", help=image_store_commands.ORPHAN)
def show(door: Door, user: str, ua: str, generation: int | None, orphan: str) -> Reply:
    """Show the manifest of a generation, or of a save: every path with its layer, size and digest.

    Example: vmm image show ada radicale
    """
    from vmm_automation.operations.image_listing import manifest as read

    with door.store as store:
        manifest = read(store, user=user, ua=ua, number=generation or 0, orphan=orphan)["manifest"]
    rows = [(file["layer"], file["size"], file["sha256"][:12], file["path"]) for file in manifest["files"]]
    which = f"Save '{orphan}'" if orphan else f"Generation {manifest['generation']}"
    head = (
        f"{which} of {user}, {ua} {manifest['ua_version']}, "
        f"{manifest['consistency']}, captured {manifest['captured_at']}, "
        f"digest {manifest['root_digest'][:12]}"
    )
    listing = table(("LAYER", "BYTES", "SHA256", "PATH"), rows, empty="It holds no paths.")
    return Reply({"manifest": manifest}, f"{head}\n{listing}")


@operation(command, "capture", changes=True)
@click.argument("session", default="")
@click.option("--due", is_flag=True, help="All sessions whose UA says so (capture.every_s); for a timer.")
def capture(door: Door, session: str, due: bool) -> Reply:
    """Capture the next generation from a session that goes on, or from all that are due.

    Example: vmm image capture s-1a2b3c4d
    """
    from vmm_automation.errors import UsageError

    if bool(session) == due:
        raise UsageError("Give a session, or --due, not both", hint="vmm image capture --due")
    if due:
        reply = door.playbook("image_capture_due", {})
        done = "Would capture, where data have changed" if door.check else "Captured"
        names = ", ".join(reply.result.get("captured") or {})
        return Reply(reply.result, f"{done}: {names}" if names else "Nothing to do", reply.changed)
    reply = door.playbook("image_capture", {"user_image_session": session})
    if aside := reply.result.get("orphaned"):
        return Reply(reply.result, f"Kept aside as '{aside['archive']}': {aside['reason']}", reply.changed)
    generation = reply.result.get("generation") or {}
    text = f"Generation {generation.get('number', '-')}: {generation.get('file_count', 0)} paths"
    return Reply(reply.result, text, changed=reply.changed)


@operation(command, "preview")
@click.argument("session")
def preview(door: Door, session: str) -> Reply:
    """Show what a capture would add, change, remove and leave out now, and by which rule; nothing is stored.

    Example: vmm image preview s-1a2b3c4d
    """
    from vmm_automation.images.cap import sizes

    result = door.playbook("image_preview", {"user_image_session": session}).result
    rows = [(one["layer"], one["change"], one["path"], one["why"]) for one in result["changes"]]
    rows += [("-", "left out", one["path"], one["why"]) for one in result["left_out"]]
    listing = table(("LAYER", "CHANGE", "PATH", "WHY"), rows, empty="Nothing has changed.")
    if result["refused"]:
        return Reply(result, f"A capture would fail: {result['refused']}")
    return Reply(result, f"{listing}\nWithin the cap: {sizes(result['cap'])}")


@operation(command, "deploy", changes=True, by_operator=True)
@click.argument("session")
@click.option("--generation", type=click.IntRange(1), help="Its number; the newest if left out.")
@click.option("--orphan", default="", metavar="VOLUME", help="A volume that was kept aside, instead.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def deploy(door: Door, session: str, generation: int | None, orphan: str, yes: bool) -> Reply:
    """Put a stored generation in place of the data of an active session; its UA is restarted.

    Example: vmm image deploy s-1a2b3c4d --generation 3 --yes
    """
    door.confirm(f"Replace the present data of session '{session}'?", yes=yes)
    variables = {"user_image_session": session, "user_image_generation": generation or 0}
    variables |= {"user_image_orphan": orphan, "user_image_allow_destroy": True}
    reply = door.playbook("image_deploy", variables)
    what = f"Volume '{orphan}'" if orphan else f"Generation {reply.result.get('deployed')}"
    return Reply(reply.result, f"{what} is deployed", reply.changed)
