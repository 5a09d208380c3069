"""The wheel has all that is needed: installed alone, run from an empty directory, it does what the tree does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from .controller import BIN, REPOSITORY, Controller

_DEPENDENCIES = ("ansible-playbook", "borg")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``bin`` of a new environment with our wheel, which pip installs.

    The dependencies are those of the running environment, linked in and not installed again: what they are is
    pip's affair, and some are built from source for minutes. Their programs are copied, so that they run with the
    new interpreter and find our package in the wheel and not in the source tree.
    """
    root = tmp_path_factory.mktemp("wheel")
    tree = root / "tree"
    ignored = shutil.ignore_patterns(".git", "__pycache__", ".*_cache", ".hypothesis", ".venv*")
    shutil.copytree(REPOSITORY, tree, ignore=ignored)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    run([*pip, "wheel", "--no-deps", "--wheel-dir", str(root), str(tree)])
    shutil.rmtree(tree)
    run([sys.executable, "-m", "venv", str(root / "venv")])
    binaries = root / "venv" / "bin"
    wheel = next(root.glob("*.whl"))
    run([str(binaries / "python"), "-m", "pip", "-q", "install", "--no-deps", "--no-index", str(wheel)])
    variables = {"base": str(root / "venv"), "platbase": str(root / "venv")}
    packages = Path(sysconfig.get_path("purelib", vars=variables))
    (packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    for program in _DEPENDENCIES:
        _first, _newline, rest = (BIN / program).read_text().partition("\n")
        (binaries / program).write_text(f"#!{binaries / 'python'}\n{rest}")
        (binaries / program).chmod(0o755)
    return binaries


def run(argv: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done  # type: ignore[no-any-return]


def test_installed_wheel_works_from_an_empty_directory(
    installed: Path, bare: Controller, tmp_path: Path
) -> None:
    """Help, doctor and a playbook need nothing of the source tree: roles, plugins and the site are in the wheel."""
    empty = tmp_path / "empty"
    empty.mkdir()
    path = ":".join(
        directory for directory in os.environ.get("PATH", os.defpath).split(":") if Path(directory) != BIN
    )
    unwanted = ("VMM_", "ANSIBLE_", "PYTHON")
    env = {key: value for key, value in os.environ.items() if not key.startswith(unwanted)}
    env |= {"PATH": path, "VMM_HOME": str(bare.home)}

    def vmm(*arguments: str) -> str:
        return run([str(installed / "vmm"), *arguments], cwd=empty, env=env).stdout

    where = "import vmm_automation, vmm_automation.content as c; print(vmm_automation.__file__, c.default_site())"
    found = run([str(installed / "python"), "-c", where], cwd=empty, env=env).stdout.split()
    assert all(Path(place).is_relative_to(installed.parent) for place in found), found

    assert "session" in vmm("--help")
    checks = json.loads(vmm("doctor", "--output", "json"))["result"]["checks"]
    assert {check["status"] for check in checks} <= {"ok", "warning"}, checks
    ansible = next(check for check in checks if check["name"] == "ansible")
    assert str(installed) in ansible["found"]

    words = ("playbook", "run", "base_image_build", "-e", "base_image_name=debian", "--output", "json")
    built = json.loads(vmm(*words))
    assert built["result"]["base_image"]["name"] == "debian"
    assert built["changed"] is False
    assert list(empty.iterdir()) == []
