"""``vmm state``, and the other commands on a state that several controllers share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vmm_automation.state import schema

from ..made_site import MadeSite
from ..postgres_server import PostgresServer


@pytest.fixture
def shared(site: MadeSite, postgres_server: PostgresServer) -> MadeSite:
    """The site, with its state in PostgreSQL."""
    url = postgres_server.text(postgres_server.emptied())
    with (site.directory / "site.yml").open("a") as file:
        file.write(f"state:\n  url: {url}\n")
    return site


def test_site_moves_from_a_file_to_postgresql_and_back(
    site: MadeSite, session: str, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """Export, say in site.yml where it is now, import: sessions and Watchers are there; and the same back."""
    assert site.vmm("watcher", "assign", session, "bo", "--privilege", "suspend").returncode == 0
    there, back = str(tmp_path / "there.jsonl"), str(tmp_path / "back.jsonl")
    assert site.json("state", "export", there)[1]["result"]["engine"] == "sqlite"
    before = (site.directory / "site.yml").read_text()
    url = postgres_server.text(postgres_server.emptied())
    (site.directory / "site.yml").write_text(f"{before}state:\n  url: {url}\n")
    assert site.json("session", "list")[1]["result"]["sessions"] == []
    assert site.json("state", "import", there, "--check")[1]["check"] is True
    status, document = site.json("state", "import", there)
    assert (status, document["changed"], document["result"]["engine"]) == (0, True, "postgresql")
    assert site.json("session", "list")[1]["result"]["sessions"][0]["id"] == session
    assert site.vmm("watcher", "lock", "acquire", session, "bo").returncode == 0
    assert site.vmm("state", "export", back).returncode == 0
    (site.directory / "site.yml").write_text(before)
    status, document = site.json("state", "import", back)
    assert (status, document["error"]["class"]) == (5, "Conflict")  # the old file is still there
    (site.home / "state.db").rename(tmp_path / "state.db.before")
    assert site.vmm("state", "import", back).returncode == 0
    assert site.json("watcher", "lock", "show", session)[1]["result"]["right"]["holder"] == "bo"
    assert site.vmm("state", "check").returncode == 0


def test_check_lists_what_is_wrong(site: MadeSite, session: str) -> None:
    """A broken rule is exit status 8 with every problem; a whole state says how many rows it read."""
    assert f"State {site.home}/state.db is whole" in site.vmm("state", "check").stdout
    with site.store() as store, store.transaction() as tx:
        tx.execute("UPDATE counters SET value = 0")
    status, document = site.json("state", "check")
    assert status == 8
    (problem,) = document["error"]["details"]["problems"]
    assert "would be given again" in problem
    assert session not in problem


def test_backup_is_a_state_that_can_be_checked(site: MadeSite, session: str, tmp_path: Path) -> None:
    """What was saved opens by its own URL and holds the session."""
    copy = tmp_path / "copy.db"
    status, document = site.json("state", "backup", str(copy))
    assert (status, document["result"]["form"], document["result"]["bytes"]) == (
        0,
        "sqlite",
        copy.stat().st_size,
    )
    saved = {**site.environment, "VMM_STATE_URL": f"sqlite://{copy}"}
    assert (
        json.loads(site.vmm("session", "list", "--output", "json", environment=saved).stdout)["result"][
            "sessions"
        ][0]["id"]
        == session
    )
    assert site.json("state", "backup", str(copy))[1]["error"]["class"] == "Conflict"


def test_migrate_tells_versions(shared: MadeSite) -> None:
    """A state that is up to date is no change; a dry run creates nothing."""
    status, document = shared.json("state", "migrate")
    assert (status, document["changed"]) == (0, False)
    elsewhere = {**shared.environment, "VMM_STATE_URL": f"sqlite://{shared.home}/new.db"}
    done = shared.vmm("state", "migrate", "--check", "--output", "json", environment=elsewhere)
    assert json.loads(done.stdout)["result"] == {"from": 0, "to": schema.VERSION, "audit": None}
    assert not (shared.home / "new.db").exists()


def test_doctor_looks_at_the_state_where_it_is(shared: MadeSite) -> None:
    """The check of the controller covers a state in PostgreSQL."""
    document = shared.json("doctor")[1]
    checks = (document.get("result") or document["error"]["details"])["checks"]
    (state,) = [check for check in checks if check["name"] == "state"]
    assert (state["status"], "(postgresql)" in state["found"]) == ("ok", True)


def test_state_that_cannot_be_reached_is_told(site: MadeSite) -> None:
    """Every command ends with the same class and a hint, and no state is begun elsewhere."""
    with (site.directory / "site.yml").open("a") as file:
        file.write("state: {url: 'postgresql://vmm@127.0.0.1:1/vmm'}\n")
    for words in (("session", "list"), ("watcher", "list"), ("state", "check"), ("state", "migrate")):
        status, document = site.json(*words)
        assert (status, document["error"]["class"]) == (8, "StateUnusable")
        assert document["error"]["hint"].startswith("pg_isready ")
    assert not (site.home / "state.db").exists()
