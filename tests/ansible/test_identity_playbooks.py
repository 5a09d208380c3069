"""Identity, tokens and times of grants by playbooks, as by hand or from AWX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ..made_site import MadeSite
from .test_playbooks import play

BO: dict[str, Any] = {"watcher_session": "s-1", "watcher_name": "bo"}
SUSPEND: dict[str, Any] = {**BO, "watcher_privileges": ["suspend"]}


def grants(site: MadeSite) -> Any:
    return site.json("watcher", "list", "s-1")[1]["result"]["grants"]


def allow(site: MadeSite, access: str) -> None:
    file = site.directory / "site.yml"
    file.write_text(f"{file.read_text()}access: {{{access}}}\n")


@pytest.mark.usefixtures("session")
def test_token_goes_to_the_file_and_into_no_output(site: MadeSite, tmp_path: Path) -> None:
    """Made once, mode 0600, and in no output however talkative; then it opens the right."""
    file = tmp_path / "token"
    wanted = {**SUSPEND, "watcher_new_token": True, "watcher_token_file": str(file)}
    dry = play(site, "watcher_assign", "--check", **wanted)
    assert (dry.changed, file.exists(), grants(site)) == (1, False, []), dry.text
    first = play(site, "watcher_assign", "-vvvv", "--diff", **wanted)
    assert (first.status, first.changed) == (0, 1), first.text
    token = file.read_text().strip()
    assert (file.stat().st_mode & 0o777, len(token) >= 43) == (0o600, True)
    again = play(site, "watcher_assign", **wanted)
    assert (again.status, again.changed, file.read_text().strip()) == (0, 0, token)
    refused = play(site, "watcher_lock_acquire", **BO)
    assert (refused.status, refused.error["class"]) == (2, "NotPermitted")
    taken = play(site, "watcher_lock_acquire", "-vvvv", **BO, watcher_token_file=str(file))
    assert taken.stats["right"]["holder"] == "bo"
    new = play(site, "watcher_update", **BO, watcher_new_token=True, watcher_token_file=str(file))
    assert (new.changed, file.read_text().strip() != token) == (1, True)
    for told in (first, again, refused, taken, new):
        assert token not in told.text
        assert file.read_text().strip() not in told.text
        assert "WARNING" not in told.text
    assert token not in "".join(site.dump())


@pytest.mark.usefixtures("session")
def test_site_that_requires_tokens_refuses_an_assignment_without_a_file(site: MadeSite) -> None:
    """The dry run too; the refusal names the variable."""
    allow(site, "watcher_tokens: required")
    for words in ((), ("--check",)):
        done = play(site, "watcher_assign", *words, **SUSPEND)
        assert (done.status, done.error["hint"]) == (2, "-e watcher_token_file=PATH")
    assert grants(site) == []


@pytest.mark.usefixtures("session")
def test_launching_user_is_who_acts_and_is_kept_beside_a_named_one(site: MadeSite) -> None:
    """Olga is no operator; ann is; whom olga names acts, and the chain has olga too."""
    allow(site, "operators: [ann]")
    refused = play(site, "watcher_assign", **SUSPEND, awx_user_name="olga")
    assert (refused.status, refused.error["details"]["operators"]) == (2, ["ann"])
    assert play(site, "watcher_assign", **SUSPEND, awx_user_name="ann").changed == 1
    assert play(site, "watcher_revoke", **BO, awx_user_name="olga", vmm_actor="ann").changed == 1
    first, second = site.json("audit", "log")[1]["result"]["events"]
    assert (first["actor"], first["from"]["user"], first["from"]["door"]) == ("ann", "ann", "awx")
    assert (second["actor"], second["from"]["user"]) == ("ann", "olga")


def test_vms_uas_and_images_are_an_operators(site: MadeSite) -> None:
    """By hand and from AWX as by the command line; the refusal comes before the first VM."""
    allow(site, "operators: [ann]")
    stored: dict[str, Any] = {"image_store_user": "ada", "image_store_ua": "radicale"}
    asked: dict[str, dict[str, Any]] = {
        "vm_delete": {"vm_names": ["vm-9"], "vm_allow_destroy": True},
        "ua_install": {"ua_id": "radicale", "ua_vms": ["vm-9"]},
        "image_restore": {**stored, "image_store_generation": 1},
    }
    for name, variables in asked.items():
        refused = play(site, name, **variables, awx_user_name="olga")
        assert (refused.status, refused.error["class"]) == (2, "NotPermitted"), refused.text
    assert play(site, "vm_delete", **asked["vm_delete"], awx_user_name="ann").status == 0


@pytest.mark.usefixtures("session")
def test_start_and_end_by_variables_once(site: MadeSite) -> None:
    """A length from now and an absolute end, twice without a change; a wrong one names its variable."""
    wanted = {**SUSPEND, "watcher_starts": "2h", "watcher_until": "2030-01-01T00:00Z"}
    assert [play(site, "watcher_assign", **wanted).changed for _ in range(2)] == [1, 0]
    (grant,) = grants(site)
    assert (grant["valid"], grant["expires_at"]) == (False, "2030-01-01T00:00:00.000000Z")
    for name in ("watcher_starts", "watcher_until"):
        done = play(site, "watcher_assign", **{**wanted, name: "soon'; DROP TABLE grants"})
        assert (done.error["class"], name in done.error["message"]) == ("UsageError", True)
    assert grants(site) == [grant]
