"""The catalogue of UAs as people ask for it: is it right, what is in it; nothing is changed or fetched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from vmm_automation.adapters.artifact_files import archive_path, is_remote
from vmm_automation.adapters.cached_files import sha256_of
from vmm_automation.adapters.kinds import kind_of
from vmm_automation.adapters.kinds.role import role_directory
from vmm_automation.errors import ArtifactInvalid, VmmError
from vmm_automation.model.ua import Artifact, DeploymentState, UaDefinition
from vmm_automation.operations.context import Context
from vmm_automation.operations.ua_offer import offer, offered_ua
from vmm_automation.schema import located
from vmm_automation.schema.files import invalid_from
from vmm_automation.state import ledger


def validated(context: Context, ua: str = "") -> dict[str, Any]:
    """Check one UA definition or all: the files, the archives that they name by path, and their roles.

    Raises:
        SiteInvalid: ``details['errors']`` has every error with its place.
        NotFound: there is no such UA.
    """
    site = context.site
    errors = site.ua_errors(ua)
    sound = {name: each for name, each in site.valid_uas().items() if ua in ("", name)}
    for definition in sound.values():
        errors += [*_archive_errors(context, definition), *_role_errors(context, definition)]
    if errors:
        what = f"UA '{ua}'" if ua else f"The catalogue of site '{site.name}'"
        hint = f"$EDITOR {site.directory / 'uas'}{f'/{ua}.yml' if ua else ''}"
        raise invalid_from(errors, what=what, hint=hint)
    return {"valid": sorted(sound)}


def shown(context: Context, ua: str) -> dict[str, Any]:
    """A UA's definition, its versions with where each comes from and where it is, and its publication."""
    definition = offered_ua(context, ua)
    with context.store.reading() as tx:
        rows = [row for row in ledger.for_ua(tx, ua=ua) if row.state is not DeploymentState.REMOVED]
    document = asdict(definition)
    for version in document["versions"]:
        here = [row for row in rows if row.version == version["version"]]
        version["active_on"] = [row.vm for row in here if row.state is DeploymentState.ACTIVE]
    return {"ua": document, "deployments": [row.to_document() for row in rows], **offer(context, ua)}


def _archive_errors(context: Context, definition: UaDefinition) -> Iterator[str]:
    for version in definition.versions:
        for number, artifact in enumerate(version.artifacts if kind_of(version.kind).local else ()):
            wrong = _wrong_archive(context, artifact)
            if wrong:
                path = ("versions", version.version, "artifacts", number)
                yield located(f"uas/{definition.id}.yml", path, wrong)


def _role_errors(context: Context, definition: UaDefinition) -> Iterator[str]:
    for version in definition.versions:
        if kind_of(version.kind).by_role:
            try:
                role_directory(version, definition_dir=context.site.directory / "uas")
            except ArtifactInvalid as absent:
                path = ("versions", version.version, "role")
                yield located(f"uas/{definition.id}.yml", path, absent.message)


def _wrong_archive(context: Context, artifact: Artifact) -> str:
    if is_remote(artifact.source) or any(context.places.artifacts.glob(f"{artifact.sha256}-*")):
        return ""  # its digest is checked at each use
    try:
        file = archive_path(artifact.source, definition_dir=context.site.directory / "uas")
    except VmmError as refused:
        return refused.message
    if not file.is_file():
        return f"there is no file '{file}'"
    actual = sha256_of(file)
    return "" if actual == artifact.sha256 else f"'{file.name}' has the sha256 {actual}"
