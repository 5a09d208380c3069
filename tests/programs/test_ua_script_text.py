"""The shell text of UA operations as text: any shell reads it, and values stay values."""

from __future__ import annotations

import subprocess
from typing import Any

from vmm_automation.adapters.kinds import kind_of
from vmm_automation.operations import ua_scripts


def test_every_script_is_posix_shell() -> None:
    """No script relies on more than a POSIX shell reads."""
    waiting: dict[str, Any] = {"ports": [80], "deadline_s": 1}
    scripts = [
        ua_scripts.status_script(),
        ua_scripts.install_script("a", version="1", digest="d", activate=True, **waiting),
        ua_scripts.switch_script("a", version="1", **waiting),
        ua_scripts.start_script("a", version="1", **waiting),
        ua_scripts.stop_script("a"),
        ua_scripts.remove_script("a", versions=["1", "2"]),
        *(
            ua_scripts.packages_script(
                "a", version="1", would_install=kind_of(kind).would_install, notes=notes
            )
            for kind in ("apt", "deb", "rpm")
            for notes in ({}, {".vmm-packages": "it's 1\n"})
        ),
    ]
    for script in scripts:
        done = subprocess.run(["sh", "-n"], input=script.encode(), capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")


def test_names_reach_the_shell_quoted() -> None:
    """Whatever a value holds, the shell reads it as one word."""
    script = ua_scripts.install_script(
        "demo", version="1.0; reboot", digest="d", activate=True, ports=[80], deadline_s=1
    )
    assert "version='1.0; reboot'\n" in script
