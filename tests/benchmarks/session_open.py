"""How long ``vmm session open`` takes for a user with a stored image, against the same steps by hand.

The floor does on the same VM, over one multiplexed ssh connection that is open already: send the user's tar,
unpack it into the home, start the UA's service, forward its port, and ask until it answers over HTTP.

A second part opens it on a VM that is parked. Its floor is the same command on a ready VM, and the time that
``virsh start`` of the parked one takes.
"""

from __future__ import annotations

import http.client
import statistics
import time
from contextlib import suppress
from dataclasses import dataclass

from tests.benchmarks.figures import Report, Times, interleaved, options_of, say, seconds_of
from tests.benchmarks.own_site import OwnSite, own_site, run
from tests.benchmarks.ssh_guest import SshGuest
from vmm_automation.adapters.disks import free_port
from vmm_automation.adapters.domain_xml import add_forward_command, domain_name, remove_forward_command
from vmm_automation.operations.context import open_context
from vmm_automation.operations.user_image_scripts import SessionAccount
from vmm_automation.state import generations

_VM = "vm-1"
_USER = "ada"
_UA = "radicale"
_UNIT = f"vmm-ua-{_UA}"
_SETTINGS = ".local/share/radicale"
_CALENDARS = 3
_EVENTS = 20
_POLL_S = 0.1
_DEADLINE_S = 120.0
_FLOOR = "shell over one ssh connection"
_OPEN = "vmm session open"
_RESTORED = "the same on a ready VM + virsh start"


def main() -> None:
    """Measure and report."""
    options = options_of("session_open", runs=5, description=__doc__ or "").parse_args()
    report = Report("session_open")
    with own_site() as site:
        site.vmm("vm", "create", _VM)
        site.vmm("ua", "install", _UA)
        _store_first_image(site)
        floor = Floor.of(site)
        phases: Times = {}
        kinds = {_FLOOR: lambda _number: floor.measure(), _OPEN: lambda _number: _opened(site, phases)}
        report.add("session open", interleaved(options.runs, kinds), floor=_FLOOR)
        medians = {name: round(statistics.median(times), 3) for name, times in phases.items()}
        report.note("phases of vmm session open, median s", medians)
        say("\nphases of vmm session open, medians")
        for name, seconds in medians.items():
            say(f"  {name:60} {seconds * 1000:6.0f} ms")
        parked = {_RESTORED: lambda _number: _ready_and_restored(site), _OPEN: lambda _number: _parked(site)}
        report.add("session open on a parked VM", interleaved(options.runs, parked), floor=_RESTORED)
    report.write(options.json)


@dataclass(frozen=True)
class Floor:
    """The same VM, reached by ssh and virsh alone."""

    site: OwnSite
    domain: str
    guest_port: int
    health: str
    tar: bytes
    ssh: tuple[str, ...]

    @classmethod
    def of(cls, site: OwnSite) -> Floor:
        """Takes the user's tar out of the store and opens the connection, before anything is measured."""
        context = open_context(site.directory)
        with context.store.reading() as tx:
            newest = generations.newest(tx, user=_USER, ua=_UA)
        assert newest is not None
        tar, _manifest = context.images.read(newest.archive, into=site.home / "floor")
        endpoint = context.site.ua(_UA).endpoints[0]
        return cls(
            site=site,
            domain=domain_name(site=site.name, vm=_VM),
            guest_port=endpoint.port,
            health=endpoint.health,
            tar=tar.read_bytes(),
            ssh=SshGuest.on(site, _VM).words,
        )

    def measure(self) -> float:
        """The seconds from nothing to the first answer; then the VM is put back as it was."""
        account = SessionAccount()
        port = free_port()
        started = time.perf_counter()
        run([*self.ssh, "cat >/root/floor.tar"], stdin=self.tar)
        unpack = f"tar -xf /root/floor.tar -C {account.home} && chown -R {account.name}: {account.home}"
        run([*self.ssh, unpack])
        run([*self.ssh, f"systemctl start {_UNIT}"])
        self._monitor(add_forward_command(port=port, guest_port=self.guest_port))
        self._wait(port)
        seconds = time.perf_counter() - started
        self._monitor(remove_forward_command(port=port))
        remains = f"/root/floor.tar {account.home}/.local {account.home}/.config"
        run([*self.ssh, f"systemctl stop {_UNIT}; rm -rf {remains}"])
        return seconds

    def _monitor(self, command: str) -> None:
        self.site.virsh("qemu-monitor-command", "--hmp", self.domain, command)

    def _wait(self, port: int) -> None:
        deadline = time.monotonic() + _DEADLINE_S
        while time.monotonic() < deadline:
            with suppress(OSError, http.client.HTTPException):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                connection.request("GET", self.health)
                connection.getresponse()
                return
            time.sleep(_POLL_S)
        raise TimeoutError(f"{_UA} did not answer within {_DEADLINE_S:g} s")


def _store_first_image(site: OwnSite) -> None:
    """A small tree of settings, as three calendars of twenty events are, captured as generation 1."""
    session = site.vmm("session", "open", "--user", _USER, "--ua", _UA)["session"]["id"]
    account = SessionAccount()
    target = f"{account.home}/{_SETTINGS}/collections/collection-root/{_USER}"
    script = f"""
        for c in $(seq {_CALENDARS}); do
            mkdir -p {target}/calendar-$c
            cd {target}/calendar-$c
            echo '{{"tag": "VCALENDAR"}}' >.Radicale.props
            for e in $(seq {_EVENTS}); do
                printf 'BEGIN:VCALENDAR\\r\\nUID:%s\\r\\nEND:VCALENDAR\\r\\n' $c-$e >$e.ics
            done
        done
        chown -R {account.name}: {account.home}"""
    done = SshGuest.on(site, _VM).run(script)
    assert done.status == 0, done
    site.vmm("session", "close", session)


def _opened(site: OwnSite, phases: Times) -> float:
    """The seconds that it takes; the session is closed again."""
    lines, seconds = site.follow("session", "open", "--user", _USER, "--ua", _UA)
    for name, took in _split(lines, end=seconds):
        phases.setdefault(name, []).append(took)
    for session in site.vmm("session", "list")["sessions"]:
        site.vmm("session", "close", session["id"])
    return seconds


def _parked(site: OwnSite) -> float:
    _park(site)
    return _opened(site, {})


def _ready_and_restored(site: OwnSite) -> float:
    ready = _opened(site, {})
    _park(site)
    restored = seconds_of(lambda: site.virsh("start", domain_name(site=site.name, vm=_VM)))
    site.vmm("vm", "start", _VM)
    return ready + restored


def _park(site: OwnSite) -> None:
    site.virsh("managedsave", domain_name(site=site.name, vm=_VM))


def _split(lines: list[tuple[float, str]], *, end: float) -> list[tuple[str, float]]:
    """The time from each task's line to the next; lines that tasks say themselves are indented."""
    marks = [(0.0, "start: CLI, ansible-runner, Ansible, inventory")]
    for at, line in lines:
        text = line.partition("] ")[2]
        if text and not text.startswith(" "):
            marks.append((at, text))
    ends = [at for at, _name in marks[1:]] + [end]
    return [(name, until - at) for (at, name), until in zip(marks, ends, strict=True)]


if __name__ == "__main__":
    main()
