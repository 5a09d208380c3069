"""Documents that are made from the code are as the code says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parents[2]
_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def test_commands_are_generated_from_the_command_tree() -> None:
    """docs/commands.md has every command with its options and an example, as --help has."""
    program = TOP / "scripts" / "command_docs.py"
    subprocess.run([sys.executable, program, "--check"], check=True, env={"PYTHONPATH": str(TOP)})


def test_links_between_documents_lead_somewhere() -> None:
    """No document points at a file that is not there."""
    for document in [*TOP.glob("*.md"), *TOP.glob("docs/*.md"), *TOP.glob("roles/*/README.md")]:
        for target in _LINK.findall(document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
