"""Playbooks of the project as an operator runs them: ``ansible-playbook`` at the top of the project."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from vmm_automation.content import content_directory, playbooks

from ..forked import run_forked
from ..made_site import MadeSite


def run_by_hand(site: MadeSite, name: str, *words: str, **variables: Any) -> subprocess.CompletedProcess[str]:
    """Run a playbook; its status and output."""
    done = run_forked(
        ansible_playbook,
        "ansible-playbook",
        *("--inventory", str(site.inventory), "--extra-vars", json.dumps(variables)),
        *words,
        str(playbooks()[name]),
        environment={**site.environment, "ANSIBLE_NOCOLOR": "1"},
        cwd=content_directory(),
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def ansible_playbook(words: list[str]) -> None:
    """The program."""
    from ansible.cli.playbook import main

    main(words)
