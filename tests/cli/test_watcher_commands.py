"""Watchers by the command line, on a session that stands in the state."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ..made_site import MadeSite


def test_watcher_is_assigned_updated_and_revoked(site: MadeSite, session: str) -> None:
    """Each verb answers with the grant as it is then; the list follows."""
    words = ("--privilege", "view", "--privilege", "suspend", "--for", "1h", "--reason", "audit")
    code, document = site.json("watcher", "assign", session, "bo", *words)
    assert (code, document["changed"]) == (0, True)
    assert document["result"]["grant"]["privileges"] == ["suspend", "view"]
    _, document = site.json("watcher", "update", session, "bo", "--add", "control", "--remove", "view")
    assert document["result"]["grant"]["privileges"] == ["control", "suspend"]
    assert document["result"]["grant"]["reason"] == "audit"
    _, document = site.json("watcher", "list", session)
    assert [grant["watcher"] for grant in document["result"]["grants"]] == ["bo"]
    assert site.json("watcher", "revoke", session, "bo")[0] == 0
    assert site.json("watcher", "list", session)[1]["result"]["grants"] == []


def test_right_goes_round_and_names_its_holder(site: MadeSite, session: str) -> None:
    """One holds it, the other is told who and until when; released, it goes on with a higher fence."""
    for name in ("bo", "cy"):
        site.vmm("watcher", "assign", session, name, "--privilege", "suspend")
    first = site.json("watcher", "lock", "acquire", session, "bo", "--for", "2m")[1]["result"]["right"]
    code, document = site.json("watcher", "lock", "acquire", session, "cy")
    assert (code, document["error"]["details"]["holder"]) == (6, "bo")
    assert site.json("watcher", "lock", "show", session)[1]["result"]["right"] == first
    assert site.json("watcher", "lock", "release", session, "bo")[1]["changed"]
    second = site.json("watcher", "lock", "acquire", session, "cy")[1]["result"]["right"]
    assert (second["holder"], second["fence"] > first["fence"]) == ("cy", True)


@pytest.mark.parametrize("verb", [("acquire", "bo"), ("renew", "bo"), ("hand-over", "bo", "cy")])
def test_lease_is_the_sites_unless_another_is_asked_for(
    site: MadeSite, session: str, verb: tuple[str, ...]
) -> None:
    """The policy's length to the second, for each verb that gives one; --for is stronger."""
    for name in ("bo", "cy"):
        site.vmm("watcher", "assign", session, name, "--privilege", "suspend")
    site.vmm("watcher", "lock", "acquire", session, "bo", "--for", "20s")
    file = site.directory / "site.yml"
    file.write_text(file.read_text() + "policies: {suspend_lease_s: 1234}\n")
    for words, expected in (((), 1234), (("--for", "99s"), 99)):
        command = ("watcher", "lock", verb[0], session, *verb[1:], *words, "--check")
        before = datetime.now(UTC)
        right = site.json(*command)[1]["result"]["right"]
        given = datetime.fromisoformat(right["expires_at"]) - timedelta(seconds=expected)
        assert before <= given <= datetime.now(UTC)


def test_text_says_who_may_what_until_when(site: MadeSite, session: str) -> None:
    """The answer for a person has the name, the privileges, and a time in UTC."""
    told = site.vmm("watcher", "assign", session, "bo", "--privilege", "suspend").stdout
    assert told.startswith("bo may suspend until 20")
    held = site.vmm("watcher", "lock", "acquire", session, "bo").stdout
    assert held.startswith(f"bo holds the suspend right of session {session} until 20")
    assert "bo" in site.vmm("watcher", "list").stdout
    shown = site.vmm("session", "show", session).stdout
    assert "bo (suspend)" in shown


CHECKS = {
    "assign": "assign s-1 cy --privilege view",
    "update": "update s-1 bo --add control --extend 1h",
    "revoke": "revoke s-1 bo",
    "acquire": "lock acquire s-1 di",
    "renew": "lock acquire s-1 bo --for 9m",
    "renew by name": "lock renew s-1 bo --for 9m",
    "hand over": "lock hand-over s-1 bo di",
    "break": "lock break s-1 --reason away",
    "release": "lock release s-1 bo",
}


@pytest.mark.parametrize("case", CHECKS)
def test_check_answers_as_the_real_run_and_changes_nothing(site: MadeSite, session: str, case: str) -> None:
    """A dry run tells what would be, marked as one, or fails as the real run; the state stays as it was."""
    for name in ("bo", "di"):
        site.vmm("watcher", "assign", session, name, "--privilege", "suspend")
    site.vmm("watcher", "lock", "acquire", session, "bo")
    before = site.dump()
    words = CHECKS[case].split()
    code, dry = site.json("watcher", *words, "--check")
    assert site.dump() == before
    if case == "acquire":
        assert (code, dry["error"]["class"]) == (6, "LockHeld")
        return
    assert (code, dry["check"], dry["changed"]) == (0, True, True)
    _, real = site.json("watcher", *words)
    assert (real["check"], real["changed"]) == (False, True)
    assert real["result"].keys() == dry["result"].keys()
    assert site.dump() != before


def test_refused_assignment_changes_nothing(site: MadeSite, session: str) -> None:
    """A name that could be an option or a path never reaches the state."""
    before = site.dump()
    for name in ("../bo", "b o", "bo;x", "a" * 200):
        assert site.json("watcher", "assign", session, name, "--privilege", "view")[0] == 2
    assert site.dump() == before


def test_session_list_shows_what_is_live(site: MadeSite, session: str) -> None:
    """The claimed session is there with its user, UA and VM."""
    (found,) = site.json("session", "list")[1]["result"]["sessions"]
    wanted = {"id": session, "user": "ann", "ua": "radicale", "vm": "vm-1", "state": "starting"}
    assert {key: found[key] for key in wanted} == wanted
    assert session in site.vmm("session", "list").stdout
