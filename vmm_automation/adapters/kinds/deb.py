"""Kind *deb*: Debian packages with all they depend on, resolved on the controller, installed offline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

from vmm_automation.adapters.apt_packages import resolve_packages
from vmm_automation.adapters.bundle_members import PACKAGES_FILE, Member
from vmm_automation.adapters.kinds import Fetching, Kind, plain_name
from vmm_automation.model.ua import UaVersion

_INSTALL = """\
say step packages
list_packages >"$installed"
if lacks_packages; then
    note_packages
    say step dpkg
    quietly dpkg --install --force-downgrade --skip-same-version "$target"/packages/*.deb || exit 1
    say did install_packages
fi
rm -f "$installed"
"""


def _fetch(version: UaVersion, fetching: Fetching) -> tuple[Path, ...]:
    if fetching.package_status is None:
        raise ValueError("kind 'deb' needs package_status")
    return resolve_packages(
        version.packages,
        status=fetching.package_status,
        directory=fetching.directory,
        progress=fetching.progress,
    )


def _members(version: UaVersion, files: Sequence[Path]) -> Iterator[Member]:
    del version
    for path in files:
        yield Member(f"packages/{plain_name(path)}", path.read_bytes())
    lines = sorted(_package_line(plain_name(path)) for path in files)
    yield Member(PACKAGES_FILE, "".join(lines).encode())


def _package_line(file_name: str) -> str:
    """``name version``: apt writes the colon of an epoch as ``%3a`` in file names."""
    name, version, _architecture = file_name.split("_", 2)
    return f"{name} {unquote(version)}\n"


KIND = Kind(
    fetch=_fetch,
    members=_members,
    hooks={"install": _INSTALL},
    activation=("install_packages",),
    would_install="would_install() { lacks_packages; }\n",
    needs_base=True,
    packed=True,
)
