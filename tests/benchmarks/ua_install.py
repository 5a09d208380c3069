"""How long ``vmm ua install`` of an archive takes on several VMs, against the same steps by hand.

The floor is one shell script per VM over one multiplexed ssh connection that is open already, all VMs at
once: send the archive, unpack it into a version's directory, write the unit, switch the link. Beside it a
playbook as a careful person writes one: copy, unarchive, template, file, systemd; pipelining, no facts.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.benchmarks.figures import Report, interleaved, options_of, say, seconds_of
from tests.benchmarks.own_site import OwnSite, own_site, run
from tests.benchmarks.ssh_guest import SshGuest
from vmm_automation.adapters.cached_files import sha256_of
from vmm_automation.content import content_directory

_UA = "bench"
_FLOOR = "one script per VM over ssh"
_PLAIN = "a careful playbook"
_OURS = "vmm ua install"
_ANSIBLE_PLAYBOOK = Path(sys.executable).parent / "ansible-playbook"
_UNIT = "[Service]\nType=exec\nUser=session\nExecStart=/opt/bench/current/app/run\n"
_PLACE = "/etc/systemd/system/bench.service"
#: what ansible-playbook -vvv says for each command that it has run in a guest, and each file that it sends
_EXEC = re.compile(r"^<127\.0\.0\.1> SSH: EXEC ", re.MULTILINE)
_PUT = re.compile(r"^<127\.0\.0\.1> PUT ", re.MULTILINE)


def main() -> None:
    """Measure and report."""
    parser = options_of("ua_install", runs=5, description=__doc__ or "")
    parser.add_argument("--vms", type=int, nargs="+", default=[1, 2, 4], help="how many VMs (default 1 2 4)")
    parser.add_argument("--files", type=int, default=200, help="files in the archive (default 200)")
    options = parser.parse_args()
    report = Report("ua_install")
    with own_site() as site:
        archive = _archive(site, files=options.files)
        names = [f"vm-{number + 1}" for number in range(max(options.vms))]
        site.vmm("vm", "create", *names)
        site.vmm("ua", "install", _UA)  # fetched, bundled, connected
        _remove(site)
        for count in options.vms:
            fleet = Fleet.of(site, names[:count], archive=archive)
            kinds: dict[str, Callable[[int], float]] = {
                _FLOOR: fleet.by_shell,
                _PLAIN: fleet.by_playbook,
                _OURS: fleet.by_vmm,
            }
            report.add(f"install on {count} VMs", interleaved(options.runs, kinds), floor=_FLOOR)
        counted = Fleet.of(site, names[:1], archive=archive).counts()
        report.note("commands and files per VM, by ansible-playbook -vvv", counted)
        for kind, (commands, files) in counted.items():
            say(f"{kind}: {commands} commands run in the guest, {files} files sent")
    report.write(options.json)


@dataclass(frozen=True)
class Fleet:
    """Some VMs, reached by each of the three ways; each way ends with the VMs as they were."""

    site: OwnSite
    names: list[str]
    archive: Path
    ssh: dict[str, tuple[str, ...]]
    playbook: Path

    @classmethod
    def of(cls, site: OwnSite, names: list[str], *, archive: Path) -> Fleet:
        """Opens the floor's connections before anything is measured."""
        ssh = {name: SshGuest.on(site, name).words for name in names}
        playbook = site.home / "careful.yml"
        playbook.write_text(yaml.safe_dump(_careful(names, archive), sort_keys=False))
        (site.home / "bench.service.j2").write_text(_UNIT)
        return cls(site, names, archive, ssh, playbook)

    def by_shell(self, _number: int) -> float:
        """One script for each VM, all at once."""
        seconds = seconds_of(lambda: self._everywhere(_SCRIPT, stdin=self.archive.read_bytes()))
        self._clean()
        return seconds

    def by_playbook(self, _number: int) -> float:
        """The plain tasks, by ansible-playbook with the project's own settings."""
        seconds = seconds_of(lambda: self._play(self.playbook))
        self._clean()
        return seconds

    def by_vmm(self, _number: int) -> float:
        """The command."""
        chosen = [word for name in self.names for word in ("--vm", name)]
        seconds = seconds_of(lambda: self.site.vmm("ua", "install", _UA, *chosen))
        _remove(self.site)
        return seconds

    def counts(self) -> dict[str, tuple[int, int]]:
        """How many commands each playbook runs in one guest, and how many files it sends there."""
        found = {}
        ours = content_directory() / "playbooks" / "ua_install.yml"
        for kind, playbook in ((_PLAIN, self.playbook), (_OURS, ours)):
            said = self._play(playbook, "-vvv", "-e", f"ua_id={_UA}", "-e", f"ua_limit={self.names[0]}")
            found[kind] = (len(_EXEC.findall(said)), len(_PUT.findall(said)))
        self._clean()
        _remove(self.site)
        return found

    def _play(self, playbook: Path, *words: str) -> str:
        inventory = str(self.site.directory / "site.vmm.yml")
        done = subprocess.run(
            [_ANSIBLE_PLAYBOOK, "-i", inventory, *words, playbook],
            cwd=content_directory(),
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(content_directory() / "ansible.cfg"),
                "ANSIBLE_NOCOLOR": "1",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
        return done.stdout

    def _everywhere(self, script: str, *, stdin: bytes = b"") -> None:
        with ThreadPoolExecutor(max_workers=len(self.names)) as pool:
            list(pool.map(lambda name: run([*self.ssh[name], script], stdin=stdin), self.names))

    def _clean(self) -> None:
        self._everywhere(f"rm -rf /opt/bench {_PLACE} && systemctl daemon-reload")


_SCRIPT = f"""\
set -eu
mkdir -p /opt/bench/.staging/app
cat >/opt/bench/.incoming
tar -xzf /opt/bench/.incoming -C /opt/bench/.staging/app --no-same-owner
rm /opt/bench/.incoming
sync -f /opt/bench/.staging
mv -T /opt/bench/.staging /opt/bench/1.0
printf '{_UNIT.encode("unicode_escape").decode()}' >{_PLACE}
systemctl daemon-reload
ln -sfn 1.0 /opt/bench/.current
mv -T /opt/bench/.current /opt/bench/current
"""


def _careful(names: list[str], archive: Path) -> list[dict[str, Any]]:
    """The play that a careful person writes: modules only, a version's directory, a link, no facts."""
    app = "/opt/bench/1.0/app"
    tasks: list[tuple[str, str, dict[str, Any]]] = [
        ("Make the directory", "file", {"path": app, "state": "directory", "mode": "0755"}),
        ("Send the archive", "copy", {"src": str(archive), "dest": "/opt/bench/app.tar.gz", "mode": "0644"}),
        ("Unpack it", "unarchive", {"src": "/opt/bench/app.tar.gz", "dest": app, "remote_src": True}),
        ("Drop the archive", "file", {"path": "/opt/bench/app.tar.gz", "state": "absent"}),
        ("Write the unit", "template", {"src": "bench.service.j2", "dest": _PLACE, "mode": "0644"}),
        ("Switch", "file", {"src": "1.0", "dest": "/opt/bench/current", "state": "link"}),
        ("Reload", "systemd_service", {"daemon_reload": True}),
    ]
    named = [{"name": name, f"ansible.builtin.{module}": words} for name, module, words in tasks]
    return [{"hosts": names, "gather_facts": False, "tasks": named}]


def _archive(site: OwnSite, *, files: int) -> Path:
    content = site.home / "content"
    content.mkdir()
    (content / "run").write_text("#!/bin/sh\nexec sleep 100000\n")
    (content / "run").chmod(0o755)
    for number in range(files):
        (content / f"{number}.dat").write_bytes(os.urandom(5000) + bytes(5000))
    archive = site.directory / "uas" / f"{_UA}-1.0.tar.gz"
    with tarfile.open(archive, "w:gz") as opened:
        opened.add(content, ".")
    artifact = {"source": archive.name, "sha256": sha256_of(archive)}
    definition = {
        "command": ["{version_dir}/app/run"],
        "versions": {"1.0": {"kind": "archive", "artifacts": [artifact]}},
    }
    (site.directory / "uas" / f"{_UA}.yml").write_text(yaml.safe_dump(definition))
    return archive


def _remove(site: OwnSite) -> None:
    site.vmm("ua", "remove", _UA, "--yes")


if __name__ == "__main__":
    main()
