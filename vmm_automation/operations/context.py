"""What every operation needs: site, places, clock, who acts, and the parts that touch the outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from vmm_automation.adapters.clock import SystemClock
from vmm_automation.operations.actor import os_user
from vmm_automation.operations.identity import Identity, identify
from vmm_automation.places import Places
from vmm_automation.ports import Clock
from vmm_automation.site import Site
from vmm_automation.state.audit import Author

if TYPE_CHECKING:
    from vmm_automation.adapters.libvirt import LibvirtHypervisor
    from vmm_automation.images.borg import BorgStore
    from vmm_automation.images.volume import VolumeStore
    from vmm_automation.state.store import Engine

Progress = Callable[[str], None]


def no_progress(_line: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Context:
    """One site on one controller; its parts are opened at first use, so that pure state work stays fast.

    ``actor`` is who acts by name, ``login`` who the system says is there ('' for the same), ``token`` what
    that one gives to prove to be a Watcher.
    """

    site: Site
    places: Places = field(default_factory=Places.from_environment)
    clock: Clock = field(default_factory=SystemClock)
    actor: str = ""
    progress: Progress = no_progress
    door: str = "python"
    login: str = ""
    token: str = field(default="", repr=False)

    @property
    def author(self) -> Author:
        """Who acts, for the audit chain."""
        return Author(self.actor or os_user(), self.door, self.login)

    @property
    def identity(self) -> Identity:
        """Who acts, with what the site says of people.

        Raises:
            InvalidName: the actor's name is none that a person can have.
        """
        name = self.actor or os_user()
        access = self.site.access
        return identify(name, login=self.login or name, door=self.door, access=access, token=self.token)

    @cached_property
    def store(self) -> Engine:
        """The state store.

        Raises:
            Conflict: the controller's home, or the database, holds the state of another site.
        """
        from vmm_automation.state.open import find_url, open_store

        self.places.reserve_for(self.site.name)
        return open_store(self.places, find_url(self.site.directory), site=self.site.name)

    @cached_property
    def hypervisor(self) -> LibvirtHypervisor:
        """The site's hypervisor."""
        from vmm_automation.adapters.libvirt import LibvirtHypervisor

        return LibvirtHypervisor(self.site.libvirt_uri, site=self.site.name, home=str(self.places.home))

    @cached_property
    def images(self) -> BorgStore:
        """The store of User Image Files."""
        from vmm_automation.images.borg import BorgStore

        directory = self.places.user_images / "repository"
        return BorgStore(directory, key_file=self.image_key, remote=self.site.remote_store)

    @cached_property
    def volumes(self) -> VolumeStore:
        """The volumes of User Image Files."""
        from vmm_automation.images.volume import VolumeStore

        return VolumeStore(self.places.user_volumes)

    @property
    def image_key(self) -> Path:
        """The key of the store of User Image Files."""
        return self.places.user_images / "key"


def open_context(
    site: Path | str,
    *,
    actor: str = "",
    login: str = "",
    token: str = "",
    progress: Progress = no_progress,
    door: str = "python",
) -> Context:
    """The context of a site directory; ``login`` defaults to this process's user, ``actor`` to ``login``.

    Raises:
        SiteInvalid, NotFound: the site cannot be read.
    """
    login = login or os_user()
    return Context(
        site=Site.load(Path(site)),
        actor=actor or login,
        progress=progress,
        door=door,
        login=login,
        token=token,
    )
