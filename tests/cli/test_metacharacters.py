"""Names and reasons that are SQL, through the command line, with the state on each engine."""

from __future__ import annotations

import pytest

from vmm_automation.state.tables import tables

from ..made_site import MadeSite
from ..real_state import ENGINES, RealState

NAMES = {"statement": "x'); DELETE FROM grants; --", "placeholder": '%(session)s:session?"$1'}
REASONS = ['it\'s 100% "over"; DROP TABLE grants; --', "%(reason)s :reason $1 ? \\ /* x", "'||(SELECT 1)||'"]
#: a command line for each place where a name can be given; NAME is the bad one
COMMANDS = [
    "vm show NAME",
    "session show NAME",
    "session suspend NAME --as bo",
    "session suspend s-1 --as NAME",
    "session resume s-1 --as NAME",
    "watcher assign NAME cy --privilege view",
    "watcher assign s-1 NAME --privilege view",
    "watcher assign s-1 cy --privilege NAME",
    "watcher update NAME bo --add view",
    "watcher update s-1 NAME --add view",
    "watcher revoke s-1 NAME",
    "watcher list NAME",
    "watcher lock acquire NAME bo",
    "watcher lock acquire s-1 NAME",
    "watcher lock renew s-1 NAME",
    "watcher lock release s-1 NAME",
    "watcher lock hand-over s-1 bo NAME",
    "watcher lock break NAME --reason x",
    "watcher lock show NAME",
    "image list --user NAME",
    "image show NAME radicale",
    "image show ann NAME",
]
#: those that run a playbook, each some seconds
PLAYBOOKS = [
    "session open --user NAME --ua radicale",
    "session close NAME",
]


@pytest.fixture(params=ENGINES)
def state(request: pytest.FixtureRequest, site: MadeSite) -> RealState:
    """The site's state, with live session s-1 whose Watcher bo may suspend it and does hold the right."""
    found = RealState(site.home)
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres_server")
        found = RealState(site.home, server.text(server.emptied()))
        with (site.directory / "site.yml").open("a") as file:
            file.write(f"state:\n  url: {found.url}\n")
    with found.open() as store:
        site.claim_in(store)
    assert site.json("watcher", "assign", "s-1", "bo", "--privilege", "suspend")[0] == 0
    assert site.json("watcher", "lock", "acquire", "s-1", "bo")[0] == 0
    return found


def dump(state: RealState) -> list[str]:
    with state.open() as store, store.reading() as tx:
        return [f"{table.name} {row}" for table in tables() for row in tx.all(f"SELECT * FROM {table.name}")]


def refused(site: MadeSite, commands: list[str], name: str) -> None:
    answers = {}
    for words in commands:
        status, document = site.json(*(name if word == "NAME" else word for word in words.split()))
        answers[words] = (status, document["error"]["class"], bool(document["error"]["hint"]))
    odd = {words: told for words, told in answers.items() if told[0] != 2}
    assert set(odd.values()) <= {(4, "NotFound", True)}, odd
    assert not [words for words, told in answers.items() if not told[2]]


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_name_like_sql_is_refused_wherever_it_is_given(site: MadeSite, state: RealState, name: str) -> None:
    """Exit status 2 and a hint, or 4 where a name is looked up among files; no row is changed."""
    before = dump(state)
    refused(site, COMMANDS, name)
    assert dump(state) == before


def test_name_like_sql_is_refused_by_playbooks(site: MadeSite) -> None:
    """The same where the name goes through a playbook and its plugins; the state stays as it is."""
    site.claim()
    before = site.dump()
    refused(site, PLAYBOOKS, NAMES["statement"])
    assert site.dump() == before


def test_reason_like_sql_is_kept_as_it_is(site: MadeSite, state: RealState) -> None:
    """In the grant, its history and the audit chain, which stays whole; and asking for an object so named."""
    for number, reason in enumerate(REASONS):
        words = ("watcher", "assign", "s-1", f"w{number}", "--privilege", "view", "--reason", reason)
        assert site.json(*words)[1]["result"]["grant"]["reason"] == reason
        assert site.json("watcher", "revoke", "s-1", f"w{number}", "--reason", reason)[0] == 0
        assert site.json("audit", "log", "--object", reason)[1]["result"]["events"] == []
    assert site.json("watcher", "lock", "break", "s-1", "--reason", REASONS[0])[0] == 0
    with state.open() as store, store.reading() as tx:
        kept = [row["reason"] for row in tx.all("SELECT reason FROM grant_history WHERE watcher <> 'bo'")]
    assert sorted(kept) == sorted(REASONS * 2)
    logged = str(site.json("audit", "log")[1]["result"]["events"])
    assert repr(REASONS[1])[1:-1] in logged
    assert site.vmm("audit", "verify").returncode == 0
    assert site.vmm("state", "check").returncode == 0
