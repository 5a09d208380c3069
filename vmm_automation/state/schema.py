"""The tables of the state, as one list of statements per schema version.

A published version is never edited: a change is a new entry at the end of :data:`MIGRATIONS`.
Times are text (``model/times.py``), so that comparing text compares times. Documents are JSON text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vmm_automation.trace import point

#: stands for an integer key that the engine numbers, growing and never reused
IDENTITY: Final = "<identity>"

_SESSIONS: Final = (
    """
    CREATE TABLE counters (
        name TEXT PRIMARY KEY,
        value BIGINT NOT NULL
    )
    """,
    "INSERT INTO counters (name, value) VALUES ('session_fence', 0)",
    # condition NULL: never proven clean, or forgotten; the row stays because its fence must not go back
    """
    CREATE TABLE vm_conditions (
        vm TEXT PRIMARY KEY,
        condition TEXT CHECK (condition IN ('clean', 'dirty')),
        fence BIGINT NOT NULL DEFAULT 0,
        changed_at TEXT NOT NULL,
        reason TEXT NOT NULL DEFAULT ''
    )
    """,
    """
    CREATE TABLE sessions (
        id TEXT PRIMARY KEY,
        user_name TEXT NOT NULL,
        ua TEXT NOT NULL,
        version TEXT NOT NULL,
        vm TEXT NOT NULL,
        terminal TEXT NOT NULL,
        state TEXT NOT NULL
            CHECK (state IN ('starting', 'active', 'suspended', 'closing', 'closed', 'failed')),
        fence BIGINT NOT NULL UNIQUE,
        created_at TEXT NOT NULL,
        changed_at TEXT NOT NULL,
        owner TEXT NOT NULL DEFAULT '',
        endpoint TEXT NOT NULL DEFAULT '',
        port INTEGER NOT NULL DEFAULT 0,
        generation BIGINT NOT NULL DEFAULT 0,
        reason TEXT NOT NULL DEFAULT '',
        explanation TEXT NOT NULL DEFAULT '{}'
    )
    """,
    """
    CREATE UNIQUE INDEX one_live_session_per_vm ON sessions (vm)
        WHERE state IN ('starting', 'active', 'suspended', 'closing')
    """,
    """
    CREATE UNIQUE INDEX one_live_session_per_user_and_ua ON sessions (user_name, ua)
        WHERE state IN ('starting', 'active', 'suspended', 'closing')
    """,
)

_DEPLOYMENTS: Final = (
    """
    CREATE TABLE deployments (
        vm TEXT NOT NULL,
        ua TEXT NOT NULL,
        version TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('delivered', 'active', 'inactive', 'removed', 'failed')),
        changed_at TEXT NOT NULL,
        digest TEXT NOT NULL DEFAULT '',
        reason TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (vm, ua, version)
    )
    """,
    "CREATE UNIQUE INDEX one_active_version ON deployments (vm, ua) WHERE state = 'active'",
)

_WATCHERS: Final = (
    # privileges: sorted, joined by ','
    """
    CREATE TABLE grants (
        session TEXT NOT NULL REFERENCES sessions (id),
        watcher TEXT NOT NULL,
        privileges TEXT NOT NULL,
        reason TEXT NOT NULL,
        granted_at TEXT NOT NULL,
        expires_at TEXT NOT NULL,
        PRIMARY KEY (session, watcher)
    )
    """,
    f"""
    CREATE TABLE grant_history (
        seq {IDENTITY},
        session TEXT NOT NULL,
        watcher TEXT NOT NULL,
        change TEXT NOT NULL CHECK (change IN ('assigned', 'updated', 'revoked', 'expired')),
        privileges TEXT NOT NULL,
        expires_at TEXT NOT NULL,
        reason TEXT NOT NULL,
        actor TEXT NOT NULL,
        at TEXT NOT NULL
    )
    """,
    # holder '' is vacant; the row stays because its fence must not go back
    """
    CREATE TABLE suspend_rights (
        session TEXT PRIMARY KEY REFERENCES sessions (id),
        holder TEXT NOT NULL,
        fence BIGINT NOT NULL,
        acquired_at TEXT NOT NULL,
        expires_at TEXT NOT NULL
    )
    """,
)

_GENERATIONS: Final = (
    # the manifest is the last column: SQLite reads a row's long tail only where it is asked for
    """
    CREATE TABLE generations (
        user_name TEXT NOT NULL,
        ua TEXT NOT NULL,
        number BIGINT NOT NULL,
        archive TEXT NOT NULL,
        root_digest TEXT NOT NULL,
        size BIGINT NOT NULL,
        file_count BIGINT NOT NULL,
        ua_version TEXT NOT NULL,
        data_version BIGINT NOT NULL,
        session TEXT NOT NULL,
        fence BIGINT NOT NULL,
        captured_at TEXT NOT NULL,
        manifest TEXT NOT NULL,
        PRIMARY KEY (user_name, ua, number)
    )
    """,
)

_EVENTS: Final = (
    f"""
    CREATE TABLE events (
        seq {IDENTITY},
        at TEXT NOT NULL,
        actor TEXT NOT NULL,
        action TEXT NOT NULL,
        object TEXT NOT NULL,
        result TEXT NOT NULL
    )
    """,
)

_AUDIT: Final = (
    # what version 1 logged stays in table events; the first entry of the chain takes it over (state/audit.py)
    # seq is counted by us, without gaps; before_digest, after_digest: '' where the object is absent
    """
    CREATE TABLE audit_events (
        seq BIGINT PRIMARY KEY,
        at TEXT NOT NULL,
        actor TEXT NOT NULL,
        origin TEXT NOT NULL,
        action TEXT NOT NULL,
        object TEXT NOT NULL,
        before_digest TEXT NOT NULL,
        after_digest TEXT NOT NULL,
        result TEXT NOT NULL,
        previous TEXT NOT NULL,
        hash TEXT NOT NULL
    )
    """,
    # one row: the end of the chain, kept apart so that entries cut off at the end are missed
    """
    CREATE TABLE audit_head (
        name TEXT PRIMARY KEY,
        seq BIGINT NOT NULL,
        hash TEXT NOT NULL
    )
    """,
    f"INSERT INTO audit_head (name, seq, hash) VALUES ('events', 0, '{'0' * 64}')",  # noqa: S608 - a constant
)

_LIVES: Final = (
    # starts_at: '' is from the grant on; token_hash: '' where the Watcher was given none
    "ALTER TABLE grants ADD COLUMN starts_at TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE grants ADD COLUMN token_hash TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE grant_history ADD COLUMN starts_at TEXT NOT NULL DEFAULT ''",
    # when the right became vacant other than by its end; '' while it is held
    "ALTER TABLE suspend_rights ADD COLUMN vacated_at TEXT NOT NULL DEFAULT ''",
    # the Watcher who suspended it; '' for the operator
    "ALTER TABLE sessions ADD COLUMN suspended_by TEXT NOT NULL DEFAULT ''",
    # when its user was last known to use it; '' where that was never told
    "ALTER TABLE sessions ADD COLUMN seen_at TEXT NOT NULL DEFAULT ''",
)

_SEATS: Final = (
    # what a claim looks up instead of all VMs, one row for each UA that is active on a VM, and one with ua ''
    """
    CREATE TABLE seats (
        vm TEXT NOT NULL,
        ua TEXT NOT NULL,
        version TEXT NOT NULL,
        kind TEXT NOT NULL,
        free INTEGER NOT NULL,
        PRIMARY KEY (vm, ua)
    )
    """,
    "CREATE INDEX free_seats ON seats (ua, version, kind, vm) WHERE free = 1",
    # VMs of one kind have the same profile, vCPUs, memory, features, protocols and offers
    """
    CREATE TABLE vm_kinds (
        kind TEXT PRIMARY KEY,
        document TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE seat_groups (
        ua TEXT NOT NULL,
        version TEXT NOT NULL,
        kind TEXT NOT NULL,
        total BIGINT NOT NULL,
        held BIGINT NOT NULL,
        PRIMARY KEY (ua, version, kind)
    )
    """,
    # the VM of last time, without reading a user's whole history
    "CREATE INDEX sessions_of_user ON sessions (user_name, ua, fence)",
)

#: entry n brings schema version n to n + 1
MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (*_SESSIONS, *_DEPLOYMENTS, *_WATCHERS, *_GENERATIONS, *_EVENTS),
    _AUDIT,
    _LIVES,
    _SEATS,
)
VERSION: Final = len(MIGRATIONS)


def bring_up(define: Callable[[str], None], *, version: int) -> None:
    """Make the tables of ``version`` those of the newest, statement by statement."""
    for statements in MIGRATIONS[version:]:
        for statement in statements:
            define(statement)
    point("state.migrate.defined")
