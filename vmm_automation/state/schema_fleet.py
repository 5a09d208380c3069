"""The tables of a fleet: published revisions, withdrawn versions, paused rollouts, VMs they hold."""

from __future__ import annotations

from typing import Final

FLEET: Final = (
    # versions: a JSON document, version to what it was then
    """
    CREATE TABLE ua_revisions (
        ua TEXT NOT NULL,
        number BIGINT NOT NULL,
        published_at TEXT NOT NULL,
        published_by TEXT NOT NULL,
        note TEXT NOT NULL,
        common TEXT NOT NULL,
        versions TEXT NOT NULL,
        PRIMARY KEY (ua, number)
    )
    """,
    # a row is why a version is not offered; drain_until: '' where its sessions may last as they will
    """
    CREATE TABLE ua_withdrawals (
        ua TEXT NOT NULL,
        version TEXT NOT NULL,
        withdrawn_at TEXT NOT NULL,
        withdrawn_by TEXT NOT NULL,
        reason TEXT NOT NULL,
        drain_until TEXT NOT NULL,
        PRIMARY KEY (ua, version)
    )
    """,
    # a VM that is worked on: no session is given it before held_until
    """
    CREATE TABLE vm_holds (
        vm TEXT PRIMARY KEY,
        reason TEXT NOT NULL,
        held_until TEXT NOT NULL
    )
    """,
    # request: a JSON document, what was asked for; '' where that was not kept
    "ALTER TABLE rollouts ADD COLUMN request TEXT NOT NULL DEFAULT ''",
    # when, and who stopped it from beginning other VMs; '' while it goes on
    "ALTER TABLE rollouts ADD COLUMN paused_at TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE rollouts ADD COLUMN paused_by TEXT NOT NULL DEFAULT ''",
)
