"""A UA of three versions, each a small archive with one program."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml

from vmm_automation.adapters.cached_files import sha256_of

VERSIONS = ("1.0", "2.0", "3.0")


def write_demo_ua(site: Path, *, work: Path, **more: Any) -> None:
    """Define UA ``demo`` with ``more`` keys on a site; ``work`` is a directory for its parts."""
    versions: dict[str, Any] = {}
    for version in VERSIONS:
        content = work / f"content-{version}"
        content.mkdir()
        (content / "program").write_text(f"version {version}\n")
        archive = Path(shutil.make_archive(str(site / "uas" / f"demo-{version}"), "gztar", content))
        artifact = {"source": archive.name, "sha256": sha256_of(archive)}
        versions[version] = {"kind": "archive", "artifacts": [artifact]}
    definition = {"command": ["sleep", "1"], **more, "versions": versions}
    (site / "uas" / "demo.yml").write_text(yaml.safe_dump(definition, sort_keys=False))
