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

_KEPT: Final = (
    # what is said of a generation after it was stored; no row says nothing. A table of its own: a column
    # behind the manifest would make SQLite read all of the manifest for it
    """
    CREATE TABLE generation_marks (
        user_name TEXT NOT NULL,
        ua TEXT NOT NULL,
        number BIGINT NOT NULL,
        pinned INTEGER NOT NULL DEFAULT 0 CHECK (pinned IN (0, 1)),
        missing INTEGER NOT NULL DEFAULT 0 CHECK (missing IN (0, 1)),
        reason TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (user_name, ua, number)
    )
    """,
    # saves that were refused as generations; the number is the one that it would have had
    """
    CREATE TABLE orphaned_generations (
        archive TEXT PRIMARY KEY,
        user_name TEXT NOT NULL,
        ua TEXT NOT NULL,
        number BIGINT NOT NULL,
        root_digest TEXT NOT NULL,
        size BIGINT NOT NULL,
        file_count BIGINT NOT NULL,
        ua_version TEXT NOT NULL,
        data_version BIGINT NOT NULL,
        session TEXT NOT NULL,
        fence BIGINT NOT NULL,
        captured_at TEXT NOT NULL,
        reason TEXT NOT NULL,
        manifest TEXT NOT NULL
    )
    """,
)

_LOOKUPS: Final = (
    # what happened on one session is asked for by 'session show'; seq: in its order
    "CREATE INDEX grant_history_of_session ON grant_history (session, seq)",
)

_ROLLOUTS: Final = (
    # a row is the exclusive right to change a UA on many VMs; it goes when the rollout ends
    """
    CREATE TABLE rollouts (
        ua TEXT PRIMARY KEY,
        holder TEXT NOT NULL,
        owner TEXT NOT NULL,
        began_at TEXT NOT NULL
    )
    """,
    # error: '' or a JSON document
    """
    CREATE TABLE rollout_vms (
        ua TEXT NOT NULL,
        vm TEXT NOT NULL,
        outcome TEXT NOT NULL CHECK (outcome IN ('done', 'failed', 'skipped')),
        duration_ms BIGINT NOT NULL,
        reason TEXT NOT NULL,
        error TEXT NOT NULL,
        PRIMARY KEY (ua, vm)
    )
    """,
)

#: entry n brings schema version n to n + 1
MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (*_SESSIONS, *_DEPLOYMENTS, *_WATCHERS, *_GENERATIONS, *_EVENTS),
    _AUDIT,
    _LIVES,
    _KEPT,
    _LOOKUPS,
    _ROLLOUTS,
)
VERSION: Final = len(MIGRATIONS)


def bring_up(define: Callable[[str], None], *, version: int) -> None:
    """Make the tables of ``version`` those of the newest, statement by statement."""
    for statements in MIGRATIONS[version:]:
        for statement in statements:
            define(statement)
    point("state.migrate.defined")
