"""Delivery kinds: what a UA version is fetched as, what its bundle has, and what the guest does with it.

Each kind is one module here, with one value ``KIND``, and its name in the schema of UA definitions; what is
put together, sent, switched, proven, compared and removed is the same for all and knows none of them.

A kind's ``hooks`` travel in the bundle and are read by the script that runs in the guest, as root: *deliver*
when the version lies in ``$staging``, *install* at each activation, in ``$target``. They find all paths in
variables, report by ``say step`` and ``say did``, may be cut off anywhere and run again, and leave in
``$target/.vmm-packages`` the name and version of each package that the version needs, so that removal finds
what nobody needs any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from vmm_automation.adapters.bundle_members import Member
from vmm_automation.model.ua import UaVersion

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Fetching:
    """Where artifacts come from and are kept; ``package_status``: the base image's, for those who need it."""

    definition_dir: Path
    directory: Path
    progress: Progress
    package_status: Path | None = None


@dataclass(frozen=True)
class Kind:
    """A delivery kind: ``fetch`` gives verified files of the cache, ``members`` what the bundle has of them.

    ``activation`` are the actions that an activation takes for it. ``would_install`` is shell for dry runs: a
    function of that name, true where *install* would bring packages; it finds the same variables, the
    version's notes in ``$target`` and all packages of the guest in ``$installed``. ``needs_base``: it is
    resolved against the packages of the base image; ``packed``: its files are compressed already; ``local``:
    its artifacts are files that the site names, by path or URL; ``by_role``: an Ansible role brings it
    (``ua_role.py``).
    """

    fetch: Callable[[UaVersion, Fetching], tuple[Path, ...]]
    members: Callable[[UaVersion, Sequence[Path]], Iterator[Member]]
    hooks: Mapping[str, str] = field(default_factory=dict)
    activation: tuple[str, ...] = ()
    would_install: str = ""
    needs_base: bool = False
    packed: bool = False
    local: bool = False
    by_role: bool = False


def kind_of(name: str) -> Kind:
    """A kind by its name, which the schema has checked."""
    kind: Kind = import_module(f"{__name__}.{name}").KIND
    return kind


def plain_name(path: Path) -> str:
    """The file's own name: the cache puts its digest before it."""
    return path.name.partition("-")[2]
