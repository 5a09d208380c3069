"""Capture and restore of generated trees through the portable tier, against borg alone on the same trees.

Host-limited: the trees lie on the controller, and no guest or network takes part. Ours is everything that the
controller does for a capture, with GNU tar in the guest's place: the tar's digest, the check of every member
with its SHA-256, and the archive; restoring reads the archive, proves it path by path, and unpacks it. The
floor is ``borg create`` and ``borg extract`` of the same directory, with the same cipher and compression.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from tests.benchmarks.figures import Report, Times, options_of, say, seconds_of
from vmm_automation.images.archive import ArchivePolicy, read_archive
from vmm_automation.images.borg import BorgStore
from vmm_automation.model.image import Manifest

_BORG = str(Path(sys.executable).with_name("borg"))
_FLOOR, _OURS = "borg alone", "vmm's store"
_TAR = ["tar", "--sort=name", "--format=posix", "--numeric-owner", "--xattrs", "--acls", "--sparse"]
_TAR += ["--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime", "-cf"]
_WORDS = [f"{word:x}" for word in range(0x1000, 0x3000)]
_STEPS = ("capture", "capture +1 %", "restore")


def main() -> None:
    """Measure and report."""
    parser = options_of("user_image", runs=5, description=__doc__ or "")
    parser.add_argument("--files", type=int, default=500, help="files of a tree (settings: 2000)")
    parser.add_argument("--bytes", type=int, default=10_000, help="their mean size (settings: 10000)")
    options = parser.parse_args()
    report = Report("user_image")
    with tempfile.TemporaryDirectory(prefix="vmm-bench-images-", dir="/var/tmp") as place:
        tree = Path(place) / "tree"
        total = make_tree(tree / "s", files=options.files, mean=options.bytes)
        say(f"{options.files} files, {total / 1e6:.1f} MB")
        times: dict[str, Times] = {step: {_FLOOR: [], _OURS: []} for step in _STEPS}
        grown: dict[str, list[int]] = {_FLOOR: [], _OURS: []}
        for number in range(options.runs):
            _one_run(Path(place), tree, number=number, times=times, grown=grown)
    for step in _STEPS:
        report.add(f"{step}, {options.files} files, {total / 1e6:.1f} MB", times[step], floor=_FLOOR)
    report.note("growth of the store by +1 %, bytes", grown)
    say(f"growth of the store by +1 %: {grown}")
    report.write(options.json)


def make_tree(directory: Path, *, files: int, mean: int) -> int:
    """Text that compresses as settings do, the same each time; returns its bytes."""
    words = random.Random(files)
    total = 0
    for number in range(files):
        path = directory / f"{number % 40:02d}" / f"{number}.conf"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = " ".join(words.choices(_WORDS, k=words.randrange(mean // 10, 3 * mean // 10)))
        path.write_text(text)
        total += len(text)
    return total


def _one_run(
    place: Path, tree: Path, *, number: int, times: dict[str, Times], grown: dict[str, list[int]]
) -> None:
    """Both, each on a new repository; who begins changes with each run."""
    work = place / f"run-{number}"
    kinds: dict[str, Bare | Ours] = {_FLOOR: Bare(work / "bare"), _OURS: Ours(work / "ours")}
    order = list(kinds) if number % 2 else list(reversed(kinds))
    for step in _STEPS:
        if step == _STEPS[1]:
            change_some(tree, seed=number)
        for kind in order:
            before = bytes_below(kinds[kind].repository)
            one = kinds[kind]
            action = one.restore if step == "restore" else partial(one.capture, tree)
            times[step][kind].append(seconds_of(action))
            if step == _STEPS[1]:
                grown[kind].append(bytes_below(kinds[kind].repository) - before)
    for kept in kinds.values():
        assert _sums(kept.out) == _sums(tree)
    shutil.rmtree(work)


class Bare:
    """borg as a person would use it."""

    def __init__(self, place: Path) -> None:
        place.mkdir(parents=True)
        self.repository, self.out, self._captured = place / "repository", place / "out", 0
        self._environment = {**os.environ, "BORG_BASE_DIR": str(place), "BORG_PASSPHRASE": "bench"}
        self._borg("init", "--encryption", "repokey-blake2", str(self.repository))

    def capture(self, tree: Path) -> None:
        """An archive of the directory."""
        self._captured += 1
        self._borg("create", "-C", "zstd,3", f"{self.repository}::{self._captured}", ".", cwd=tree)

    def restore(self) -> None:
        """The newest archive as a directory."""
        self.out.mkdir()
        self._borg("extract", f"{self.repository}::{self._captured}", cwd=self.out)

    def _borg(self, *words: str, cwd: Path | None = None) -> None:
        subprocess.run([_BORG, *words], capture_output=True, check=True, cwd=cwd, env=self._environment)


class Ours:
    """The portable tier, with GNU tar where the guest would be."""

    def __init__(self, place: Path) -> None:
        place.mkdir(parents=True)
        self.repository, self.out, self._captured = place / "repository", place / "out", 0
        self._place, self._store = place, BorgStore(self.repository, key_file=place / "key")
        (place / "empty").mkdir()
        self.capture(place / "empty")  # makes the repository

    def capture(self, tree: Path) -> None:
        """What a capture does on the controller."""
        tar = self._place / "user.tar"
        names = sorted(path.name for path in tree.iterdir()) or ["--files-from=/dev/null"]
        subprocess.run([*_TAR, str(tar), "-C", str(tree), *names], check=True)
        with tar.open("rb") as file:
            hashlib.file_digest(file, "sha256")
        files = read_archive(tar, policy=ArchivePolicy(), layer=lambda _: "settings")
        number, at = self._captured + 1, "2026-01-31T08:05:10.000000Z"
        manifest = Manifest("ann", "cal", "1", 1, number, number - 1, "s-1", 1, at, "stopped", files)
        self._store.write(f"g{number}", tar=tar, manifest=manifest)
        self._captured = number
        tar.unlink()

    def restore(self) -> None:
        """What a deployment does on the controller, and the unpacking of the guest."""
        tar, _manifest = self._store.read(f"g{self._captured}", into=self._place / "spool")
        self.out.mkdir()
        subprocess.run(["tar", "-xf", str(tar), "-C", str(self.out)], check=True)


def change_some(tree: Path, *, seed: int, percent: int = 1) -> None:
    """Change that part of the files, others with each seed."""
    paths = sorted(path for path in tree.rglob("*") if path.is_file())
    for path in random.Random(seed).sample(paths, max(1, len(paths) * percent // 100)):
        path.write_text(f"{seed} {path.read_text()}")


def bytes_below(directory: Path) -> int:
    """Of all files there."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def _sums(tree: Path) -> dict[str, str]:
    return {
        str(path.relative_to(tree)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in tree.rglob("*")
        if path.is_file()
    }


if __name__ == "__main__":
    main()
