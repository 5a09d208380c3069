"""Text that is SQL, or a placeholder, is text to both engines, in every column that takes any.

Names are refused above by their rule; here the functions of the state get them past it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from vmm_automation.model.session import SessionState
from vmm_automation.model.times import to_text
from vmm_automation.model.ua import DeploymentState
from vmm_automation.model.watcher import Grant, Privilege
from vmm_automation.operations import audit_log
from vmm_automation.state import audit, generations, grants, ledger, sessions, suspend_right, vms
from vmm_automation.state.audit import Author
from vmm_automation.state.store import Engine, Tx
from vmm_automation.state.tables import tables

from ..fake_clock import FakeClock

TEXTS = {
    "quote": "x' OR '1'='1",
    "statement": "x'); DROP TABLE grants; --",
    "double quote": 'x"; DELETE FROM sessions; --',
    "comment": "x/* */--",
    "dollar": "$$ $1 $tag$ x",
    "placeholder": ":session ?1 @a %(session)s %s %%",
    "pattern": "%_[a-z]*",
    "backslash": "x\\'; SELECT pg_sleep(9); --",
    "identifier": "<identity>",
    "subquery": "(SELECT name FROM counters)",
}
ALL = frozenset(Privilege)


def rows(tx: Tx) -> dict[str, int]:
    return {table.name: len(tx.all(f"SELECT * FROM {table.name}")) for table in tables()}


def claim(tx: Tx, clock: FakeClock, text: str, **more: Any) -> None:
    asked: dict[str, Any] = {
        "session_id": text,
        "user": text,
        "ua": text,
        "version": text,
        "vm": text,
        "terminal": text,
    }
    asked |= {"explanation": {text: text}, "owner": text, **more}
    vms.mark_clean(tx, vm=asked["vm"], reason=text, now=clock.now())
    sessions.claim(tx, now=clock.now(), **asked)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_text_like_sql_is_kept_as_text_everywhere(live: Engine, clock: FakeClock, text: str) -> None:
    """Sessions, VMs, deployments, grants, history, right and audit give back what they were given."""
    with live.transaction() as tx:
        before = rows(tx)
        claim(tx, clock, text)
        ledger.record(
            tx, vm=text, ua=text, version=text, state=DeploymentState.ACTIVE, reason=text, now=clock.now()
        )
        grant = Grant(text, text, ALL, text, to_text(clock.now()), to_text(clock.now() + timedelta(hours=1)))
        grants.assign(tx, grant=grant, actor=text, now=clock.now())
        grants.update(tx, grant=grant, actor=text, now=clock.now())
        right = suspend_right.acquire(
            tx, session=text, watcher=text, lease=timedelta(minutes=1), now=clock.now()
        )
        audit.append(
            tx, author=Author(text), action=text, object_name=text, result={text: text}, now=clock.now()
        )
    with live.transaction() as tx:
        found = sessions.get(tx, session_id=text)
        assert {found.id, found.user, found.ua, found.version, found.vm, found.owner} == {text}
        assert found.explanation == {text: text}
        assert sessions.live_on_vm(tx, vm=text) == sessions.live_of_user(tx, user=text, ua=text) == found
        assert [each.reason for each in ledger.for_vm(tx, vm=text)] == [text]
        assert grants.list_grants(tx, session=text, now=clock.now()) == [grant]
        assert {row["actor"] for row in grants.history(tx, session=text)} == {text}
        assert suspend_right.show(tx, session=text, now=clock.now()) == right
        assert [each["result"] for each in audit.log(tx, object_name=text)] == [{text: text}]
        assert generations.newest(tx, user=text, ua=text) is None
        grown = {"sessions": 1, "vm_conditions": 1, "deployments": 1, "grants": 1, "grant_history": 2}
        grown |= {"suspend_rights": 1, "audit_events": 1}
        assert rows(tx) == {name: count + grown.get(name, 0) for name, count in before.items()}
    assert audit_log.verify(live)["valid"]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_text_like_sql_ends_only_what_it_names(live: Engine, clock: FakeClock, text: str) -> None:
    """Revoking, ending and forgetting by such a name touches no row that it would match as SQL."""
    hour = to_text(clock.now() + timedelta(hours=1))
    with live.transaction() as tx:
        claim(tx, clock, text)
        for session, name in (("s-1", "bo"), ("s-1", text), (text, "bo"), (text, text)):
            grant = Grant(session, name, ALL, "", to_text(clock.now()), hour)
            grants.assign(tx, grant=grant, actor="root", now=clock.now())
        grants.revoke(tx, session="s-1", watcher=text, actor=text, reason=text, now=clock.now())
        assert len(grants.list_grants(tx, now=clock.now())) == 3
        sessions.move_to(
            tx, session_id=text, state=SessionState.FAILED, expected=frozenset(SessionState), now=clock.now()
        )
        vms.forget(tx, vm=text)
        ledger.forget_vm(tx, vm=text)
        left = [
            (each.session, each.watcher) for each in grants.list_grants(tx, session="s-1", now=clock.now())
        ]
        assert left == [("s-1", "bo")]
        assert [each.id for each in sessions.list_sessions(tx, live_only=True)] == ["s-1"]
        assert list(vms.conditions(tx)) == ["vm-1"]
