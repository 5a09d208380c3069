"""Kind *apt*: Debian packages from the guest's own sources; nothing of them passes through the controller.

What an installation would bring is asked for and noted before it is begun. One that would replace a package
which is there is refused: removing it again would not bring that back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from vmm_automation.adapters.bundle_members import PACKAGES_FILE, Member
from vmm_automation.adapters.kinds import Fetching, Kind
from vmm_automation.model.ua import UaVersion

#: what the definition asks for, a word each, as apt takes it
_WANTED = ".vmm-wanted"
_INSTALL = """\
say step packages
list_packages >"$installed"
ask_apt() {
    xargs apt-get --simulate --no-install-recommends install <"$target/.vmm-wanted" >"$installed.apt"
}
if ! ask_apt 2>/dev/null; then
    say step sources
    apt-get update >&2
    ask_apt
fi
replaced=$(awk '/^Inst / && $3 ~ /^\\[/ { print $2 }' "$installed.apt")
if [ -n "$replaced" ]; then
    echo "it would replace what is installed:" $replaced >&2
    exit 1
fi
awk '/^Inst / { sub(/^\\(/, "", $3); print $2, $3 }' "$installed.apt" >"$installed.new"
if [ -s "$installed.new" ]; then
    # A name stands there once, in the version that is about to come.
    awk '!($1 in seen) { seen[$1] = 1; print }' "$installed.new" "$target/.vmm-packages" |
        sort >"$target/.vmm-packages.new"
    mv -T "$target/.vmm-packages.new" "$target/.vmm-packages"
    note_packages
    say step apt
    xargs apt-get --yes --no-install-recommends install <"$target/.vmm-wanted" >&2
    say did install_packages
fi
rm -f "$installed" "$installed.apt" "$installed.new"
"""


def _fetch(version: UaVersion, fetching: Fetching) -> tuple[Path, ...]:
    del version, fetching
    return ()


def _members(version: UaVersion, files: Sequence[Path]) -> Iterator[Member]:
    del files
    names = sorted(package.partition("=")[0] for package in version.packages)
    yield Member(_WANTED, "".join(f"{package}\n" for package in version.packages).encode())
    yield Member(PACKAGES_FILE, "".join(f"{name} wanted\n" for name in names).encode())


KIND = Kind(fetch=_fetch, members=_members, hooks={"install": _INSTALL}, activation=("install_packages",))
