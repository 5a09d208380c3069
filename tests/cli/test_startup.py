"""What a pipeline pays for each call: the quick commands load nothing that they do not need."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from vmm_automation.content import content_directory

from ..made_site import MadeSite

SLOW = ["ansible", "ansible_runner", "libvirt", "yaml", "jsonschema", "rich", "jinja2", "psutil", "asyncio"]
SLOW += ["psycopg"]
PROGRAM = """
import json, sys
from vmm_automation.cli.root import run
status = run(sys.argv[1:])
print(json.dumps({"status": status, "modules": sorted(sys.modules)}), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "line",
    ["--help", "session list", "watcher list s-1", "watcher lock acquire s-1 bo", "watcher lock show s-1"],
)
def test_quick_command_loads_nothing_slow(site: MadeSite, session: str, line: str) -> None:
    """Pure state work imports neither Ansible nor libvirt, nor any parser of YAML."""
    site.vmm("watcher", "assign", session, "bo", "--privilege", "suspend")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *line.split()],
        capture_output=True,
        check=True,
        env={**site.environment, "PYTHONPATH": str(content_directory())},
        text=True,
    )
    told = json.loads(done.stderr.splitlines()[-1])
    assert told["status"] == 0
    assert [name for name in SLOW if name in told["modules"]] == []


def test_quick_command_needs_no_site(site: MadeSite, session: str) -> None:
    """Sessions and the suspend right can be seen while the site's files are broken."""
    (site.directory / "site.yml").write_text("[")
    assert site.json("session", "list")[1]["result"]["sessions"][0]["id"] == session
    assert site.json("watcher", "lock", "show", session)[0] == 0
