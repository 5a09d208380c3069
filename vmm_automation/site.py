"""A site: one directory with everything an operator edits, read only as far as it is asked for.

Layout of ``inventories/<site>/``::

    site.yml                where VMs run, and policies
    profiles/<name>.yml     VM profiles
    terminals/<name>.yml    terminal profiles
    uas/<id>.yml            the catalogue of UA definitions
    base_images/<name>.yml  base images
    pools/<name>.yml        pools of VMs
    roles/<name>/           Ansible roles that bring UAs of kind role

Each kind has a JSON Schema in :mod:`vmm_automation.schema`. A wrong file is reported with all its errors.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmm_automation.errors import NotFound, SiteInvalid
from vmm_automation.model.access import Access, access_errors, access_from
from vmm_automation.model.names import check_name
from vmm_automation.model.policies import CHOICES, Acceleration, Cleanliness, Placement, Policies, UnknownKeys
from vmm_automation.model.pool import PoolDefinition
from vmm_automation.model.remote_store import RemoteStore, remote_store_from
from vmm_automation.model.state_url import parse_state_url
from vmm_automation.model.terminal import TerminalProfile
from vmm_automation.model.ua import UaDefinition
from vmm_automation.model.vm import VmProfile
from vmm_automation.schema import definitions, errors_of, located, suggestion
from vmm_automation.schema.files import DefinitionFiles, invalid_from
from vmm_automation.schema.pools import pool_from_mapping
from vmm_automation.schema.terminals import TerminalProfiles
from vmm_automation.schema.yaml_text import read_mapping

if TYPE_CHECKING:
    from vmm_automation.model.base_image import BaseImageDefinition

__all__ = ["Acceleration", "Cleanliness", "Placement", "Policies", "Site", "UnknownKeys"]


@dataclass(frozen=True)
class Site:
    """One site. Definitions are read at first use and kept; no file is read twice.

    The mappings (:attr:`profiles` and so on) raise SiteInvalid if any file of their directory is wrong;
    the getters read one file and judge only that.
    """

    directory: Path
    name: str
    uri: str = "auto"
    policies: Policies = field(default_factory=Policies)
    state_url: str = ""
    access: Access = field(default_factory=Access)
    remote_store: RemoteStore | None = None

    @classmethod
    def load(cls, directory: Path) -> Site:
        """Read ``site.yml``; ``name`` defaults to the directory's name.

        Raises:
            NotFound: there is no ``site.yml`` in the directory.
            SiteInvalid: it is wrong; all its errors are listed.
            InvalidName: the directory's name, taken as the site's, breaks the naming rule.
        """
        directory = directory.absolute()
        file = directory / "site.yml"
        try:
            document, errors = read_mapping(file, where="site.yml")
        except FileNotFoundError as missing:
            raise NotFound(
                f"No site in '{directory}': it has no 'site.yml'",
                hint=f"ls {directory.parent}",
                details={"directory": str(directory)},
            ) from missing
        errors = errors or errors_of("site", document, where="site.yml")
        errors = errors or [*_state_errors(document), *_access_errors(document)]
        if errors or document is None:
            raise invalid_from(errors, what=f"Site '{directory}'", hint=f"$EDITOR {file}")
        policies = dict(document.get("policies", {}))
        policies |= {key: kind(policies[key]) for key, kind in CHOICES.items() if key in policies}
        return cls(
            directory=directory,
            name=check_name("site", document.get("name", directory.name)),
            uri=document.get("uri", "auto"),
            policies=Policies(**policies),
            state_url=document.get("state", {}).get("url", ""),
            access=access_from(document.get("access", {})),
            remote_store=remote_store_from(document.get("user_images", {})),
        )

    @property
    def libvirt_uri(self) -> str:
        """The URI to connect to: ``auto`` is ``qemu:///system`` for root, ``qemu:///session`` for others."""
        if self.uri != "auto":
            return self.uri
        return "qemu:///system" if os.geteuid() == 0 else "qemu:///session"

    @cached_property
    def profiles(self) -> dict[str, VmProfile]:
        """All VM profiles, by name."""
        return self._profile_files.all()

    @cached_property
    def terminals(self) -> dict[str, TerminalProfile]:
        """All terminal profiles, by name."""
        return self._terminal_files.all()

    @cached_property
    def uas(self) -> dict[str, UaDefinition]:
        """The catalogue: all UA definitions, by id."""
        return self._ua_files.all()

    @cached_property
    def base_images(self) -> dict[str, BaseImageDefinition]:
        """All base images, by name."""
        return self._base_image_files.all()

    @cached_property
    def pools(self) -> dict[str, PoolDefinition]:
        """All pools of VMs, by name."""
        return self._pool_files.all()

    def profile(self, name: str) -> VmProfile:
        """One VM profile. Raises InvalidName, NotFound, SiteInvalid."""
        return self._profile_files.one(name)

    def ua(self, name: str) -> UaDefinition:
        """One UA definition. Raises InvalidName, NotFound, SiteInvalid."""
        return self._ua_files.one(name)

    def ua_errors(self, name: str = "") -> list[str]:
        """Every error of one UA definition, or of all. Raises InvalidName, NotFound."""
        if not name:
            return self._ua_files.errors()
        try:
            self._ua_files.one(name)
        except SiteInvalid as invalid:
            return list(invalid.details["errors"])
        return []

    def valid_uas(self) -> dict[str, UaDefinition]:
        """The UA definitions that have no errors, by id."""
        return self._ua_files.valid()

    def base_image(self, name: str) -> BaseImageDefinition:
        """One base image. Raises InvalidName, NotFound, SiteInvalid."""
        return self._base_image_files.one(name)

    def pool(self, name: str) -> PoolDefinition:
        """One pool of VMs. Raises InvalidName, NotFound, SiteInvalid."""
        return self._pool_files.one(name)

    def terminal(self, name_or_mapping: str | Mapping[str, Any]) -> TerminalProfile:
        """One terminal profile: the site's by name, or the one that a request carries as a mapping.

        A mapping may have a ``name``, else it is called ``request``, and a ``base`` that it differs from.

        Raises:
            InvalidName, NotFound: as for every name of the site.
            TerminalInvalid: unknown keys or wrong values; all errors are listed.
        """
        if isinstance(name_or_mapping, str):
            return self._terminal_files.one(name_or_mapping)
        return self._terminal_files.requested(name_or_mapping)

    def validate(self) -> list[str]:
        """Every error of every file of the site, and every reference to what is not there."""
        errors: list[str] = []
        errors += self._profile_files.errors()
        errors += self._terminal_files.errors()
        errors += self._ua_files.errors()
        errors += self._base_image_files.errors()
        errors += self._pool_files.errors()
        return errors + list(self._reference_errors())

    def _reference_errors(self) -> Iterator[str]:
        images = self._base_image_files.names()
        for name, profile in self._profile_files.valid().items():
            where = f"profiles/{name}.yml"
            yield from _absent("base_image", "base image", profile.base_image, images, where=where)
        for name, pool in self._pool_files.valid().items():
            where = f"pools/{name}.yml"
            yield from _absent("profile", "profile", pool.profile, self._profile_files.names(), where=where)
            yield from _absent("ua", "UA", pool.ua, self._ua_files.names(), where=where)
            ua = self._ua_files.valid().get(pool.ua)
            if ua and pool.version:
                known = [each.version for each in ua.versions]
                yield from _absent("version", f"version of UA '{ua.id}'", pool.version, known, where=where)

    @cached_property
    def _profile_files(self) -> DefinitionFiles[VmProfile]:
        return DefinitionFiles(self.directory / "profiles", "profile", definitions.profile_from_mapping)

    @cached_property
    def _terminal_files(self) -> TerminalProfiles:
        keep = self.policies.terminal_unknown_keys is UnknownKeys.KEEP
        return TerminalProfiles(self.directory / "terminals", keep_unknown=keep)

    @cached_property
    def _ua_files(self) -> DefinitionFiles[UaDefinition]:
        return DefinitionFiles(self.directory / "uas", "UA", definitions.ua_from_mapping)

    @cached_property
    def _base_image_files(self) -> DefinitionFiles[BaseImageDefinition]:
        return DefinitionFiles(self.directory / "base_images", "base image", _build_base_image)

    @cached_property
    def _pool_files(self) -> DefinitionFiles[PoolDefinition]:
        return DefinitionFiles(self.directory / "pools", "pool", pool_from_mapping)


def _absent(key: str, kind: str, name: str, known: Sequence[str], *, where: str) -> Iterator[str]:
    """The error of a file that names what is not there."""
    if name not in known:
        there = f"there are {', '.join(known)}" if known else "there are none"
        yield located(where, (key,), f"no {kind} '{name}': {there}{suggestion(name, known)}")


def _state_errors(document: Mapping[str, Any] | None) -> list[str]:
    text = (document or {}).get("state", {}).get("url")
    if text is None:
        return []
    try:
        url = parse_state_url(text)
    except ValueError as wrong:  # says nothing of the URL itself, which may hold a password
        return [located("site.yml", ("state", "url"), str(wrong))]
    if not url.has_secret:
        return []
    return [located("site.yml", ("state", "url"), "has a password in it: put that into ~/.pgpass")]


def _access_errors(document: Mapping[str, Any] | None) -> list[str]:
    found = access_errors((document or {}).get("access", {}))
    return [located("site.yml", ("access", *path), text) for path, text in found]


def _build_base_image(
    name: str, document: Mapping[str, Any], *, where: str
) -> tuple[BaseImageDefinition | None, list[str]]:
    from vmm_automation.model.base_image import base_image_from_mapping

    definition, errors = base_image_from_mapping(name, document)
    return definition, [error if error.startswith(f"{where}:") else f"{where}: {error}" for error in errors]
