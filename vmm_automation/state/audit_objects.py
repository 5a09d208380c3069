"""What the audit chain takes as the state of an object: the documents whose digests an entry has."""

from __future__ import annotations

from collections.abc import Callable

from vmm_automation.state import grants, suspend_right
from vmm_automation.state.audit_chain import Document
from vmm_automation.state.store import Row, Snapshot

Reader = Callable[[Snapshot], Document | None]


def session(session_id: str) -> Reader:
    """A session's row, without when its data were last looked at."""

    def read(tx: Snapshot) -> Document | None:
        row = _row(tx.one("SELECT * FROM sessions WHERE id = :id", id=session_id))
        return {key: value for key, value in row.items() if key != "looked_at"} if row else None

    return read


def waiting_request(name: str) -> Reader:
    """A request's row of the queue, without the sign of life of its process."""

    def read(tx: Snapshot) -> Document | None:
        row = _row(tx.one("SELECT * FROM waiting_requests WHERE id = :id", id=name))
        return {key: value for key, value in row.items() if key != "seen_at"} if row else None

    return read


def watcher(session_id: str, name: str) -> Reader:
    """A Watcher's grant on a session, and the session's suspend right."""

    def read(tx: Snapshot) -> Document | None:
        grant = tx.one(grants.ONE_ROW, session=session_id, watcher=name)
        right = tx.one(suspend_right.ONE_ROW, session=session_id)
        return {"grant": _row(grant), "right": _row(right)} if grant or right else None

    return read


def vm(name: str) -> Reader:
    """What is known of a VM: its condition, and what is delivered to it."""

    def read(tx: Snapshot) -> Document | None:
        condition = tx.one("SELECT * FROM vm_conditions WHERE vm = :vm", vm=name)
        delivered = tx.all("SELECT * FROM deployments WHERE vm = :vm ORDER BY ua, version", vm=name)
        known = {"condition": _row(condition), "deployments": [dict(row) for row in delivered]}
        return known if condition or delivered else None

    return read


def pool(name: str) -> Reader:
    """What was asked of a pool, and its members."""

    def read(tx: Snapshot) -> Document | None:
        asked = tx.one("SELECT * FROM pools WHERE pool = :pool", pool=name)
        members = tx.all("SELECT * FROM pool_members WHERE pool = :pool ORDER BY vm", pool=name)
        known = {"asked": _row(asked), "members": [dict(row) for row in members]}
        return known if asked or members else None

    return read


def image(user: str, ua: str) -> Reader:
    """The newest generation of a user's data, what is said of any, and what is kept aside."""
    of = {"user": user, "ua": ua}

    def read(tx: Snapshot) -> Document | None:
        row = tx.one(
            "SELECT number, archive, root_digest, fence, session FROM generations"
            " WHERE user_name = :user AND ua = :ua ORDER BY number DESC LIMIT 1",
            **of,
        )
        numbers = tx.all(
            "SELECT number FROM generations WHERE user_name = :user AND ua = :ua ORDER BY number", **of
        )
        marks = tx.all(
            "SELECT * FROM generation_marks WHERE user_name = :user AND ua = :ua ORDER BY number", **of
        )
        aside = tx.all(
            "SELECT archive, root_digest FROM orphaned_generations"
            " WHERE user_name = :user AND ua = :ua ORDER BY archive",
            **of,
        )
        known = {
            "newest": _row(row),
            "numbers": [number["number"] for number in numbers],
            "marks": [dict(mark) for mark in marks],
            "aside": [dict(orphan) for orphan in aside],
        }
        return known if any(known.values()) else None

    return read


def ua(ua_id: str) -> Reader:
    """What of a UA is offered: its newest published revision, and the versions that were withdrawn."""

    def read(tx: Snapshot) -> Document | None:
        revision = tx.one(
            "SELECT * FROM ua_revisions WHERE ua = :ua ORDER BY number DESC LIMIT 1",
            ua=ua_id,
        )
        withdrawn = tx.all("SELECT * FROM ua_withdrawals WHERE ua = :ua ORDER BY version", ua=ua_id)
        known = {"revision": _row(revision), "withdrawn": [dict(row) for row in withdrawn]}
        return known if revision or withdrawn else None

    return read


def rollout(ua_id: str) -> Reader:
    """A rollout of a UA that did not end."""

    def read(tx: Snapshot) -> Document | None:
        return _row(tx.one("SELECT * FROM rollouts WHERE ua = :ua", ua=ua_id))

    return read


def _row(row: Row | None) -> Document | None:
    return dict(row) if row is not None else None
