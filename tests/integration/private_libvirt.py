"""A libvirt of the tests' own, which they may kill: the machine's serves others.

It is the system-wide ``libvirtd`` in a mount namespace where each of its directories is a private one, so that
it shares nothing with the machine's: no sockets, no domains, no records of what runs. Its directories outlive
it, as those of the real one do, and so does QEMU: started again it finds its guests.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from .controller import Controller, wait_until

_DIRECTORIES = {"run": "/run/libvirt", "etc": "/etc/libvirt", "lib": "/var/lib/libvirt", "cache": "/var/cache/libvirt"}
_LINES = """
unix_sock_dir = "{root}/sockets"
auth_unix_rw = "none"
log_outputs = "2:file:{root}/log"
"""


@dataclass
class PrivateLibvirt:
    """One private ``libvirtd``; its files lie below ``root``, which QEMU's user can reach."""

    root: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """Where it answers."""
        return f"qemu+unix:///system?socket={self.root}/sockets/libvirt-sock"

    def controller(self, site: Controller) -> Controller:
        """A controller with an empty home whose site is on this libvirt."""
        home = self.root / "home"
        if not home.exists():
            home.mkdir()
            (home / "base_images").symlink_to(site.home / "base_images")
            site.on_site(self.root / "site", {"site.yml": f"name: {site.name}\nuri: {self.uri}\n"})
        return replace(site, home=home, site=self.root / "site", uri=self.uri)

    def prepare(self) -> None:
        """Make the private directories; what libvirt knows of this machine's QEMU is copied, it is slow to find."""
        for name, real in _DIRECTORIES.items():
            source = Path(real)
            if name in {"etc", "cache"} and source.is_dir():
                shutil.copytree(source, self.root / name, symlinks=True, ignore=shutil.ignore_patterns("*.pid"))
            else:
                (self.root / name).mkdir(mode=0o755)
        for directory in ("qemu", "qemu/autostart"):
            shutil.rmtree(self.root / "etc" / directory, ignore_errors=True)
            (self.root / "etc" / directory).mkdir()
        (self.root / "sockets").mkdir()
        # virtlogd belongs to the machine's libvirt: here QEMU writes its logs itself
        (self.root / "etc" / "qemu.conf").write_text('stdio_handler = "file"\n')
        (self.root / "libvirtd.conf").write_text(_LINES.format(root=self.root))

    def start(self) -> None:
        """Start it and wait until it answers."""
        mounts = [f"mount --bind {self.root / name} {real}" for name, real in _DIRECTORIES.items()]
        daemon = f"exec libvirtd --config {self.root}/libvirtd.conf --pid-file {self.root}/pid"
        argv = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", "\n".join([*mounts, daemon])]
        path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"
        self.process = subprocess.Popen(argv, env={**os.environ, "PATH": path}, stderr=subprocess.DEVNULL)
        wait_until(self._answers, what=f"the private libvirt answers; its log: {self.root / 'log'}", seconds=90)

    def _answers(self) -> bool:
        asked = subprocess.run(["virsh", "-q", "-c", self.uri, "list"], capture_output=True, check=False)
        return asked.returncode == 0

    def kill(self) -> None:
        """Kill the daemon alone, as a crash would; its guests go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=30)

    def end(self, site: Controller) -> None:
        """End the daemon and every guest of it, and nothing else."""
        own = self.controller(site)
        if self.process is not None and self.process.poll() is None:
            if self._answers():
                own.remove_vms()
            self.process.terminate()
            self.process.wait(timeout=30)
        for process in psutil.process_iter(["name", "cmdline"]):
            words = " ".join(process.info["cmdline"] or ())
            if str(process.info["name"]).startswith("qemu") and f"{self.root}/" in words:
                process.kill()
