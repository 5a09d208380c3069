"""How long a user's data take to a VM on a volume: of 1 MB and of 5 GB, against attach and mount by hand.

Ours is what opening a session does for it: the chain's files compared with their record, an overlay, the disk
attached, mounted, the home bound over the account's. The floor makes the same overlay, attaches it by virsh
and mounts it by its label, over the same open ssh connection. Both end with a listing of the home. It needs
root for files of the guest's account, and three times the size below ``/var/tmp``.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.benchmarks.figures import Report, Times, interleaved, options_of, say
from tests.benchmarks.own_site import OwnSite, own_site, run
from tests.benchmarks.ssh_guest import SshGuest
from vmm_automation.adapters.domain_xml import domain_name, user_disk_xml
from vmm_automation.operations import user_volume
from vmm_automation.operations.context import Context, open_context

_VM = "vm-1"
_OF = {"session": "s-bench", "vm": _VM}
_LABEL = "vmm-user-data"
_FILE_BYTES = 1_000_000
_FLOOR, _OURS = "virsh attach + mount", "vmm's volume"
_LIST = "ls /home/session"
_MOUNT = f"""
i=0; until [ -e /dev/disk/by-label/{_LABEL} ] || [ $i = 100 ]; do i=$((i + 1)); sleep 0.1; done
mkdir -p /mnt/floor && mount -o nosuid,nodev LABEL={_LABEL} /mnt/floor"""


def main() -> None:
    """Measure and report."""
    parser = options_of("volume_deploy", runs=7, description=__doc__ or "")
    parser.add_argument("--mb", type=int, nargs=2, default=(1, 5000), help="the two sizes (default 1 5000)")
    options = parser.parse_args()
    report = Report("volume_deploy")
    with own_site() as site:
        site.vmm("vm", "create", _VM)
        trial = Trial.on(site)
        small, large = options.mb
        for size in (small, large):
            trial.make_layer(size)
        kinds: dict[str, Callable[[int], float]] = {}
        for size in (small, large):
            kinds[f"{_FLOOR}, {size} MB"] = partial(_timed, trial.by_hand, size)
            kinds[f"{_OURS}, {size} MB"] = partial(_timed, trial.ours, size)
        for measure in kinds.values():  # the first attach of each kind to a fresh guest is slower
            measure(0)
        times = interleaved(options.runs, kinds)
        for size in (small, large):
            pair: Times = {kind: times[f"{kind}, {size} MB"] for kind in (_FLOOR, _OURS)}
            report.add(f"deploy {size} MB", pair, floor=_FLOOR)
        sizes: Times = {f"{size} MB": times[f"{_OURS}, {size} MB"] for size in (small, large)}
        report.add("more data", sizes, floor=f"{small} MB")
    report.write(options.json)


def _timed(measure: Callable[[int], float], size: int, _number: int) -> float:
    return measure(size)


@dataclass(frozen=True)
class Trial:
    """One VM, reached by one open ssh connection."""

    site: OwnSite
    context: Context
    guest: SshGuest
    owner: int

    @classmethod
    def on(cls, site: OwnSite) -> Trial:
        """Opens the connection, before anything is measured."""
        context = open_context(site.directory)
        guest = SshGuest.on(site, _VM)
        return cls(site, context, guest, owner=int(guest.run("id -u session").stdout))

    def make_layer(self, size: int) -> None:
        """Data that nothing compresses, as the layer of an archive of that name."""
        say(f"making a volume of {size} MB")
        home = self.site.home / "tree" / "home"
        home.mkdir(parents=True, mode=0o700)
        os.chown(home, self.owner, self.owner)
        for number in range(size):
            (home / f"file-{number}").write_bytes(os.urandom(_FILE_BYTES))
            os.chown(home / f"file-{number}", self.owner, self.owner)
        raw = self.site.home / "volume.raw"
        with raw.open("wb") as file:
            file.truncate((size + size // 10 + 64) * _FILE_BYTES // 4096 * 4096)
        run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", _LABEL, "-d", home.parent, raw])
        shutil.rmtree(home.parent)
        self.context.volumes.open(**_OF, archive="", size_mib=64)
        run(
            ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, self.context.volumes.session_file(**_OF)]
        )
        raw.unlink()
        self.context.volumes.commit(**_OF, archive=f"mb.{size}")
        self.context.volumes.drop_session(**_OF)

    def ours(self, size: int) -> float:
        """The seconds until the home can be listed; then the VM is as before."""
        started = time.perf_counter()
        assert self.context.volumes.open(**_OF, archive=f"mb.{size}", size_mib=64)
        user_volume.mount(self.context, self.guest, _OF["session"])
        listed = self.guest.run(_LIST)
        seconds = time.perf_counter() - started
        assert listed.stdout.count("file-") == size, listed
        user_volume.let_go(self.context, self.guest)
        self.context.volumes.drop_session(**_OF)
        return seconds

    def by_hand(self, size: int) -> float:
        """The same by the programs alone."""
        overlay, disk = self.site.home / "floor.qcow2", self.site.home / "floor.xml"
        layer = self.context.volumes.layer(f"mb.{size}")
        assert layer
        base = self.context.places.user_volumes / "layers" / f"{layer.name}.qcow2"
        disk.write_text(user_disk_xml([overlay, *self.context.volumes.chain(base)]))
        domain = domain_name(site=self.site.name, vm=_VM)
        started = time.perf_counter()
        run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, overlay])
        self.site.virsh("attach-device", domain, str(disk), "--live")
        self.guest.run(_MOUNT)
        listed = self.guest.run("ls /mnt/floor/home")
        seconds = time.perf_counter() - started
        assert listed.stdout.count("file-") == size, listed
        self.guest.run("umount /mnt/floor")
        self.site.virsh("detach-device", domain, str(disk), "--live")
        while self.context.hypervisor.user_disk(_VM):
            time.sleep(0.05)
        overlay.unlink()
        return seconds


if __name__ == "__main__":
    main()
