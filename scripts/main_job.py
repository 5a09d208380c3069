#!/usr/bin/env python3
"""The main job from end to end, on two real VMs: what the project is for, each claim checked.

A user's calendar settings are changed in an application in one VM and found again in another; two Watchers
compete for the right to suspend the session. Only `vmm` commands are run, and each is shown, so that all of
it can be typed by hand; `--output json` is added to read the answers. Exit status 1 if a claim does not hold.

Run it with scripts/quickstart, as often as you like.
"""

from __future__ import annotations

import argparse
import json
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from calendar_client import Calendar, Refused, Settings, fetch

BIN = Path(sys.executable).parent
VMS = ("vm-1", "vm-2")
USER, UA, OLD_VERSION = "ada", "radicale", "3.2.3"
SILENCE_S = 3.0  # an endpoint that has not answered by then is taken for suspended


class ClaimBroken(Exception):
    """Something that this script says is not so; ``hint`` is one thing to type."""

    def __init__(self, message: str, *, hint: str = "vmm doctor") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass
class Timeline:
    """What took how long, phase by phase."""

    rows: list[tuple[str, float]] = field(default_factory=list)

    @contextmanager
    def phase(self, title: str) -> Iterator[None]:
        """Announce a phase and time it."""
        print(f"\n== {len(self.rows) + 1}. {title}", flush=True)
        started = time.monotonic()
        yield
        self.rows.append((title, time.monotonic() - started))

    def show(self, *, setup_s: float) -> None:
        """Print the table."""
        rows = [("Set up this machine (scripts/setup)", setup_s), *self.rows]
        rows.append(("Total", sum(seconds for _, seconds in rows)))
        width = max(len(title) for title, _ in rows)
        print("\n== Timeline")
        for title, seconds in rows:
            print(f"   {title.ljust(width)}  {seconds:6.1f} s")


def vmm(*words: str, refused: int = 0) -> dict[str, Any]:
    """Run one vmm command and return its result; with ``refused``, the error it must end with that status."""
    print(f"   $ vmm {' '.join(words)}", flush=True)
    with tempfile.TemporaryFile() as answer:
        with subprocess.Popen(
            [BIN / "vmm", *words, "--output", "json"],
            stdin=subprocess.DEVNULL,
            stdout=answer,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            for line in process.stderr:
                print(f"     {line.rstrip()}", flush=True)
        answer.seek(0)
        text = answer.read()
    if process.returncode != refused:
        raise ClaimBroken(f"'vmm {' '.join(words)}' ended with status {process.returncode}, not {refused}")
    document: dict[str, Any] = json.loads(text)
    found: dict[str, Any] = document["error" if refused else "result"]
    return found


def claim(holds: bool, statement: str) -> None:
    """Print a statement that was checked, or end with it."""
    if not holds:
        raise ClaimBroken(f"This does not hold: {statement}")
    print(f"   ok: {statement}", flush=True)


def close_left_over() -> None:
    """Close a session that an interrupted run left open; refuse to touch anyone else's on the demo's VMs."""
    for session in vmm("session", "list")["sessions"]:
        if session["user"] == USER and session["ua"] == UA:
            states = {vm["name"]: vm["state"] for vm in vmm("vm", "list")["vms"]}
            # Where the VM lost its power, what is on its disk may be torn; what was stored before is whole.
            lost = states.get(session["vm"]) not in {"running", "paused"}
            vmm("session", "close", session["id"], *(["--discard", "--yes"] if lost else []))
        elif session["vm"] in VMS:
            raise ClaimBroken(
                f"VM '{session['vm']}' is in use by session '{session['id']}' of user '{session['user']}'",
                hint=f"vmm session close {session['id']}",
            )


def make_vms() -> None:
    """Base image once, two linked clones in parallel, each reached only with the host key it was given."""
    made = vmm("vm", "create", *VMS)
    acceleration = made["acceleration"]
    name = {"kvm": "KVM", "tcg": "software emulation (TCG)"}[acceleration["kind"]]
    print(f"   VMs run under {name}: {acceleration['reason']}")
    print(f"   base image '{made['base_image']['name']}': {made['base_image']['action']}")
    for vm in VMS:
        shown = vmm("vm", "show", vm)["vm"]
        scan = ["ssh-keyscan", "-T", "20", "-t", "ed25519", "-p", str(shown["ssh_port"]), "127.0.0.1"]
        offered = subprocess.run(scan, capture_output=True, text=True, check=False).stdout
        claim(shown["state"] == "running", f"{vm} runs")
        claim(
            shown["host_key"] in offered,
            f"{vm} shows the host key that was put into it before its first boot",
        )


def install_ua() -> None:
    """The old version on both VMs, the newest on the second."""
    both = [word for vm in VMS for word in ("--vm", vm)]
    vmm("ua", "install", UA, "--version", OLD_VERSION, *both)
    newest = vmm("ua", "update", UA, "--vm", VMS[1])["version"]
    active = {vm["name"]: vm["uas"].get(UA) for vm in vmm("vm", "list")["vms"]}
    claim(active[VMS[0]] == OLD_VERSION, f"{UA} {OLD_VERSION} is active on {VMS[0]}")
    claim(active[VMS[1]] == newest != OLD_VERSION, f"{UA} {newest} is active on {VMS[1]}")


def open_session(*, avoid: Sequence[str] = ()) -> tuple[dict[str, Any], Calendar]:
    """Open Ada's session on the VM that fits her terminal best; say which, why, and that it answers."""
    words = [word for vm in avoid for word in ("--avoid", vm)]
    opened = vmm("session", "open", "--user", USER, "--ua", UA, "--terminal", "desktop", *words)
    session: dict[str, Any] = opened["session"]
    print(f"   selected: {opened['selection']['ranked'][0]['sentence']}")
    for other in [*opened["selection"]["ranked"][1:], *opened["selection"]["rejected"]]:
        print(f"   not:      {other['sentence']}")
    status = fetch(session["endpoint"], timeout_s=30).status
    claim(status == 200, f"{session['endpoint']} answers (HTTP {status})")
    session["deployed"] = opened["deployed"]
    return session, Calendar(session["endpoint"], user=USER)


def change_settings() -> tuple[str, int, Settings]:
    """Change Ada's settings through the running application and close; they are stored, the VM is clean."""
    session, calendar = open_session()
    wanted = Settings(name=f"Ada's week {secrets.token_hex(4)}", colour=f"#{secrets.token_hex(3)}ff")
    before = calendar.settings()
    calendar.change(wanted)
    print(f"   before: {before or 'no calendar yet'}")
    claim(calendar.settings() == wanted, f"the application now says: {wanted}")
    claim(_traces(session["vm"], wanted.name), f"the new name lies in a file of {session['vm']}")
    closed = vmm("session", "close", session["id"])
    stored = closed["generation"]
    claim(
        stored["file_count"] > 0,
        f"generation {stored['number']} of her data is stored: {stored['size']} bytes",
    )
    claim(vmm("vm", "show", session["vm"])["vm"]["condition"] == "clean", f"{session['vm']} is clean")
    claim(not _traces(session["vm"], wanted.name), f"no file of {session['vm']} holds the new name any more")
    return session["vm"], stored["number"], wanted


def _traces(vm: str, text: str) -> bool:
    """Whether a file of the guest has ``text`` in it."""
    places = "/etc /home /opt /root /run /srv /tmp /usr/local /var"
    search = f"grep --recursive --fixed-strings --files-with-matches '{text.split()[-1]}' {places} || true"
    words = [str(BIN / "ansible"), vm, "--module-name", "ansible.builtin.raw", "--args", search]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClaimBroken(f"VM '{vm}' cannot be searched: {done.stdout.strip()} {done.stderr.strip()}")
    return any(line.startswith("/") for line in done.stdout.splitlines())


def find_again(used: str, generation: int, wanted: Settings) -> tuple[str, Calendar]:
    """Open the application on the other VM: the settings are there."""
    session, calendar = open_session(avoid=[used])
    claim(session["vm"] != used, f"this session is on {session['vm']}, the last one was on {used}")
    claim(session["deployed"] == generation, f"generation {generation} was deployed")
    claim(calendar.settings() == wanted, f"the application on {session['vm']} says the same: {wanted}")
    return session["id"], calendar


def watch(session: str, calendar: Calendar) -> None:
    """Two Watchers may suspend, one at a time can."""
    for_bo = ["--privilege", "view", "--privilege", "suspend"]
    vmm("watcher", "assign", session, "bo", *for_bo, "--for", "1h")
    vmm("watcher", "assign", session, "cy", *for_bo, "--privilege", "control", "--for", "1h")
    first = vmm("watcher", "lock", "acquire", session, "bo")["right"]
    vmm("session", "suspend", session, "--as", "bo")
    claim(
        fetch(calendar.endpoint, timeout_s=SILENCE_S).timed_out,
        f"suspended: the endpoint does not answer within {SILENCE_S:.0f} s",
    )
    error = vmm("watcher", "lock", "acquire", session, "cy", refused=6)
    claim("'bo'" in error["message"], f"cy is refused: {error['message']}")
    error = vmm("session", "resume", session, "--as", "cy", refused=6)
    claim("'bo'" in error["message"], f"and cannot resume it either: {error['message']}")
    vmm("session", "resume", session, "--as", "bo")
    status = fetch(calendar.endpoint, timeout_s=30).status
    claim(status == 200, f"resumed: the endpoint answers again (HTTP {status})")
    vmm("watcher", "lock", "release", session, "bo")
    second = vmm("watcher", "lock", "acquire", session, "cy")["right"]
    claim(
        second["holder"] == "cy",
        f"bo released the right, cy has it (fence {first['fence']}, now {second['fence']})",
    )


def clean() -> None:
    """Remove the demo's VMs; what Ada stored stays."""
    close_left_over()
    there = [vm["name"] for vm in vmm("vm", "list")["vms"] if vm["name"] in VMS]
    if there:
        vmm("vm", "delete", *there, "--yes")
    print("\nThe demo's VMs are deleted. Base image and users' images are kept: vmm image list")


def main_job(*, setup_s: float) -> None:
    """All of it, in order."""
    timeline = Timeline()
    with timeline.phase("Probe acceleration, build the base image once, make two VMs at the same time"):
        close_left_over()
        make_vms()
    with timeline.phase(f"Install {UA} {OLD_VERSION} on both, update {VMS[1]} to the newest"):
        install_ua()
    with timeline.phase(f"Open a session for {USER}, change her settings, close"):
        used, generation, wanted = change_settings()
    with timeline.phase(f"Open it again on the other VM: {USER}'s settings are there"):
        session, calendar = find_again(used, generation, wanted)
    with timeline.phase("Two Watchers, one right to suspend"):
        watch(session, calendar)
    with timeline.phase("Close"):
        vmm("session", "close", session)
        mine = [each for each in vmm("session", "list")["sessions"] if each["user"] == USER]
        claim(not mine, f"{USER} has no open session, the VMs go on running")
    timeline.show(setup_s=setup_s)
    print(NEXT.format(bin=BIN))


NEXT = """
== What to type next
   export PATH={bin}:$PATH
   vmm vm list
   vmm session open --user you --ua radicale    # prints an address for your browser or calendar client
   vmm session list                             # then: vmm session close ID
   vmm --help
   scripts/quickstart --clean                   # deletes the two VMs"""


def _fail(broken: ClaimBroken) -> NoReturn:
    hint = broken.hint.replace("vmm", str(BIN / "vmm"), 1)
    print(f"\nError: {broken}\nHint: {hint}", file=sys.stderr)
    raise SystemExit(1)


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description="The main job from end to end; run by scripts/quickstart.")
    parser.add_argument("--clean", action="store_true", help="delete the demo's VMs and stop")
    parser.add_argument("--setup-seconds", type=float, default=0.0, help="for the timeline")
    arguments = parser.parse_args()
    try:
        clean() if arguments.clean else main_job(setup_s=arguments.setup_seconds)
    except ClaimBroken as broken:
        _fail(broken)
    except Refused as refused:
        _fail(ClaimBroken(str(refused)))


if __name__ == "__main__":
    main()
