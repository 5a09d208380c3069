"""Who acts, by the command line: --as, operators, groups, tokens from file and environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vmm_automation.operations.actor import os_user
from vmm_automation.operations.tokens import write_token

from ..made_site import MadeSite, make_site

ACCESS = "access: {operators: [ann], groups: {ops: [cleo]}}\n"


@pytest.fixture
def guarded(site: MadeSite, session: str) -> MadeSite:
    """A site with an operator and a group, and live session s-1."""
    del session
    file = site.directory / "site.yml"
    file.write_text(file.read_text() + ACCESS)
    return site


def token_of(site: MadeSite, name: str, *words: str) -> str:
    done = ("watcher", "assign", "s-1", name, "--privilege", "suspend", "--token", *words)
    code, document = site.json(*done)
    assert code == 0, document
    return str(document["result"]["token"])


def last_entry(site: MadeSite) -> Any:
    return site.json("audit", "log", "--limit", "1")[1]["result"]["events"][0]


def test_operator_verb_asks_for_an_operator_and_keeps_both_names(guarded: MadeSite) -> None:
    """Refused to the login, done for --as ann: the chain has her and the login."""
    words = ("watcher", "assign", "s-1", "bo", "--privilege", "view")
    code, document = guarded.json(*words)
    assert (code, document["error"]["class"]) == (6, "NotPermitted")
    assert "only ann" in document["error"]["message"]
    assert guarded.json(*words, "--as", "ann")[0] == 0
    assert (last_entry(guarded)["actor"], last_entry(guarded)["from"]["user"]) == ("ann", os_user())
    refused: list[tuple[str, ...]] = [
        ("watcher", "update", "s-1", "bo", "--add", "end"),
        ("watcher", "lock", "break", "s-1", "--reason", "x"),
        ("session", "resume", "s-1"),
        ("watcher", "revoke", "s-1", "bo"),
    ]
    for each in refused:
        assert guarded.json(*each)[1]["error"]["class"] == "NotPermitted", each


OPERATORS_OWN = {
    "by a playbook": ("vm", "delete", "vm-9", "--yes"),
    "by a playbook on VMs": ("ua", "install", "radicale", "--vm", "vm-9"),
    "directly": ("image", "restore", "ada", "radicale", "--generation", "1"),
}


@pytest.mark.parametrize("how", OPERATORS_OWN)
def test_vms_uas_and_images_are_an_operators(guarded: MadeSite, how: str) -> None:
    """Refused to the login; what the hint says to add makes the difference."""
    words = OPERATORS_OWN[how]
    _code, document = guarded.json(*words)
    assert document["error"]["class"] == "NotPermitted"
    assert document["error"]["hint"] == "add --as NAME, if you are one of them"
    _code, document = guarded.json(*words, "--as", "ann")
    assert document.get("error", {}).get("class") != "NotPermitted"


def test_member_of_a_group_takes_the_right_for_it(guarded: MadeSite) -> None:
    """Cleo may for ops, and nobody else, the operator included."""
    guarded.vmm("watcher", "assign", "s-1", "ops", "--privilege", "suspend", "--as", "ann")
    acquire = ("watcher", "lock", "acquire", "s-1", "ops")
    for name in ("ann", "eve", "ops"):
        assert guarded.json(*acquire, "--as", name)[1]["error"]["class"] == "NotPermitted"
    assert guarded.json(*acquire, "--as", "cleo")[1]["result"]["right"]["holder"] == "ops"
    assert guarded.json("watcher", "lock", "release", "s-1", "ops", "--as", "ann")[0] == 0


def test_session_is_shown_with_who_watches_now_and_until_when(guarded: MadeSite) -> None:
    """Text and JSON have the valid grants and the holder; a Watcher without 'view' sees nothing."""
    by = ("--as", "ann")
    words = ("--privilege", "view", "--privilege", "suspend", "--until", "2030-05-01T12:00Z")
    guarded.vmm("watcher", "assign", "s-1", "bo", *words, *by)
    guarded.vmm("watcher", "assign", "s-1", "cy", "--privilege", "end", "--from", "2h", *by)
    guarded.vmm("watcher", "lock", "acquire", "s-1", "bo", "--as", "bo")
    shown = guarded.vmm("session", "show", "s-1").stdout
    assert "bo (suspend, view) until 2030-05-01T12:00:00.000000Z" in shown
    assert "cy" not in shown
    assert "suspend right  bo until 20" in shown
    document = guarded.json("session", "show", "s-1", "--as", "bo")[1]["result"]["session"]
    assert [grant["watcher"] for grant in document["grants"]] == ["bo"]
    assert document["right"]["holder"] == "bo"
    assert guarded.json("session", "show", "s-1", "--as", "cy")[1]["error"]["class"] == "NotPermitted"


def test_start_and_end_are_given_and_listed(site: MadeSite, session: str) -> None:
    """The list says from when; the history has it all, after the revocation too."""
    words = ("--privilege", "view", "--from", "2h", "--for", "30m")
    told = site.vmm("watcher", "assign", session, "bo", *words).stdout
    assert told.startswith("bo may view from 20")
    (grant,) = site.json("watcher", "list", session)[1]["result"]["grants"]
    assert (grant["valid"], grant["starts_at"] < grant["expires_at"]) == (False, True)
    assert grant["starts_at"] in site.vmm("watcher", "list", session).stdout
    site.vmm("watcher", "revoke", session, "bo", "--reason", "moved")
    rows = site.json("watcher", "history", session)[1]["result"]["history"]
    assert [row["change"] for row in rows] == ["assigned", "revoked"]
    assert {row["starts_at"] for row in rows} == {grant["starts_at"]}
    assert "moved" in site.vmm("watcher", "history", session).stdout


BAD = {
    "past end": ("--until", "2020-01-01T00:00Z"),
    "far end": ("--until", "2099-01-01T00:00Z"),
    "past start": ("--from", "2020-01-01T00:00Z"),
    "end before start": ("--from", "2h", "--until", "2026-01-01T00:00Z"),
    "no zone": ("--until", "2030-01-01T00:00"),
    "no time": ("--from", "soon"),
    "length and end": ("--for", "1h", "--until", "2030-01-01T00:00Z"),
    "unknown privilege": ("--privilege", "fly"),
    "bad actor": ("--as", "a'; DROP TABLE grants; --"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_option_is_a_usage_error_and_changes_nothing(site: MadeSite, session: str, case: str) -> None:
    """Exit code 2 with one line that says what is wrong."""
    before = site.dump()
    done = site.vmm("watcher", "assign", session, "bo", "--privilege", "view", *BAD[case])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr
    assert site.dump() == before
    assert site.vmm("watcher", "assign", session, "bo").returncode == 2


def test_token_is_shown_once_and_given_by_file_or_environment(site: MadeSite, tmp_path: Path) -> None:
    """Three ways in, none of them an argument; a file that others can read is refused."""
    session = site.claim()
    token = token_of(site, "bo")
    acquire = ("watcher", "lock", "acquire", session, "bo")
    assert site.json(*acquire)[1]["error"]["class"] == "NotPermitted"
    file = tmp_path / "token"
    write_token(file, token)
    assert site.json(*acquire, "--token-file", str(file))[0] == 0
    for name, value in (("VMM_WATCHER_TOKEN", token), ("VMM_WATCHER_TOKEN_FILE", str(file))):
        done = site.vmm(*acquire, environment={**site.environment, name: value})
        assert done.returncode == 0, done.stderr
    done = site.vmm(*acquire, environment={**site.environment, "VMM_WATCHER_TOKEN": f"{token}x"})
    assert done.returncode == 6
    assert token not in done.stderr
    file.chmod(0o640)
    code, document = site.json(*acquire, "--token-file", str(file))
    assert (code, document["error"]["hint"]) == (2, f"chmod 600 {file}")
    assert token not in "".join(site.dump())
    assert token not in site.vmm("watcher", "list").stdout + site.vmm("audit", "log").stdout


def test_new_token_makes_the_old_one_void(site: MadeSite) -> None:
    """The text for a person has the new one, on a line of its own."""
    session = site.claim()
    old = token_of(site, "bo")
    told = site.vmm("watcher", "update", session, "bo", "--new-token").stdout
    new = told.split("Token, shown this once: ")[1].strip()
    for token, code in ((old, 6), (new, 0)):
        environment = {**site.environment, "VMM_WATCHER_TOKEN": token}
        assert (
            site.vmm("watcher", "lock", "acquire", session, "bo", environment=environment).returncode == code
        )


def test_site_that_requires_tokens_makes_one_at_each_assignment(guarded: MadeSite) -> None:
    """Also on a dry run it says so, with nothing made."""
    file = guarded.directory / "site.yml"
    file.write_text(file.read_text().replace(ACCESS, ACCESS.replace("}}", "}, watcher_tokens: required}")))
    assign = ("watcher", "assign", "s-1", "bo", "--privilege", "suspend", "--as", "ann")
    assert guarded.json(*assign, "--check")[1]["result"]["token"] is None
    assert len(guarded.json(*assign)[1]["result"]["token"]) >= 43
    code, document = guarded.json("watcher", "lock", "acquire", "s-1", "bo", "--as", "bo")
    assert (code, "needs the token" in document["error"]["message"]) == (6, True)


def test_close_by_a_watcher_goes_through_the_playbook_with_name_and_token(tmp_path: Path) -> None:
    """Without 'end' refused by the step itself; with it and its token the Watcher is past that check.

    What is in the session is an operator's to discard.
    """
    guarded = make_site(tmp_path, running=["vm-1"])
    file = guarded.directory / "site.yml"
    file.write_text(file.read_text() + ACCESS)
    guarded.claim()
    with guarded.store() as store, store.transaction() as tx:
        tx.execute("UPDATE sessions SET state = 'active'")
    by = ("--as", "ann")
    close = ("session", "close", "s-1", "--as", "bo")
    token = token_of(guarded, "bo", *by)
    environment = {**guarded.environment, "VMM_WATCHER_TOKEN": token}
    done = guarded.vmm(*close, environment=environment)
    assert (done.returncode, "lacks the privilege 'end'" in done.stderr) == (6, True), done.stderr
    guarded.vmm("watcher", "update", "s-1", "bo", "--add", "end", *by)
    assert "it was not given" in guarded.vmm(*close).stderr
    done = guarded.vmm(*close, "--discard", "--yes", environment=environment)
    assert (done.returncode, "only ann" in done.stderr) == (6, True), done.stderr
    guarded.vmm(*close, environment=environment)  # begins, and then finds no guest in this VM
    assert guarded.json("session", "close", "s-1", "--discard", "--yes", *by)[0] == 0
    entries = guarded.json("audit", "log")[1]["result"]["events"]
    entry = next(each for each in entries if each["action"] == "session.close")
    assert (entry["actor"], entry["from"]["user"], entry["from"]["door"]) == ("bo", os_user(), "cli")
    assert token not in done.stdout + done.stderr + "".join(guarded.dump())


def test_broken_access_block_stops_what_it_would_judge_and_hides_nothing(guarded: MadeSite) -> None:
    """A slip in site.yml opens nothing to everybody; who holds the right can still be seen."""
    file = guarded.directory / "site.yml"
    file.write_text(file.read_text().replace("operators", "operator"))
    code, document = guarded.json("watcher", "assign", "s-1", "bo", "--privilege", "view")
    assert (code, document["error"]["class"]) == (3, "SiteInvalid")
    assert guarded.json("watcher", "lock", "show", "s-1")[0] == 0
    assert guarded.json("watcher", "list", "s-1")[0] == 0
