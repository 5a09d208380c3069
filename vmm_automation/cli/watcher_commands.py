"""``vmm watcher``: who may watch a session and do what, and the suspend right."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from vmm_automation.cli.door import Door, Reply, operation, table
from vmm_automation.cli.durations import Duration, Moment, Time
from vmm_automation.cli.identity_options import as_option, token_file_option


@click.group("watcher")
def command() -> None:
    """Watchers of a session, and the suspend right that only one of them holds at a time.

    Example: vmm watcher assign s-1a2b3c4d bo --privilege view --privilege suspend
    """


@click.group("lock")
def lock() -> None:
    """The suspend right of a session: acquire, renew, hand-over, release, break, show.

    Example: vmm watcher lock acquire s-1a2b3c4d bo
    """


command.add_command(lock)
_session = click.argument("session")
_watcher = click.argument("watcher")
_PRIVILEGES = ["view", "control", "suspend", "end"]
_DURATION = Duration()


@operation(command, "assign", changes=True)
@_session
@_watcher
@click.option("--privilege", "privileges", multiple=True, required=True, type=click.Choice(_PRIVILEGES))
@click.option("--from", "starts", type=Moment(), help="When it starts: a time, or how long from now.")
@click.option("--for", "duration", type=_DURATION, help="How long from the start on; 8h if nothing is said.")
@click.option("--until", type=Time(), help="When it ends, instead.")
@click.option("--reason", default="", help="Why; kept with the grant.")
@click.option("--token", is_flag=True, help="Make a token that the Watcher must then give; shown once.")
@as_option
def assign(door: Door, **wanted: Any) -> Reply:
    """Assign a Watcher, a person or a group, to a session with privileges that end by themselves.

    Times are such as 2026-01-31T14:00Z.

    Example: vmm watcher assign s-1a2b3c4d bo --privilege view --privilege suspend --for 1h
    """
    return _granted(door, "assign", wanted)


@operation(command, "update", changes=True)
@_session
@_watcher
@click.option("--add", multiple=True, type=click.Choice(_PRIVILEGES), help="A privilege to add.")
@click.option("--remove", multiple=True, type=click.Choice(_PRIVILEGES), help="A privilege to take away.")
@click.option("--extend", type=_DURATION, default=timedelta(0), help="How much longer.")
@click.option("--until", type=Time(), help="When it ends, instead.")
@click.option("--reason", help="Why; kept with the grant.")
@click.option("--new-token", is_flag=True, help="Make another token, shown once; the old one is void.")
@as_option
def update(door: Door, **wanted: Any) -> Reply:
    """Add, take away or extend what a Watcher may do. Taking 'suspend' away releases the suspend right.

    Example: vmm watcher update s-1a2b3c4d bo --add control --extend 30m
    """
    return _granted(door, "update", wanted)


@operation(command, "revoke", changes=True)
@_session
@_watcher
@click.option("--reason", default="", help="Why; kept in the history.")
@as_option
def revoke(door: Door, **wanted: Any) -> Reply:
    """End what a Watcher may do, now.

    Example: vmm watcher revoke s-1a2b3c4d bo
    """
    return _granted(door, "revoke", wanted)


@operation(command, "list")
@click.argument("session", required=False)
def list_(door: Door, session: str | None) -> Reply:
    """List Watchers, of one session or of all.

    Example: vmm watcher list s-1a2b3c4d
    """
    from vmm_automation.adapters.clock import SystemClock
    from vmm_automation.operations import watcher

    found = watcher.list_watchers(door.store, SystemClock(), session=session)
    holder = (found.get("right") or {}).get("holder")
    rows = [
        (
            grant["session"],
            grant["watcher"],
            ", ".join(grant["privileges"]),
            "" if grant["valid"] else grant["starts_at"],
            grant["expires_at"],
            "yes" if grant["watcher"] == holder else "",
        )
        for grant in found["grants"]
    ]
    headings = ("SESSION", "WATCHER", "PRIVILEGES", "NOT BEFORE", "UNTIL", "HOLDS THE RIGHT")
    return Reply(found, table(headings, rows, empty="No Watchers."))


@operation(command, "history")
@_session
def history(door: Door, session: str) -> Reply:
    """List what happened to the grants of a session, ended ones included: who, when, by whom and why.

    Example: vmm watcher history s-1a2b3c4d
    """
    from vmm_automation.operations import watcher

    found = watcher.history(door.store, session=session)
    keys = ("at", "watcher", "change", "privileges", "starts_at", "expires_at", "actor", "reason")
    headings = ("AT", "WATCHER", "CHANGE", "PRIVILEGES", "FROM", "UNTIL", "BY", "REASON")
    rows = [{**row, "privileges": ", ".join(row["privileges"])} for row in found["history"]]
    return Reply(found, table(headings, [[row[key] for key in keys] for row in rows], empty="No grants yet."))


@operation(lock, "acquire", changes=True)
@_session
@_watcher
@click.option("--for", "lease", type=_DURATION, help="How long; if left out, as the site says.")
@as_option
@token_file_option
def acquire(door: Door, **wanted: Any) -> Reply:
    """Take the suspend right, or renew it; refused with the holder's name while another has it.

    Example: vmm watcher lock acquire s-1a2b3c4d bo --for 5m
    """
    return _right(door, "lock_acquire", wanted)


@operation(lock, "release", changes=True)
@_session
@_watcher
@as_option
@token_file_option
def release(door: Door, **wanted: Any) -> Reply:
    """Give the suspend right back.

    Example: vmm watcher lock release s-1a2b3c4d bo
    """
    return _right(door, "lock_release", wanted)


@operation(lock, "renew", changes=True)
@_session
@_watcher
@click.option("--for", "lease", type=_DURATION, help="How long from now; if left out, as the site says.")
@as_option
@token_file_option
def renew(door: Door, **wanted: Any) -> Reply:
    """Keep the suspend right for longer; refused to a Watcher who does not hold it any more.

    Example: vmm watcher lock renew s-1a2b3c4d bo --for 5m
    """
    return _right(door, "lock_renew", wanted)


@operation(lock, "hand-over", changes=True)
@_session
@click.argument("watcher", metavar="FROM")
@click.argument("to")
@click.option("--for", "lease", type=_DURATION, help="How long it then has; if left out, as the site says.")
@click.option("--fence", type=int, help="The fence that FROM was given on acquiring.")
@as_option
@token_file_option
def hand_over(door: Door, **wanted: Any) -> Reply:
    """Pass the suspend right from its holder to another Watcher in one step.

    Example: vmm watcher lock hand-over s-1a2b3c4d bo cy
    """
    return _right(door, "lock_hand_over", wanted)


@operation(lock, "break", changes=True)
@_session
@click.option("--reason", required=True, help="Why; kept in the audit chain.")
@as_option
def break_(door: Door, **wanted: Any) -> Reply:
    """Take the suspend right from whoever holds it; for the operator, not for a Watcher of the session.

    Example: vmm watcher lock break s-1a2b3c4d --reason 'bo is away'
    """
    return _right(door, "lock_break", wanted)


@operation(lock, "show")
@_session
def show(door: Door, session: str) -> Reply:
    """Show who holds the suspend right, and until when.

    Example: vmm watcher lock show s-1a2b3c4d
    """
    from vmm_automation.adapters.clock import SystemClock
    from vmm_automation.operations import watcher

    found = watcher.lock_show(door.store, SystemClock(), session=session)
    return Reply(found, _sentence(found["right"]))


def _granted(door: Door, verb: str, wanted: dict[str, Any]) -> Reply:
    done, changed = _done(door, verb, wanted)
    grant = done.get("grant") or {}
    privileges = ", ".join(grant.get("privileges", []))
    start = f" from {grant['starts_at']}" if grant.get("starts_at") else ""
    text = f"{grant.get('watcher')} may {privileges}{start} until {grant.get('expires_at')}"
    if done.get("token"):
        text += f"\nToken, shown this once: {done['token']}"
    return Reply(done, f"{wanted['watcher']} is revoked" if verb == "revoke" else text, changed)


def _right(door: Door, verb: str, wanted: dict[str, Any]) -> Reply:
    done, changed = _done(door, verb, wanted)
    return Reply(done, _sentence(done["right"]), changed)


def _done(door: Door, verb: str, wanted: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """The result document, and whether anything changed: that is said beside it, as for playbooks."""
    from vmm_automation.adapters.clock import SystemClock
    from vmm_automation.operations import watcher
    from vmm_automation.operations.watcher_lock import lease_of

    asked = dict(wanted)
    if "lease" in asked and asked["lease"] is None:
        asked["lease"] = lease_of(door.site)
    who = door.identity(asked.pop("name"), token_file=asked.pop("token_file", None))
    done: dict[str, Any] = getattr(watcher, verb)(
        door.store, SystemClock(), **asked, actor=who, check=door.check
    )
    return done, bool(done.pop("changed", False))


def _sentence(right: dict[str, Any]) -> str:
    if not right.get("holder"):
        return f"Nobody holds the suspend right of session {right['session']}"
    return (
        f"{right['holder']} holds the suspend right of session {right['session']} "
        f"until {right['expires_at']} (fence {right['fence']})"
    )
