"""Capture and restore of a tree that lies in a VM, against plain tar over the same ssh connection.

Guest-limited: what a capture does in the guest, the transfer, and what the controller does with it until it
is in the store; a restore from the store to the proven tree in the home. The floor is ``tar`` in the guest
piped into a file here, and that file piped into ``tar`` there. The capture of a tree of which 1 % has changed
is compared with that of the whole.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.benchmarks.figures import Report, Times, interleaved, options_of, say, seconds_of
from tests.benchmarks.own_site import OwnSite, own_site
from tests.benchmarks.ssh_guest import SshGuest
from tests.benchmarks.user_image import make_tree
from vmm_automation.adapters.clock import SystemClock
from vmm_automation.model.image import Manifest
from vmm_automation.model.ua import UaDefinition, UaVersion, UserData
from vmm_automation.operations.context import open_context
from vmm_automation.operations.user_image import Origin, capture, deploy
from vmm_automation.operations.user_image_fetch import Base

_VM = "vm-1"
_UA = UaDefinition("bench", "Bench", (UaVersion("1", "archive"),), user_data=UserData(settings=("data",)))
_WHOLE, _CHANGED, _UNCHANGED = "vmm's capture", "the same, 1 % has changed", "the same, nothing has changed"
_RESTORE, _OUT, _IN = "vmm's restore", "tar over ssh", "tar over ssh, into the guest"
_OWN = "chown -R session: /home/session/data"


def main() -> None:
    """Measure and report."""
    parser = options_of("guest_image", runs=5, description=__doc__ or "")
    parser.add_argument("--files", type=int, default=2000, help="files of the tree (profile: 20000)")
    parser.add_argument("--bytes", type=int, default=10_000, help="their mean size (profile: 25000)")
    options = parser.parse_args()
    report = Report("guest_image")
    with own_site() as site:
        site.vmm("vm", "create", _VM)
        trial = Trial(site, files=options.files, mean=options.bytes)
        outward = {
            _OUT: lambda _number: trial.floor_out(),
            _WHOLE: lambda _number: trial.capture(whole=True),
            _CHANGED: lambda _number: trial.changed(),
            _UNCHANGED: lambda _number: trial.capture(),
        }
        taken = interleaved(options.runs, outward)
        brought: Times = interleaved(
            options.runs, {_IN: lambda _number: trial.floor_in(), _RESTORE: lambda _number: trial.restore()}
        )
    tree = f"{options.files} files, {trial.total / 1e6:.0f} MB"
    report.add(f"capture, {tree}", taken, floor=_OUT)
    report.add(f"capture of changes, {tree}", {kind: taken[kind] for kind in list(outward)[1:]}, floor=_WHOLE)
    report.add(f"restore, {tree}", brought, floor=_IN)
    report.write(options.json)


class Trial:
    """One VM with a tree in its session account's home, and the generations that were captured of it."""

    def __init__(self, site: OwnSite, *, files: int, mean: int) -> None:
        self.guest, self.files = SshGuest.on(site, _VM), files
        self.context = open_context(site.directory)
        self.place = site.home / "trial"
        self.total = make_tree(self.place / "data", files=files, mean=mean)
        self.tar, self.number = self.place / "floor.tar", 0
        self.base: Base | None = None
        subprocess.run(["tar", "-C", str(self.place), "-cf", str(self.tar), "data"], check=True)
        say(f"{files} files, {self.total / 1e6:.1f} MB")
        self.floor_in()

    def floor_out(self) -> float:
        """The tree as a file here."""
        return seconds_of(self._pull)

    def floor_in(self) -> float:
        """That file as a tree in the guest, in place of what is there."""
        self.guest.run("rm -rf /home/session/data; sync")
        return seconds_of(self._push)

    def capture(self, *, whole: bool = False) -> float:
        """The next generation, of everything or of what has changed since the one before."""
        self.number += 1
        origin = Origin("ann", "1", "s-1", 1, self.number - 1)
        made: list[tuple[Manifest, str]] = []
        seconds = seconds_of(
            lambda: made.append(
                capture(
                    self.guest,
                    origin,
                    ua=_UA,
                    spool=self.place / "spool",
                    images=self.context.images,
                    clock=SystemClock(),
                    base=None if whole else self.base,
                )
            )
        )
        manifest, archive = made[0]
        assert len(manifest.files) >= self.files
        self.base = Base(archive, manifest, lambda into: self.context.images.extract(archive, into=into))
        return seconds

    def changed(self) -> float:
        """The same after every hundredth file was written."""
        write = f"cd data; for n in $(seq {self.number % 100} 100 {self.files - 1}); do"
        write += ' d=$(printf %02d $((n % 40))); echo more >>"$d/$n.conf"; done'
        done = self.guest.run(f"cd /home/session && setpriv --reuid=session --clear-groups sh -c '{write}'")
        assert done.status == 0, done
        return self.capture()

    def restore(self) -> float:
        """The newest generation in the home, in place of what is there."""
        assert self.base
        archive = self.base.archive
        self.guest.run("rm -rf /home/session/data; sync")

        def act() -> None:
            tar, manifest = self.context.images.read(archive, into=self.place / "read")
            deploy(self.guest, tar=tar, manifest=manifest, ua=_UA, session="s-1", archive=archive)

        return seconds_of(act)

    def _pull(self) -> None:
        with Path(self.place / "pulled.tar").open("wb") as file:
            words = [*self.guest.words, "tar -C /home/session -cf - data"]
            subprocess.run(words, stdin=subprocess.DEVNULL, stdout=file, check=True)

    def _push(self) -> None:
        with self.tar.open("rb") as file:
            unpack = f"tar -C /home/session -xf - && {_OWN}"
            subprocess.run([*self.guest.words, unpack], stdin=file, check=True)


if __name__ == "__main__":
    main()
