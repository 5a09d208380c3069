"""Kind *role*: an operator's own Ansible role, in the site's ``roles/``, brings the version to the VM.

The bundle has the configuration, the unit, and what the role was: a role that changes is run again at the
next delivery. ``operations/ua_role.py`` runs it, and says what a role has to keep to.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from vmm_automation.adapters.bundle_members import Member
from vmm_automation.adapters.cached_files import keep_file, sha256_of
from vmm_automation.adapters.kinds import Fetching, Kind
from vmm_automation.errors import ArtifactInvalid
from vmm_automation.model.ua import UaVersion

_MARK = ".vmm-role"


def role_directory(version: UaVersion, *, definition_dir: Path) -> Path:
    """The directory of the role.

    Raises:
        ArtifactInvalid: the site has no such role.
    """
    directory = definition_dir.parent / "roles" / version.role
    if not (directory / "tasks").is_dir():
        raise ArtifactInvalid(
            f"Role '{version.role}' is absent: there are no tasks in '{directory}'",
            hint=f"ls {directory.parent}",
            details={"role": version.role},
        )
    return directory


def _fetch(version: UaVersion, fetching: Fetching) -> tuple[Path, ...]:
    directory = role_directory(version, definition_dir=fetching.definition_dir)
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    told = {
        "role": version.role,
        "variables": version.variables,
        "files": {str(path.relative_to(directory)): sha256_of(path) for path in files},
    }
    text = json.dumps(told, sort_keys=True, indent=1)
    with tempfile.TemporaryDirectory(dir=fetching.directory, prefix=".role-") as scratch:
        file = Path(scratch) / version.role
        file.write_text(text)
        return (
            keep_file(file, directory=fetching.directory, sha256=hashlib.sha256(text.encode()).hexdigest()),
        )


def _members(version: UaVersion, files: Sequence[Path]) -> Iterator[Member]:
    del version
    for path in files:
        yield Member(_MARK, path.read_bytes())


KIND = Kind(fetch=_fetch, members=_members, by_role=True)
