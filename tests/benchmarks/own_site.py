"""A benchmark's own home and site, with a name that nobody else has; removed at the end with its VMs."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vmm_automation.content import default_site
from vmm_automation.places import Places
from vmm_automation.site import Site

PYTHON = sys.executable
VMM = str(Path(sys.executable).parent / "vmm")
_LIBVIRT_S = 60.0


@dataclass(frozen=True)
class OwnSite:
    """A site directory, and the environment in which ``vmm`` uses its own home."""

    home: Path
    directory: Path
    name: str
    uri: str

    def vmm(self, *words: str) -> dict[str, Any]:
        """Run ``vmm … --output json`` and return the result document; fails with what it said."""
        argv = [VMM, *words, "--site", str(self.directory), "--output", "json"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr[-2000:]}")
        result: dict[str, Any] = json.loads(done.stdout)["result"]
        return result

    def follow(self, *words: str) -> tuple[list[tuple[float, str]], float]:
        """Run ``vmm …``; returns what it said on stderr with the second each line came at, and its end."""
        argv = [VMM, *words, "--site", str(self.directory), "--output", "json"]
        started = time.perf_counter()
        lines = []
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as running:
            for line in running.stderr or ():
                lines.append((time.perf_counter() - started, line.rstrip()))
        if running.returncode:
            raise RuntimeError(f"{' '.join(argv)} ended with {running.returncode}: {lines}")
        return lines, time.perf_counter() - started

    def virsh(self, *words: str, check: bool = True) -> str:
        """Run virsh on the site's hypervisor."""
        argv = ["virsh", "-q", "-c", self.uri, *words]
        return subprocess.run(argv, capture_output=True, text=True, check=check).stdout

    def delete_domains(self, prefix: str) -> None:
        """Cut the power of all domains whose name starts so, and forget them."""
        for name in self._domains():
            if name.startswith(prefix):
                self.virsh("destroy", name, check=False)
                self.virsh("undefine", name, "--snapshots-metadata", check=False)

    def _domains(self) -> list[str]:
        """All domains; waits for a libvirt that is being restarted, so that nothing is left behind."""
        deadline = time.monotonic() + _LIBVIRT_S
        while True:
            try:
                return self.virsh("list", "--all", "--name").split()
            except subprocess.CalledProcessError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)


@contextmanager
def own_site() -> Iterator[OwnSite]:
    """A copy of the site for this machine; base images that were built before are used again.

    ``VMM_HOME`` of this process and of what it starts points to the new home while the block runs.
    """
    cached = Places.from_environment().base_images
    top = Path(tempfile.mkdtemp(prefix="vmm-bench-", dir="/var/tmp"))
    home = top / "home"
    before = dict(os.environ)
    os.environ["VMM_HOME"] = str(home)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed product has its byte-code
    top.chmod(0o755)  # a system-wide libvirt runs QEMU as its own user
    home.mkdir(mode=0o755)
    site = _copy_site(top, name=f"b{secrets.token_hex(4)}")
    try:
        cached.mkdir(parents=True, exist_ok=True)
        (home / "base_images").symlink_to(cached)
        yield site
    finally:
        site.delete_domains(f"vmm-{site.name}")
        shutil.rmtree(top, ignore_errors=True)
        os.environ.clear()
        os.environ.update(before)


def _copy_site(top: Path, *, name: str) -> OwnSite:
    directory = top / "site"
    shutil.copytree(default_site(), directory)
    file = directory / "site.yml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "name": name}))
    return OwnSite(home=top / "home", directory=directory, name=name, uri=Site.load(directory).libvirt_uri)


def run(argv: Sequence[str | Path], *, stdin: bytes = b"") -> bytes:
    """Run a program of a floor to its end and return what it printed."""
    return subprocess.run([str(word) for word in argv], input=stdin, capture_output=True, check=True).stdout
