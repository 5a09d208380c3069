"""A guest made of a directory: real shell runs the real scripts, with every place of a guest moved below it.

systemd and dpkg are small programs in the sandbox that keep their state in files; everything else is the
machine's own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from vmm_automation.adapters.bounded_file import bounded
from vmm_automation.ports import GuestResult

_SYSTEMCTL = """#!/bin/sh
state=@ROOT@/state
echo "$*" >>"$state/systemctl.log"
verb=$1; shift
case $verb in
    is-active) for unit in "$@"; do cat "$state/$unit" 2>/dev/null || echo inactive; done; exit 3 ;;
    start)
        [ ! -e "$state/refuse-start" ] || { echo 'Failed to start' >&2; exit 1; }
        echo active >"$state/$1" ;;
    stop | reset-failed) rm -f "$state/$1" ;;
esac
"""
_DPKG = """#!/bin/sh
db=@ROOT@/var/lib/dpkg/installed
echo "$*" >>@ROOT@/state/dpkg.log
policy=@ROOT@/usr/sbin/policy-rc.d
if [ ! -x "$policy" ]; then may=yes; elif "$policy" tool.service start; then may=yes; else may=no; fi
echo "$may" >@ROOT@/state/may-start
[ ! -e @ROOT@/state/refuse-dpkg ] || { echo 'dpkg: error' >&2; exit 1; }
for word in "$@"; do
    case $word in
        *.deb) name=${word##*/}; name=${name%_*}
            sed -i "/^${name%%_*} /d" "$db"; echo "${name%%_*} ${name#*_} installed" >>"$db" ;;
        --purge) purge=yes ;;
        --*) ;;
        *) [ -z "$purge" ] || sed -i "/^$word /d" "$db" ;;
    esac
done
"""
# Each package has a service and a socket of its name, and a template.
_DPKG_QUERY = """#!/bin/sh
[ "$1" = --listfiles ] || { cat @ROOT@/var/lib/dpkg/installed; exit 0; }
shift
for name in "$@"; do
    echo "/usr/bin/$name"
    for unit in service socket; do echo "/lib/systemd/system/$name.$unit"; done
    echo "/lib/systemd/system/$name@.service"
done
"""
# 'shared' is what every package of the guest's own sources needs; 'greedy' wants another libc6. A package
# list other than the guest's own is one from before all deliveries.
_APT = """#!/bin/sh
db=@ROOT@/var/lib/dpkg/installed
echo "$*" >>@ROOT@/state/apt.log
for word in "$@"; do
    case $word in
        --simulate) simulate=yes ;;
        --option=*/var/lib/dpkg/status) ;;
        --option=*) db=/dev/null ;;
        update) : >@ROOT@/state/lists; exit 0 ;;
        --*) ;;
        install) [ -e @ROOT@/state/lists ] || { echo 'Unable to locate package' >&2; exit 100; } ;;
        *) name=${word%%=*} version=1.5
            [ "$name" = "$word" ] || version=${word#*=}
            [ "$name" != greedy ] || echo 'Inst libc6 [2.36] (2.40 Debian:13/stable [amd64])'
            for each in "$name $version" "shared 1.5"; do
                was=$(sed -n "s/^${each% *} \\([^ ]*\\) .*/\\1/p" "$db")
                [ "$was" != "${each#* }" ] || continue
                if [ "$simulate" ]; then
                    echo "Inst ${each% *} ${was:+[$was] }(${each#* } Debian:12/stable [amd64])"
                else
                    sed -i "/^${each% *} /d" "$db"
                    echo "$each installed" >>"$db"
                fi
            done ;;
    esac
done
"""
_RPM = """#!/bin/sh
db=@ROOT@/state/rpms
touch "$db"
echo "$*" >>@ROOT@/state/rpm.log
[ "$1" != -qa ] || { cat "$db"; exit 0; }
for word in "$@"; do
    case $word in
        --erase) erase=yes ;;
        *.rpm) name=${word##*/}; name=${name%.rpm}
            sed -i "/^${name%%-*} /d" "$db"; echo "${name%%-*} ${name#*-} installed" >>"$db" ;;
        --*) ;;
        *) [ -z "$erase" ] || sed -i "/^$word /d" "$db" ;;
    esac
done
"""
_PROGRAMS = {
    "apt-get": _APT,
    "rpm": _RPM,
    "systemctl": _SYSTEMCTL,
    "dpkg": _DPKG,
    "dpkg-query": _DPKG_QUERY,
    "id": "#!/bin/sh\necho 1000\n",
    "chown": "#!/bin/sh\n",
    "setpriv": '#!/bin/sh\nwhile [ "${1#--}" != "$1" ]; do shift; done\nexec "$@"\n',
    "journalctl": "#!/bin/sh\necho the last words of the service\n",
}
_PLACES = ("/opt", "/etc/systemd/system", "/usr/sbin", "/var/lib/dpkg", "/run", "/root")
_PLACE = re.compile(rf"(?<![\w/.])({'|'.join(_PLACES)})(?![\w.-])")
#: what Ansible's connection starts instead of ssh; the command is its last word, and files come as its input
_SSH = """#!{python}
import os, re, sys
moved = re.sub({places!r}, lambda place: {root!r} + place.group(), sys.argv[-1])
os.execve("/bin/sh", ["sh", "-c", moved], {{"PATH": {path!r}}})
"""
#: ends the shell as a power cut would, when it has said that its N-th step begins
_KILL = 'say() { if [ "$1" = step ]; then n=$((${n:-0} + 1)); [ "$n" -ne %d ] || killed=yes; fi;'


@dataclass
class SandboxGuest:
    """``kill_at_step`` ends the next mutating script when its N-th step begins; ``puts`` counts transfers."""

    root: Path
    name: str = "vm-1"
    kill_at_step: int = 0
    puts: int = 0
    scripts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for place in (*_PLACES, "/bin", "/state"):
            (self.root / place[1:]).mkdir(parents=True, exist_ok=True)
        for name, text in _PROGRAMS.items():
            program = self.root / "bin" / name
            program.write_text(text.replace("@ROOT@", str(self.root)))
            program.chmod(0o755)
        (self.root / "var/lib/dpkg/installed").write_text("dpkg 1.21 installed\nlibc6 2.36 installed\n")
        (self.root / "var/lib/dpkg/status").write_text("Package: dpkg\nStatus: install ok installed\n")

    def run(self, script: str, *, stdin: bytes = b"") -> GuestResult:
        """Run a script with the places moved."""
        self.scripts.append(script)
        text = self.moved(script)
        if self.kill_at_step and "flock" in script:
            text = text.replace("say() {", _KILL % self.kill_at_step)
            text = text.replace('"$1" "$2"; }', '"$1" "$2"; [ -z "${killed-}" ] || kill -9 $$; }')
            self.kill_at_step = 0
        path = f"{self.root}/bin:{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", "-c", text], input=stdin, capture_output=True, check=False, env={"PATH": path}
        )
        return GuestResult(done.returncode, done.stdout.decode(), done.stderr.decode())

    def put(self, local: Path, remote: str) -> None:
        """Copy a file in."""
        self.puts += 1
        shutil.copyfile(local, self.root / remote[1:])

    def fetch(self, remote: str, local: Path, *, limit: int) -> None:
        """Copy a file out."""
        with bounded(local, limit=limit, origin=remote):
            shutil.copyfile(self.root / remote[1:], local)

    def reached_by_ansible(self) -> dict[str, str]:
        """Variables with which a playbook's connection leads into the sandbox."""
        program = self.root / "ssh"
        path = f"{self.root}/bin:{os.environ['PATH']}"
        named = {"places": _PLACE.pattern, "root": str(self.root), "path": path}
        program.write_text(_SSH.format(python=sys.executable, **named))
        program.chmod(0o755)
        return {"ansible_ssh_executable": str(program), "ansible_ssh_transfer_method": "piped"}

    @property
    def packages(self) -> list[str]:
        """What the stand-in of dpkg has installed."""
        return sorted((self.root / "var/lib/dpkg/installed").read_text().splitlines())

    def tree(self) -> list[str]:
        """Every path in the places that deliveries may touch."""
        tops = ("opt", "etc", "root")
        found = (path for top in tops for path in (self.root / top).rglob("*"))
        return sorted(str(path.relative_to(self.root)) for path in found)

    def moved(self, script: str) -> str:
        """A script with its places moved."""
        return _PLACE.sub(lambda place: f"{self.root}{place.group()}", script)
