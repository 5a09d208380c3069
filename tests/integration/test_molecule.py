"""The molecule scenario of role vm, as a contributor runs it."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

from .controller import BIN, REPOSITORY, Controller

MOLECULE = BIN / "molecule"
STEPS = ("syntax", "create", "converge", "idempotence", "verify", "destroy")


@pytest.mark.skipif(not MOLECULE.exists(), reason="molecule is not installed")
def test_scenario_of_role_vm_passes_and_leaves_nothing(beside: Controller) -> None:
    """One VM is made, unchanged by a second run, answers over SSH through the inventory, and is deleted."""
    own = replace(beside, name="molecule", site=REPOSITORY / "molecule" / "default" / "site")
    path = f"{BIN}:{own.env.get('PATH', '')}"
    try:
        done = subprocess.run(
            [MOLECULE, "test"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=REPOSITORY,
            env={**own.env, "PATH": path, "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        for step in STEPS:
            assert f"default > {step}: Executed: Successful" in done.stdout
        assert own.domains() == []
    finally:
        own.remove_vms()
