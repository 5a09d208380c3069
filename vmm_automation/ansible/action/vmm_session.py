"""The steps of a session that need no guest: reconciled, claimed, active, moved, closing, released."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vmm_automation.ansible.action_base import VmmAction, text_list
from vmm_automation.errors import Partial, UsageError, error_from_document
from vmm_automation.operations import (
    clean_snapshot,
    image_due,
    reconcile,
    session,
    session_claim,
    session_listing,
    session_move,
    session_queue,
    suspension,
)
from vmm_automation.operations.context import Context

_Step = Callable[[Context, dict[str, Any], bool], dict[str, Any]]


class ActionModule(VmmAction):
    """``vmm_session: {state: claimed, user: ada, ua: radicale, terminal: desktop}``."""

    def needs_token(self, arguments: dict[str, Any]) -> bool:
        """Suspending, resuming and closing may be a Watcher's."""
        return arguments.get("state") in _BY_WATCHERS

    def perform(self, context: Context, arguments: dict[str, Any], *, check: bool) -> dict[str, Any]:
        """See :mod:`vmm_automation.operations.session`."""
        state = str(arguments.get("state"))
        if state not in _STEPS:
            raise UsageError(f"'{state}' is not a step of a session", hint="session_state=open")
        return _STEPS[state](context, arguments, check)


def _reconciled(context: Context, arguments: dict[str, Any], check: bool) -> dict[str, Any]:
    names = text_list(arguments.get("vms") or [], name="session_vms")
    return reconcile.reconcile(context, vms=names, check=check)


def _found(context: Context, arguments: dict[str, Any], check: bool) -> dict[str, Any]:
    """The session and its VM, brought together; refused if there is no guest to do anything in."""
    name = str(arguments["session"])
    seen = reconcile.reconcile_session(context, name, check=check)
    found = session.find(context, name)
    reconcile.require_guest(found, seen, doing="reach")
    return {"changed": False, "session": found.to_document()}


def _reported(_context: Context, arguments: dict[str, Any], _check: bool) -> dict[str, Any]:
    """Fail with what could not be reconciled, several as one; no change if there is nothing."""
    failures = _failures(arguments)
    if not failures:
        return {"changed": False}
    if len(failures) == 1:
        raise error_from_document(failures[0]["error"])
    first = failures[0]
    raise Partial(
        f"{len(failures)} differences of sessions and VMs are left, first on '{first['vm']}': "
        f"{first['error']['message']}",
        hint=first["error"].get("hint") or "vmm reconcile",
        details={"failures": failures},
    )


def _captures_judged(_context: Context, arguments: dict[str, Any], _check: bool) -> dict[str, Any]:
    tried = len(arguments.get("failures") or []) + len(arguments.get("results") or [])
    return image_due.judge(_failures(arguments), tried=tried)


def _failures(arguments: dict[str, Any]) -> list[dict[str, Any]]:
    """What failed before a loop, and in it: whatever each item says of itself, and its error."""
    failures = list(arguments.get("failures") or [])
    for done in arguments.get("results") or []:
        if error := done.get("vmm_error") or _crash(done):
            failures.append({**done["item"], "error": error})
    return failures


def _crash(done: dict[str, Any]) -> dict[str, Any]:
    return {"message": str(done.get("msg")), "hint": "vmm reconcile"} if done.get("exception") else {}


def _claimed(context: Context, arguments: dict[str, Any], check: bool) -> dict[str, Any]:
    port = int(arguments.get("port") or 0)
    session.require_port(port)
    wait_s, run = int(arguments.get("wait_s") or 0), str(arguments.get("run") or "")
    return session_queue.claim_or_wait(context, _request(arguments), wait_s=wait_s, run=run, check=check)


def _queued(context: Context, _arguments: dict[str, Any], _check: bool) -> dict[str, Any]:
    return {"changed": False, "queue": session_queue.queue(context.store, context.clock)}


def _canceled(context: Context, arguments: dict[str, Any], check: bool) -> dict[str, Any]:
    return session_queue.cancel(context, str(arguments["request"]), check=check)


def _selected(context: Context, arguments: dict[str, Any], _check: bool) -> dict[str, Any]:
    return {"changed": False, "selection": session_claim.considered(context, _request(arguments))}


def _explained(context: Context, arguments: dict[str, Any], _check: bool) -> dict[str, Any]:
    found = session_listing.explanation(context.store, str(arguments["session"]), clock=context.clock)
    return {"changed": False, "explanation": found}


def _request(arguments: dict[str, Any]) -> session_claim.Request:
    return session_claim.Request(
        user=str(arguments["user"]),
        ua=str(arguments["ua"]),
        terminal=arguments["terminal"],
        version=str(arguments.get("version") or ""),
        vm=str(arguments.get("vm") or ""),
        avoid=text_list(arguments.get("avoid") or [], name="session_avoid"),
        priority=int(arguments.get("priority") or 0),
    )


def _active(context: Context, arguments: dict[str, Any], check: bool) -> dict[str, Any]:
    port = int(arguments.get("port") or 0)
    return session.activate(context, str(arguments["session"]), port=port, check=check)


def _abandoned(context: Context, arguments: dict[str, Any], _check: bool) -> dict[str, Any]:
    return session.abandon(context, str(arguments["session"]), reason=str(arguments.get("reason") or ""))


def _moving(context: Context, arguments: dict[str, Any], check: bool) -> dict[str, Any]:
    wish = session_move.Wish(
        terminal=arguments["terminal"],
        vm=str(arguments.get("vm") or ""),
        avoid=text_list(arguments.get("avoid") or [], name="session_avoid"),
    )
    return session_move.begin(context, str(arguments["session"]), wish, check=check)


def _unmoved(context: Context, arguments: dict[str, Any], _check: bool) -> dict[str, Any]:
    return session_move.undo(context, str(arguments["session"]), reason=str(arguments.get("reason") or ""))


def _failed(_context: Context, arguments: dict[str, Any], _check: bool) -> dict[str, Any]:
    """Fail again with the failure that made the session be given up."""
    error = arguments.get("error")
    document = error if isinstance(error, dict) else {"message": str(arguments.get("reason"))}
    raise error_from_document(document)


def _closing(context: Context, arguments: dict[str, Any], check: bool) -> dict[str, Any]:
    name, discard = str(arguments["session"]), bool(arguments.get("discard", False))
    if discard and not arguments.get("allow_destroy"):
        raise UsageError(
            f"Cannot discard the data of session '{name}': destruction is off unless asked for",
            hint="set session_allow_destroy=true (vmm: --yes)",
        )
    return session.begin_close(context, name, discard=discard, check=check)


def _suspension(verb: str) -> _Step:
    def step(context: Context, arguments: dict[str, Any], check: bool) -> dict[str, Any]:
        fence = int(arguments["fence"]) if arguments.get("fence") else None
        watcher = str(arguments.get("watcher") or "")
        name = str(arguments["session"])
        if verb == "suspend":
            who = watcher or context.actor
            return suspension.suspend(context, name, watcher=who, fence=fence, check=check)
        return suspension.resume(context, name, watcher=watcher or None, fence=fence, check=check)

    return step


_BY_WATCHERS = frozenset({"closing", "suspended", "resumed"})
_STEPS: dict[str, _Step] = {
    "reconciled": _reconciled,
    "found": _found,
    "selected": _selected,
    "explained": _explained,
    "claimed": _claimed,
    "queued": _queued,
    "canceled": _canceled,
    "active": _active,
    "kept": lambda context, arguments, _check: clean_snapshot.keep(context, str(arguments["session"])),
    "moving": _moving,
    "moved": lambda context, arguments, _check: session_move.switch(context, str(arguments["session"])),
    "unmoved": _unmoved,
    "abandoned": _abandoned,
    "failed": _failed,
    "reported": _reported,
    "captures_judged": _captures_judged,
    "due": lambda context, _arguments, _check: image_due.due(context),
    "touched": lambda context, arguments, check: session.touch(
        context, str(arguments["session"]), check=check
    ),
    "closing": _closing,
    "released": lambda context, arguments, check: session.release(
        context, str(arguments["session"]), check=check
    ),
    "suspended": _suspension("suspend"),
    "resumed": _suspension("resume"),
}
