"""Kind *apt*: Debian packages from the guest's own sources; nothing of them passes through the controller.

What an installation would bring is asked for and noted before it is begun. One that would replace a package
which no delivery brought is refused: removing it again would not bring that back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from vmm_automation.adapters.bundle_members import PACKAGES_FILE, WANTED_FILE, Member
from vmm_automation.adapters.kinds import Fetching, Kind
from vmm_automation.model.ua import UaVersion

_ASK = """\
# What the installation would bring to a guest with the package list $1: "name version" in a line each, and
# "name version was" of what it would replace.
ask_apt() {
    xargs apt-get --simulate --no-install-recommends --allow-downgrades \\
        "--option=Dir::State::status=$1" install <"$target/.vmm-wanted" >"$installed.apt" || return 1
    awk '/^Inst / { was = $3 ~ /^\\[/ ? $3 : ""; new = was ? $4 : $3; sub(/^\\(/, "", new)
        print $2, new, was }' "$installed.apt"
}
"""
_WOULD_INSTALL = (
    _ASK
    + """\
would_install() {
    ask_apt "$dpkg_status" >"$installed.new" 2>/dev/null || return 0  # the lists would be fetched first
    [ -s "$installed.new" ]
}
"""
)
_INSTALL = (
    """\
say step packages
list_packages >"$installed"
"""
    + _ASK
    + """\
if ! ask_apt "$dpkg_status" >"$installed.new" 2>/dev/null; then
    say step sources
    apt-get update >&2
    ask_apt "$dpkg_status" >"$installed.new"
fi
cat "$added" >"$installed.ours" 2>/dev/null || :
replaced=$(awk 'FILENAME == ARGV[1] { ours[$1]; next } NF == 3 && !($1 in ours) { print $1 }' \\
    "$installed.ours" "$installed.new")
if [ -n "$replaced" ]; then
    echo "it would replace what is installed:" $replaced >&2
    exit 1
fi
# Of what it needs some may be there already, brought with another version.
cp "$installed.new" "$installed.needs"
[ ! -e "$base_status" ] || ask_apt "$base_status" >"$installed.needs"
awk 'FILENAME == ARGV[1] { if ($3 == "installed") there[$1] = $2; next }
    FILENAME == ARGV[2] { there[$1] = $2; print $1, $2; next }
    $1 in there { print $1, there[$1] }' \\
    "$installed" "$installed.new" "$installed.needs" | sort -u >"$target/.vmm-packages.new"
mv -T "$target/.vmm-packages.new" "$target/.vmm-packages"
if [ -s "$installed.new" ]; then
    note_packages
    say step apt
    wanted=$(cat "$target/.vmm-wanted")
    # shellcheck disable=SC2086
    quietly apt-get --yes --no-install-recommends --allow-downgrades install $wanted || exit 1
    say did install_packages
fi
rm -f "$installed" "$installed".*
"""
)


def _fetch(version: UaVersion, fetching: Fetching) -> tuple[Path, ...]:
    del version, fetching
    return ()


def _members(version: UaVersion, files: Sequence[Path]) -> Iterator[Member]:
    del files
    names = sorted(package.partition("=")[0] for package in version.packages)
    yield Member(WANTED_FILE, "".join(f"{package}\n" for package in version.packages).encode())
    yield Member(PACKAGES_FILE, "".join(f"{name} wanted\n" for name in names).encode())


KIND = Kind(
    fetch=_fetch,
    members=_members,
    hooks={"install": _INSTALL},
    activation=("install_packages",),
    would_install=_WOULD_INSTALL,
)
