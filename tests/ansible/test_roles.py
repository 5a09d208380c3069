"""Every role says what it takes, once: the specs are what is checked, documented, and defaulted."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

TOP = Path(__file__).parents[2]
ROLES = sorted(path.name for path in (TOP / "roles").iterdir() if path.is_dir())
PLAYBOOKS = sorted((TOP / "playbooks").glob("*.yml"))
TASK_FILES = sorted((TOP / "roles").glob("*/tasks/*.yml"))


def specs_of(role: str) -> dict[str, dict[str, Any]]:
    text = (TOP / "roles" / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8")
    options: dict[str, dict[str, Any]] = yaml.safe_load(text)["argument_specs"]["main"]["options"]
    return options


def tasks_in(document: Any) -> list[dict[str, Any]]:
    found = []
    for task in document or []:
        found.append(task)
        for part in ("block", "rescue", "always"):
            found += tasks_in(task.get(part))
    return found


@pytest.mark.parametrize("role", ROLES)
def test_every_argument_has_type_and_description(role: str) -> None:
    """An operator reads what each variable means, and a wrong type is refused."""
    for name, option in specs_of(role).items():
        assert name.startswith(f"{role}_")
        assert option["type"] in {"str", "int", "bool", "list", "raw"}
        assert option["description"].endswith(".")
        assert ("default" in option) != option.get("required", False)
        assert option["type"] != "list" or option["elements"]


@pytest.mark.parametrize("role", ROLES)
def test_defaults_are_those_of_the_specs_each_with_a_comment(role: str) -> None:
    """What is checked is what applies; the file reads without the specs."""
    path = TOP / "roles" / role / "defaults" / "main.yml"
    text = path.read_text(encoding="utf-8")
    wanted = {
        name: option["default"] for name, option in specs_of(role).items() if not option.get("required")
    }
    assert yaml.safe_load(text) == wanted
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if re.match(r"\w+:", line):
            assert lines[number - 1].startswith("# "), line


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_in_tasks_is_an_argument_or_made_there(role: str) -> None:
    """No input works without being declared; what tasks register has the role's prefix."""
    declared = set(specs_of(role))
    used: set[str] = set()
    for path in (TOP / "roles" / role / "tasks").glob("*.yml"):
        text = path.read_text(encoding="utf-8")
        made = {task["register"] for task in tasks_in(yaml.safe_load(text)) if "register" in task}
        assert all(name.startswith(f"{role}_") for name in made)
        declared |= made
        used |= set(re.findall(rf"(?<![\w.])({role}_\w+)", "\n".join(re.findall(r"{{.*?}}|when: .*", text))))
    assert used <= declared
    assert set(specs_of(role)) <= used


def test_readmes_are_generated_from_the_specs() -> None:
    """The table a reader sees is the one that is checked."""
    subprocess.run([sys.executable, TOP / "scripts" / "role_docs.py", "--check"], check=True)


@pytest.mark.parametrize("path", TASK_FILES, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_tasks_are_named_as_orders(path: Path) -> None:
    """A follower of a run reads what is being done: a capitalised verb first, no full stop."""
    for task in tasks_in(yaml.safe_load(path.read_text(encoding="utf-8"))):
        assert re.match(r"[A-Z][a-z]+ ", task["name"]), task["name"]
        assert not re.match(r"(?!Bring )\w+(ing|ed|s) ", task["name"]), task["name"]
        assert not task["name"].endswith(".")


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: str(path.stem))
def test_playbook_is_hosts_and_roles(path: Path) -> None:
    """No logic in playbooks: at most 40 lines, no tasks of their own."""
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40
    for play in yaml.safe_load(text):
        assert set(play) <= {"name", "hosts", "order", "serial", "roles", "vars"}
        for role in play["roles"]:
            assert role["role"] in ROLES
            assert set(role.get("vars", {})) <= set(specs_of(role["role"]))


def test_every_destructive_playbook_leaves_the_permission_to_the_caller() -> None:
    """No playbook allows destruction by itself."""
    for path in PLAYBOOKS:
        assert "allow_destroy" not in path.read_text(encoding="utf-8")
    for role in ROLES:
        permission = specs_of(role).get(f"{role}_allow_destroy")
        assert permission is None or permission["default"] is False
