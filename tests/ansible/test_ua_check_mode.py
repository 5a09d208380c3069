"""Playbooks of UAs by hand, on a guest made of a directory: what a dry run says is what a run does."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ..demo_ua import write_demo_ua
from ..made_site import MadeSite, make_site
from ..programs.sandbox_guest import SandboxGuest
from .test_playbooks import Outcome, play


@dataclass(frozen=True)
class World:
    """A site whose one VM is the sandbox."""

    site: MadeSite
    guest: SandboxGuest
    reached: dict[str, str]

    def play(self, playbook: str, *words: str, **variables: Any) -> Outcome:
        """Run a playbook that has to succeed."""
        done = play(self.site, playbook, *words, ua_id="demo", **self.reached, **variables)
        assert done.status == 0, done.text
        return done

    def everything(self) -> tuple[list[str], dict[str, str]]:
        """The state, and all that lies in the guest."""
        paths = [path for path in self.guest.root.rglob("*") if path.suffix not in {".log", ".lock"}]
        files = {str(path): path.read_text(errors="replace") for path in paths if path.is_file()}
        links = {str(path): str(path.readlink()) for path in paths if path.is_symlink()}
        return self.site.dump(), files | links


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Three versions of a service that has configuration, unit and probe."""
    site = make_site(tmp_path / "made", running=["vm-1"])
    probe = {"kind": "command", "command": ["true"]}
    write_demo_ua(site.directory, work=tmp_path, probe=probe, files={"a": "b"})
    guest = SandboxGuest(tmp_path / "guest")
    return World(site, guest, guest.reached_by_ansible())


def converge(world: World, playbook: str, **variables: Any) -> list[str]:
    """Dry run, run, run again: the dry run told it and did nothing, and nothing is left to do."""
    before = world.everything()
    planned = world.play(playbook, "--check", **variables)
    assert world.everything() == before, f"the dry run of {playbook} changed something"
    done = world.play(playbook, **variables)
    told, did = planned.stats["vms"]["vm-1"], done.stats["vms"]["vm-1"]
    assert told["actions"] == did["actions"], playbook
    assert (planned.changed, bool(told["actions"])) == (1, True)
    assert done.changed == 1
    if playbook != "ua_status":  # which tells what there is, too
        assert told == did
    after = world.everything()
    again = world.play(playbook, **variables)
    assert (again.changed, again.stats["vms"]["vm-1"]["actions"]) == (0, []), playbook
    assert world.everything()[1] == after[1], f"the second run of {playbook} changed something"
    return list(did["actions"])


def test_every_playbook_does_what_its_dry_run_says_and_does_it_once(world: World) -> None:
    """Action for action, over the whole life of an application; at its end the guest is as it was."""
    bare = world.guest.tree()
    assert converge(world, "ua_deliver", ua_version="1.0") == ["deliver"]
    assert converge(world, "ua_activate", ua_version="1.0") == ["install_unit", "switch", "probe"]
    assert converge(world, "ua_update", ua_version="2.0") == ["deliver", "switch", "probe"]
    (world.guest.root / "state/vmm-ua-demo.service").write_text("active\n")
    assert converge(world, "ua_install", ua_version="3.0") == ["stop", "deliver", "switch", "start", "probe"]
    assert converge(world, "ua_rollback") == ["stop", "switch", "start"]
    assert converge(world, "ua_deactivate") == ["stop", "remove_unit", "deactivate"]
    world.play("ua_activate", ua_version="2.0")
    home = world.guest.root / "opt/vmm/ua/demo"
    shutil.rmtree(home / "1.0")
    (home / "current").unlink()
    assert converge(world, "ua_status", ua_repair=True) == ["deliver demo 1.0", "activate demo 2.0"]
    removed = converge(world, "ua_remove", ua_allow_destroy=True)
    assert removed == ["remove 1.0", "remove_unit", "remove 2.0", "remove 3.0"]
    assert world.guest.tree() == bare
