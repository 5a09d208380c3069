"""Where playbooks, roles, inventories and plugins lie: in the source tree, or in the installed package."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def content_directory() -> Path:
    """The directory that holds ``playbooks/``, ``roles/`` and ``inventories/``."""
    packaged = _PACKAGE / "content"
    return packaged if packaged.is_dir() else _PACKAGE.parent


def playbooks() -> dict[str, Path]:
    """Every playbook by its name without ending."""
    return {path.stem: path for path in sorted((content_directory() / "playbooks").glob("*.yml"))}


def plugin_directory(kind: str) -> Path:
    """The directory of our Ansible plugins of a kind (``action``, ``inventory``)."""
    return _PACKAGE / "ansible" / kind


def default_site() -> Path:
    """The site for this machine that comes with the project."""
    return content_directory() / "inventories" / "local"
