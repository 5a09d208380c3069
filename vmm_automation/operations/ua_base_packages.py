"""The package list of a guest's base image, against which Debian packages are resolved."""

from __future__ import annotations

import tempfile
from pathlib import Path

from vmm_automation.errors import TaskFailed
from vmm_automation.model.names import check_name
from vmm_automation.operations import ua_scripts
from vmm_automation.places import make_directory
from vmm_automation.ports import Guest


def base_package_status(guest: Guest, *, base_digest: str, directory: Path) -> Path:
    """A copy of the package list of the guest's base image, brought once per base image and kept below
    ``directory``.

    It comes from a guest because every guest has it, whichever way its base image was made; a guest that has
    received packages keeps the list from before.
    """
    kept = directory / f"dpkg-status-{check_name('base image', base_digest)}"
    if kept.is_file():
        return kept
    make_directory(directory)
    script = f"cat {ua_scripts.BASE_STATUS} 2>/dev/null || cat {ua_scripts.DPKG_STATUS}"
    result = guest.run(script)
    if result.status != 0 or "Package: dpkg\n" not in result.stdout:
        raise TaskFailed(
            f"Cannot read the package list of VM '{guest.name}'",
            hint=f"vmm vm show {guest.name}",
            details={"host": guest.name, "step": "packages", "stderr": result.stderr[-2000:]},
        )
    with tempfile.NamedTemporaryFile("w", dir=directory, prefix=".dpkg-status-", delete=False) as file:
        file.write(result.stdout)
    return Path(file.name).replace(kept)
