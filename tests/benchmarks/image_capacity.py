"""What a store of User Images needs: disk and time for a number of users, from a few real images.

For each size and rate of change one user is simulated with the real store: a first generation, then some with
that part of the files changed. What a generation costs is measured; how many are kept, and for how many
users, is multiplied. Users share nothing here: where they do, the store needs less.
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import pairwise, product
from pathlib import Path

from tests.benchmarks.figures import say, seconds_of
from tests.benchmarks.user_image import Ours, bytes_below, change_some, make_tree

_MEAN_BYTES = 10_000


def main() -> None:
    """Simulate and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, nargs="+", default=[200, 2000], help="files of an image")
    parser.add_argument("--percent", type=int, nargs="+", default=[1, 5, 20], help="files that change")
    parser.add_argument("--users", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--kept", type=int, default=16, help="generations that a retention leaves")
    parser.add_argument("--generations", type=int, default=2, help="simulated after the first")
    options = parser.parse_args()
    heads = " | ".join(f"{users:,} users" for users in options.users)
    say(f"| image | changed per save | first | each save | time of a save | {heads} |")
    say(f"|{'---|' * (5 + len(options.users))}")
    for files, percent in product(options.files, options.percent):
        size, first, each, seconds = _simulated(files, percent, generations=options.generations)
        one = first + (options.kept - 1) * each
        disks = " | ".join(f"{users * one / 1e9:,.1f} GB" for users in options.users)
        amounts = f"{first / 1e6:.2f} MB | {each / 1e6:.2f} MB"
        say(f"| {size / 1e6:.0f} MB, {files} files | {percent} % | {amounts} | {seconds:.1f} s | {disks} |")


def _simulated(files: int, percent: int, *, generations: int) -> tuple[int, int, int, float]:
    """Bytes of the image, of its first generation and of each later one in the store; seconds of a save."""
    with tempfile.TemporaryDirectory(prefix="vmm-bench-capacity-", dir="/var/tmp") as place:
        tree, ours = Path(place) / "tree", Ours(Path(place) / "ours")
        size = make_tree(tree / "s", files=files, mean=_MEAN_BYTES)
        sizes, times = [bytes_below(ours.repository)], []
        for number in range(generations + 1):
            if number:
                change_some(tree, seed=number, percent=percent)
            times.append(seconds_of(lambda: ours.capture(tree)))
            sizes.append(bytes_below(ours.repository))
    grown = [after - before for before, after in pairwise(sizes)]
    return size, grown[0], sum(grown[1:]) // generations, sum(times[1:]) / generations


if __name__ == "__main__":
    main()
