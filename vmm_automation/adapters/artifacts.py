"""The files that a UA version is delivered from: fetched once, then used from the cache and verified on every
use.

Layout on disk: ``<directory>/<sha256>-<file name>``, one file per artifact; what Debian packages a list of
names meant is in a lock beside them (``apt_packages.py``). A file appears under its final name only when it
is whole and has the digest of its name, by a rename; so several processes may fetch the same artifact at
once, and the last one wins with equal bytes.
"""

from __future__ import annotations

import re
from pathlib import Path

from vmm_automation.adapters.cached_files import no_space
from vmm_automation.adapters.kinds import Fetching, Progress, kind_of
from vmm_automation.errors import ArtifactInvalid
from vmm_automation.model.ua import UaVersion
from vmm_automation.places import make_directory

_DIGEST = re.compile(r"[0-9a-f]{64}")


def silent(_line: str) -> None:
    """A progress receiver that tells nobody."""


def fetch_artifacts(
    version: UaVersion,
    *,
    definition_dir: Path,
    directory: Path,
    progress: Progress = silent,
    package_status: Path | None = None,
) -> tuple[Path, ...]:
    """The files of ``version``, in the order of its definition (Debian packages: by name), each verified just
    now.

    ``definition_dir`` is where relative sources start; ``package_status`` is a copy of the base image's
    ``/var/lib/dpkg/status``, which kind *deb* needs (``operations.ua_base_packages``
    brings it).

    Raises:
        ArtifactInvalid: an artifact is absent, was altered, or is not what its definition says.
        ToolMissing: pip or apt-get is not installed on the controller.
        DiskFull: no space is left below ``directory``.
    """
    with no_space(directory):
        make_directory(directory)
        for artifact in version.artifacts:
            if not _DIGEST.fullmatch(artifact.sha256):
                raise ArtifactInvalid(
                    f"Artifact '{artifact.source}' has no valid digest: "
                    f"'{artifact.sha256}' is not 64 lower-case hexadecimal digits",
                    hint="sha256sum FILE",
                    details={"source": artifact.source},
                )
        fetching = Fetching(definition_dir, directory, progress, package_status)
        return kind_of(version.kind).fetch(version, fetching)
