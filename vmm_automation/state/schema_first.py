"""The tables of the first published version of the state; never edited again."""

from __future__ import annotations

from typing import Final

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

FIRST: Final = (*_SESSIONS, *_DEPLOYMENTS, *_WATCHERS, *_GENERATIONS, *_EVENTS)
