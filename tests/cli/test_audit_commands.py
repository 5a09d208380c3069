"""The audit chain by the command line: told by every change, read, verified and exported."""

from __future__ import annotations

from ..made_site import MadeSite


def test_changes_tell_the_end_of_the_chain_and_verify_takes_it(site: MadeSite, session: str) -> None:
    """The hash in a change's answer proves later that nothing before it was altered or cut off."""
    words = ("watcher", "assign", session, "bo", "--privilege", "suspend")
    told = site.json(*words)[1]["result"]["audit"]
    assert told["seq"] == 1
    site.vmm("watcher", "lock", "acquire", session, "bo")
    code, document = site.json("audit", "verify", "--head", told["hash"])
    assert (code, document["result"]["events"]) == (0, 2)
    events = site.json("audit", "log", "--object", session)[1]["result"]["events"]
    assert [event["action"] for event in events] == ["watcher.assign", "watcher.lock.acquire"]
    assert {event["from"]["door"] for event in events} == {"cli"}
    assert "watcher.lock.acquire" in site.vmm("audit", "log", "--limit", "1").stdout
    with site.store() as store, store.transaction() as tx:
        tx.execute("DELETE FROM audit_events WHERE seq = 1")
    code, document = site.json("audit", "verify")
    assert (code, document["error"]["class"]) == (9, "AuditBroken")
    assert document["error"]["details"]["findings"][0]["kind"] == "missing"


def test_dry_run_tells_no_end(site: MadeSite, session: str) -> None:
    """A hash that was never kept would not be found again."""
    told = site.json("watcher", "assign", session, "bo", "--privilege", "view", "--check")[1]["result"]
    assert told["audit"] is None


def test_export_is_verified_where_there_is_no_state(site: MadeSite, session: str) -> None:
    """The file is enough; a changed byte of it is told with the entry's number."""
    site.vmm("watcher", "assign", session, "bo", "--privilege", "suspend")
    file = site.home.parent / "audit.jsonl"
    assert site.json("audit", "export", str(file))[1]["result"]["events"] == 1
    for part in site.home.glob("state.db*"):  # a command that ends leaves the log to the next
        part.unlink()
    assert site.json("audit", "verify", "--file", str(file))[0] == 0
    assert not (site.home / "state.db").exists()
    file.write_text(file.read_text().replace('"bo"', '"eve"'))
    code, document = site.json("audit", "verify", "--file", str(file))
    assert (code, document["error"]["details"]["findings"][0]["seq"]) == (9, 1)
    assert site.json("audit", "export", str(file))[0] == 5
