"""The guide for adding a UA, followed from its own text as far as it goes without a VM."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.made_site import make_site
from vmm_automation.adapters.artifacts import fetch_artifacts
from vmm_automation.adapters.bundles import build_bundle
from vmm_automation.content import content_directory
from vmm_automation.site import Site

GUIDE = content_directory() / "docs" / "add-a-ua.md"
_BLOCK = re.compile(r"^```(sh|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_guide_followed_word_for_word_gives_a_ua_that_can_be_delivered(tmp_path: Path) -> None:
    """Its commands are run, its file is written: the UA is valid, shown, fetched and bundled."""
    site = make_site(tmp_path / "made")
    (tmp_path / "bin").mkdir()
    vmm = tmp_path / "bin" / "vmm"
    vmm.write_text(f'#!/bin/sh\nexec {sys.executable} -m vmm_automation "$@"\n')
    vmm.chmod(0o755)
    environment = {
        **site.environment,
        "PATH": f"{vmm.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(content_directory()),
    }
    said = ""
    for language, text in _BLOCK.findall(GUIDE.read_text()):
        if language == "yaml":
            digest = re.search(r"[0-9a-f]{64}", said)
            assert digest
            (site.directory / "uas" / "hello.yml").write_text(text.replace("DIGEST", digest[0]))
            continue
        done = subprocess.run(
            ["sh", "-e", "-c", text],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said += done.stdout
    assert "hello: valid" in said
    assert "The first version." in said
    definition = Site.load(site.directory).ua("hello")
    uas, artifacts = site.directory / "uas", tmp_path / "artifacts"
    files = fetch_artifacts(definition.version(), definition_dir=uas, directory=artifacts)
    bundle = build_bundle(definition, definition.version(), files=files, directory=tmp_path / "bundles")
    with tarfile.open(bundle.path) as archive:
        assert archive.getmember("app/serve").mode == 0o755
        assert ".vmm-unit" in archive.getnames()


def test_guide_names_only_verbs_that_there_are() -> None:
    """Every command in the guide exists."""
    from vmm_automation.cli.ua_commands import command

    verbs = set(re.findall(r"vmm ua (\w+)", GUIDE.read_text()))
    assert verbs <= set(command.commands)
