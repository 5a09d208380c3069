"""Where playbooks, roles, inventories and plugins lie: in the source tree, or in the installed package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def content_directory() -> Path:
    """The directory that holds ``playbooks/``, ``roles/`` and ``inventories/``."""
    package = Path(str(files("vmm_automation")))
    packaged = package / "content"
    return packaged if packaged.is_dir() else package.parent


def playbooks() -> dict[str, Path]:
    """Every playbook by its name without ending."""
    return {path.stem: path for path in sorted((content_directory() / "playbooks").glob("*.yml"))}


def plugin_directory(kind: str) -> Path:
    """The directory of our Ansible plugins of a kind (``action``, ``inventory``)."""
    return Path(str(files("vmm_automation"))) / "ansible" / kind


def default_site() -> Path:
    """The site for this machine that comes with the project."""
    return content_directory() / "inventories" / "local"
