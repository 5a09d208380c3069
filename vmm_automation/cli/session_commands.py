"""``vmm session``: one user running one UA on one VM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vmm_automation.cli import queue_commands, selection_commands
from vmm_automation.cli.door import Door, Reply, fields, operation, table
from vmm_automation.cli.identity_options import as_option, token_file_option
from vmm_automation.cli.terminal_option import terminal_from, terminal_option


@click.group("session")
def command() -> None:
    """Sessions: select, open, queue, cancel, list, show, explain, touch, move, suspend, resume, close.

    Example: vmm session open --user ada --ua radicale --terminal desktop
    """


selection_commands.add_to(command)
queue_commands.add_to(command)
_session = click.argument("session")
_fence = click.option("--fence", type=int, help="The fence that came with the right; refused if outdated.")


@operation(command, "open", changes=True)
@click.option("--user", required=True, help="Who will use the UA.")
@click.option("--ua", required=True, help="The UA, a file of the site's uas/.")
@terminal_option
@click.option("--version", default="", help="Only this version of the UA.")
@click.option("--vm", default="", help="Only this VM.")
@click.option("--avoid", multiple=True, metavar="VM", help="Not this VM; may be repeated.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of 127.0.0.1; 0 for a free one.")
@queue_commands.wait_option
@queue_commands.priority_option
@as_option
def open_(door: Door, avoid: tuple[str, ...], terminal: str, name: str, **wanted: Any) -> Reply:
    """Select a VM for a user, bring the user's image and the UA up on it, and open its endpoint.

    With --wait a request that finds no VM free, though some could serve it, waits for its turn.

    Example: vmm session open --user ada --ua radicale --terminal desktop
    """
    variables = {f"session_{option}": value for option, value in wanted.items()}
    profile = terminal_from(terminal)
    door.context.site.terminal(profile)  # a wrong one is told at once, without starting a playbook
    reply = door.playbook(
        "session_open",
        {**variables, "session_terminal": profile, "session_avoid": list(avoid), **_actor(name)},
    )
    return Reply(reply.result, _opened(reply.result), changed=reply.changed)


@operation(command, "list")
@click.option("--all", "everything", is_flag=True, help="Those that have ended, too.")
def list_(door: Door, everything: bool) -> Reply:
    """List the sessions that hold a VM.

    Example: vmm session list --all
    """
    from vmm_automation.state.session_rows import list_sessions

    with door.store.reading() as tx:
        found = [session.to_document() for session in list_sessions(tx, live_only=not everything)]
    keys = ("id", "user", "ua", "version", "vm", "state", "mode", "endpoint")
    rows = [[session[key] for key in keys] for session in found]
    return Reply({"sessions": found}, table([key.upper() for key in keys], rows, empty="No sessions."))


@operation(command, "show")
@_session
@as_option
@token_file_option
def show(door: Door, session: str, name: str, token_file: str) -> Reply:
    """Show one session: its state, why its VM was selected, and who watches it now. A Watcher needs 'view'.

    Example: vmm session show s-1a2b3c4d
    """
    from vmm_automation.operations.session_listing import description

    viewer = door.identity(name, token_file=token_file) if name else None
    found = description(door.store, session, viewer=viewer)
    shown = {key: value for key, value in found.items() if key not in {"selection", "grants", "right"}}
    shown["watchers"] = "; ".join(_watcher(grant) for grant in found["grants"])
    right = found["right"]
    shown["suspend right"] = f"{right['holder']} until {right['expires_at']}" if right["holder"] else None
    lines = [f"  {line}" for line in _why(found["selection"])]
    return Reply({"session": found}, "\n".join([fields(shown), "selection:", *lines]))


@operation(command, "touch", changes=True)
@_session
def touch(door: Door, session: str) -> Reply:
    """Say that a session is in use: its idle time begins anew.

    Example: vmm session touch s-1a2b3c4d
    """
    from vmm_automation.operations.session import touch

    done = touch(door.context, session, check=door.check)
    return Reply({"session": done["session"]}, f"Session {session} is in use", changed=done["changed"])


@operation(command, "move", changes=True)
@_session
@terminal_option
@click.option("--vm", default="", help="Only to this VM.")
@click.option("--avoid", multiple=True, metavar="VM", help="Not on this VM; its own too; may be repeated.")
@as_option
def move(door: Door, session: str, terminal: str, vm: str, avoid: tuple[str, ...], name: str) -> Reply:
    """Move a session to another terminal; where its VM does not fit that, to another VM with all data.

    Example: vmm session move s-1a2b3c4d --terminal phone
    """
    profile = terminal_from(terminal)
    door.context.site.terminal(profile)  # a wrong one is told at once, without starting a playbook
    wish = {"session_terminal": profile, "session_vm": vm, "session_avoid": list(avoid)}
    reply = door.playbook("session_move", {"session_id": session, **wish, **_actor(name)})
    return Reply(reply.result, _moved(reply.result), changed=reply.changed)


@operation(command, "suspend", changes=True)
@_session
@as_option
@token_file_option
@_fence
def suspend(door: Door, session: str, name: str, token_file: str, fence: int | None) -> Reply:
    """Suspend a session; only the Watcher who holds the suspend right may (default: your login name).

    Example: vmm session suspend s-1a2b3c4d --as bo
    """
    from vmm_automation.operations import suspension

    context = door.acting(name, token_file=token_file)
    done = suspension.suspend(context, session, watcher=context.actor, fence=fence, check=door.check)
    return _switched(done, f"Session {session} is suspended by {context.actor}")


@operation(command, "resume", changes=True)
@_session
@as_option
@token_file_option
@_fence
def resume(door: Door, session: str, name: str, token_file: str, fence: int | None) -> Reply:
    """Resume a suspended session, as the holder of the suspend right or (without --as) as its operator.

    Example: vmm session resume s-1a2b3c4d --as bo
    """
    from vmm_automation.operations import suspension

    context = door.acting(name, token_file=token_file)
    done = suspension.resume(context, session, watcher=name or None, fence=fence, check=door.check)
    return _switched(done, f"Session {session} goes on")


@operation(command, "close", changes=True)
@_session
@click.option("--discard", is_flag=True, help="Give up the user's changes: for a VM that is lost.")
@click.option("--yes", is_flag=True, help="Do not ask before --discard.")
@as_option
@token_file_option
def close(door: Door, session: str, discard: bool, yes: bool, name: str, token_file: str) -> Reply:
    """End a session: capture the user's image, clean the VM, free its seat. Finishes what was cut off.

    For an operator, or a Watcher with 'end'; --discard only for an operator.

    Example: vmm session close s-1a2b3c4d
    """
    if discard:
        door.confirm(f"Close session '{session}' without saving what was changed in it?", yes=yes)
    token = {"session_token_file": str(Path(token_file).absolute())} if token_file else {}
    wanted = {"session_id": session, "session_discard": discard, "session_allow_destroy": discard}
    reply = door.playbook("session_close", {**wanted, **token, **_actor(name)})
    return Reply(reply.result, _closed(reply.result), changed=reply.changed)


def _actor(name: str) -> dict[str, str]:
    """What tells a playbook who acts, if somebody was named."""
    from vmm_automation.model.names import check_name

    return {"vmm_actor": check_name("person", name)} if name else {}


def _watcher(grant: dict[str, Any]) -> str:
    return f"{grant['watcher']} ({', '.join(grant['privileges'])}) until {grant['expires_at']}"


def _opened(result: dict[str, Any]) -> str:
    session = result.get("session")
    if not session:
        place = (result.get("queue") or {}).get("position")
        return f"Would wait at position {place}" if place else f"Would open on {result.get('vm')}"
    lines = [
        f"Session {session['id']} of {session['user']} is {session['state']} on {session['vm']}",
        f"Endpoint: {session['endpoint'] or '-'}",
    ]
    if "deployed" in result:
        lines.append(f"User image: {f'generation {n}' if (n := result['deployed']) else 'none stored yet'}")
    if session["mode"] != "writer":
        lines.append(f"Mode: {session['mode']}, beside another session of {session['user']}")
    if waited := (result.get("queue") or {}).get("waited_s"):
        lines.append(f"Waited: {waited:g} s, at first at position {result['queue']['position']}")
    return "\n".join([*lines, *_why(result.get("selection") or {})])


def _moved(result: dict[str, Any]) -> str:
    session = result["session"]
    where = f"stays on {result['from']}" if result["to"] == result["from"] else f"moves to {result['to']}"
    if session["vm"] == result["to"] != result["from"]:
        where = f"is on {result['to']} now"
    lines = [f"Session {session['id']} {where}", f"Endpoint: {session['endpoint'] or '-'}"]
    return "\n".join([*lines, *_why(result.get("selection") or {})])


def _closed(result: dict[str, Any]) -> str:
    session, generation = result["session"], result.get("generation")
    stored = f"; generation {generation['number']} is stored" if generation else ""
    if aside := result.get("orphaned"):
        stored = f"; its save is kept aside as '{aside['archive']}': {aside['reason']}"
    if result.get("unsaved"):
        stored = f"; nothing of it is stored, for it was {session['mode']}"
    return f"Session {session['id']} is {session['state']}{stored}"


def _why(selection: dict[str, Any]) -> list[str]:
    ranked = [f"{choice['score']:>5}  {choice['sentence']}" for choice in selection.get("ranked", [])]
    rejected = [f"    -  {rejection['sentence']}" for rejection in selection.get("rejected", [])]
    return [*ranked, *rejected]


def _switched(done: dict[str, Any], sentence: str) -> Reply:
    text = sentence if done["changed"] else f"{sentence} (it was already)"
    return Reply({"session": done["session"]}, text, changed=done["changed"])
