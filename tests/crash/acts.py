"""What a process is made to do, and to be killed at."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from vmm_automation.adapters.disks import free_port
from vmm_automation.errors import WaitedInVain
from vmm_automation.model.session import LIVE
from vmm_automation.operations import (
    session,
    session_claim,
    session_move,
    session_queue,
    state_transfer,
    suspension,
    watcher,
)
from vmm_automation.operations.context import Context
from vmm_automation.operations.reconcile import reconcile
from vmm_automation.places import Places

from ..real_state import RealState
from .world import World

Act = Callable[[Context, Path], Any]
_CLEO = session_claim.Request(user="cleo", ua="plain", terminal="desktop", vm="vm-2")
_BO: dict[str, Any] = {"session": "s-1", "watcher": "bo", "actor": "root"}
_NEW: dict[str, Any] = {**_BO, "watcher": "di", "privileges": ["view"], "duration": timedelta(hours=1)}


def _open(context: Context, _files: Path) -> Any:
    """A UA without an endpoint: there is nobody to answer."""
    claimed = session_claim.claim(context, _CLEO)["session"]["id"]
    return session.activate(context, claimed)


def _open_with_endpoint(context: Context, _files: Path) -> Any:
    """The forward's process answers itself."""
    port = free_port()
    _answer(port)
    request = session_claim.Request(user="cleo", ua="radicale", terminal="desktop", vm="vm-2")
    claimed = session_claim.claim(context, request)["session"]["id"]
    return session.activate(context, claimed, port=port)


def _move(context: Context, _files: Path) -> Any:
    """To vm-2, without what is done in the guests in between."""
    _answer(session.find(context, "s-1").port)
    wish = session_move.Wish(terminal="phone", avoid=("vm-1",))
    session_move.begin(context, "s-1", wish)
    return session_move.switch(context, "s-1")


def _answer(port: int) -> None:
    import http.server
    import threading

    class Answering(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_words: Any) -> None:
            """Quiet."""

    server = http.server.HTTPServer(("127.0.0.1", port), Answering)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def _wait(context: Context, _files: Path) -> Any:
    """For a VM that is held all the time."""
    request = session_claim.Request(user="di", ua="plain", terminal="desktop", vm="vm-1")
    try:
        return session_queue.claim_or_wait(context, request, wait_s=1)
    except WaitedInVain as ended:
        return ended.details


def _verb(name: str, **asked: Any) -> Act:
    return lambda context, _files: getattr(watcher, name)(context.store, context.clock, **asked)


ACTS: dict[str, Act] = {
    "open": _open,
    "open with endpoint": _open_with_endpoint,
    "wait": _wait,
    "queue": lambda context, _files: session_queue.queue(context.store, context.clock),
    "move": _move,
    "move to another terminal": lambda context, _files: session_move.begin(
        context, "s-1", session_move.Wish(terminal="phone")
    ),
    "abandon": lambda context, _files: session.abandon(context, "s-1", reason="test", expected=LIVE),
    "close": lambda context, _files: session.begin_close(context, "s-1"),
    "release": lambda context, _files: session.release(context, "s-1"),
    "touch": lambda context, _files: session.touch(context, "s-1"),
    "suspend": lambda context, _files: suspension.suspend(context, "s-1", watcher="bo", fence=1),
    "resume": lambda context, _files: suspension.resume(context, "s-1"),
    "reconcile": lambda context, _files: reconcile(context),
    "assign": _verb("assign", **_NEW),
    "update": _verb("update", **_BO, add=["view"]),
    "revoke": _verb("revoke", **_BO),
    "lock acquire": _verb("lock_acquire", **{**_BO, "lease": timedelta(hours=1)}),
    "lock release": _verb("lock_release", **_BO),
    "lock hand over": _verb("lock_hand_over", **_BO, to="cy"),
    "lock break": _verb("lock_break", session="s-1", actor="root", reason="test"),
    "export": lambda context, files: state_transfer.export_state(context.store, path=files / "saved"),
    "backup": lambda context, files: state_transfer.back_up(context.store, path=files / "saved"),
    "import": lambda context, files: state_transfer.import_state(context.store, path=files / "export"),
}


def main(home: str, url: str, act: str) -> Any:
    """Do it; what it returned."""
    state = RealState(Path(home), url)
    if act == "migrate":
        from vmm_automation.model.state_url import parse_state_url

        place = parse_state_url(url) if url else None
        return state_transfer.migrate(Places(state.home), place)
    world = World(state)
    return ACTS[act](world.context(), world.files)
