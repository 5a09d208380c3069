"""``vmm session``: one user running one UA on one VM."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from vmm_automation.cli.door import Door, Reply, fields, operation, table


@click.group("session")
def command() -> None:
    """Sessions: open, list, show, touch, suspend, resume, close.

    Example: vmm session open --user ada --ua radicale --terminal desktop
    """


_session = click.argument("session")
_as = click.option("--as", "watcher", metavar="WATCHER", help="The Watcher who asks.")
_fence = click.option("--fence", type=int, help="The fence that came with the right; refused if outdated.")


@operation(command, "open", changes=True)
@click.option("--user", required=True, help="Who will use the UA.")
@click.option("--ua", required=True, help="The UA, a file of the site's uas/.")
@click.option(
    "--terminal", default="desktop", show_default=True, help="A file of the site's terminals/, a path, or -."
)
@click.option("--version", default="", help="Only this version of the UA.")
@click.option("--vm", default="", help="Only this VM.")
@click.option("--avoid", multiple=True, metavar="VM", help="Not this VM; may be repeated.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of 127.0.0.1; 0 for a free one.")
def open_(door: Door, avoid: tuple[str, ...], terminal: str, **wanted: Any) -> Reply:
    """Select a VM for a user, bring the user's image and the UA up on it, and open its endpoint.

    Example: vmm session open --user ada --ua radicale --terminal desktop
    """
    variables = {f"session_{name}": value for name, value in wanted.items()}
    profile = _terminal(terminal)
    door.context.site.terminal(profile)  # a wrong one is told at once, without starting a playbook
    reply = door.playbook(
        "session_open", {**variables, "session_terminal": profile, "session_avoid": list(avoid)}
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
    keys = ("id", "user", "ua", "version", "vm", "state", "endpoint")
    rows = [[session[key] for key in keys] for session in found]
    return Reply({"sessions": found}, table([key.upper() for key in keys], rows, empty="No sessions."))


@operation(command, "show")
@_session
def show(door: Door, session: str) -> Reply:
    """Show one session: its state, why its VM was selected, and who watches it.

    Example: vmm session show s-1a2b3c4d
    """
    from vmm_automation.operations.session_listing import description

    found = description(door.store, session)
    shown = {key: value for key, value in found.items() if key not in {"selection", "grants", "right"}}
    shown["watchers"] = ", ".join(
        f"{grant['watcher']} ({', '.join(grant['privileges'])})" for grant in found["grants"]
    )
    shown["suspend right"] = found["right"]["holder"]
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


@operation(command, "suspend", changes=True)
@_session
@_as
@_fence
def suspend(door: Door, session: str, watcher: str | None, fence: int | None) -> Reply:
    """Suspend a session; only the Watcher who holds the suspend right may (default: your login name).

    Example: vmm session suspend s-1a2b3c4d --as bo
    """
    from vmm_automation.operations import suspension

    context = door.context
    who = watcher or context.actor
    done = suspension.suspend(context, session, watcher=who, fence=fence, check=door.check)
    return _switched(done, f"Session {session} is suspended by {who}")


@operation(command, "resume", changes=True)
@_session
@_as
@_fence
def resume(door: Door, session: str, watcher: str | None, fence: int | None) -> Reply:
    """Resume a suspended session, as the holder of the suspend right or (without --as) as its operator.

    Example: vmm session resume s-1a2b3c4d --as bo
    """
    from vmm_automation.operations import suspension

    done = suspension.resume(door.context, session, watcher=watcher, fence=fence, check=door.check)
    return _switched(done, f"Session {session} goes on")


@operation(command, "close", changes=True)
@_session
@click.option("--discard", is_flag=True, help="Give up the user's changes: for a VM that is lost.")
def close(door: Door, session: str, discard: bool) -> Reply:
    """End a session: capture the user's image, clean the VM, free its seat. Finishes what was cut off.

    Example: vmm session close s-1a2b3c4d
    """
    reply = door.playbook("session_close", {"session_id": session, "session_discard": discard})
    generation = reply.result.get("generation")
    stored = f"; generation {generation['number']} is stored" if generation else ""
    state = reply.result["session"]["state"]
    return Reply(reply.result, f"Session {session} is {state}{stored}", changed=reply.changed)


def _terminal(value: str) -> str | dict[str, Any]:
    """A profile's name, or the profile itself from a file or standard input."""
    if value != "-" and "/" not in value and not value.endswith((".yml", ".yaml", ".json")):
        return value
    from vmm_automation.errors import NotFound, TerminalInvalid
    from vmm_automation.schema.yaml_text import MAX_BYTES, decode_mapping, read_mapping

    try:
        if value == "-":
            mapping, errors = decode_mapping(sys.stdin.buffer.read(MAX_BYTES + 1), where="standard input")
        else:
            mapping, errors = read_mapping(Path(value), where=value)
    except FileNotFoundError as absent:
        raise NotFound(
            f"Terminal profile '{value}' does not exist", hint=f"ls {Path(value).parent}"
        ) from absent
    if mapping is None:
        raise TerminalInvalid(
            f"Terminal profile '{value}' cannot be used: {'; '.join(errors)}",
            hint="vmm session open --help",
            details={"errors": errors},
        )
    return dict(mapping)


def _opened(result: dict[str, Any]) -> str:
    session = result.get("session")
    if not session:
        return f"Would open on {result.get('vm')}"
    lines = [
        f"Session {session['id']} of {session['user']} is {session['state']} on {session['vm']}",
        f"Endpoint: {session['endpoint'] or '-'}",
    ]
    if "deployed" in result:
        lines.append(f"User image: {f'generation {n}' if (n := result['deployed']) else 'none stored yet'}")
    return "\n".join([*lines, *_why(result.get("selection") or {})])


def _why(selection: dict[str, Any]) -> list[str]:
    ranked = [f"{choice['score']:>5}  {choice['sentence']}" for choice in selection.get("ranked", [])]
    rejected = [f"    -  {rejection['sentence']}" for rejection in selection.get("rejected", [])]
    return [*ranked, *rejected]


def _switched(done: dict[str, Any], sentence: str) -> Reply:
    text = sentence if done["changed"] else f"{sentence} (it was already)"
    return Reply({"session": done["session"]}, text, changed=done["changed"])
