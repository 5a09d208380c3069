"""The tables of the state, as one list of statements per schema version.

A published version is never edited: a change is a new entry at the end of :data:`MIGRATIONS`.
Times are text (``model/times.py``), so that comparing text compares times. Documents are JSON text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vmm_automation.state.schema_first import FIRST, IDENTITY
from vmm_automation.state.schema_fleet import FLEET
from vmm_automation.state.schema_holds import HOLDS
from vmm_automation.state.schema_looks import LOOKS
from vmm_automation.state.schema_modes import MODES
from vmm_automation.state.schema_moves import MOVES
from vmm_automation.state.schema_pools import POOLS
from vmm_automation.state.schema_queue import QUEUE
from vmm_automation.trace import point

__all__ = ["IDENTITY", "MIGRATIONS", "VERSION", "bring_up"]

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
    FIRST,
    _AUDIT,
    _LIVES,
    _KEPT,
    _LOOKUPS,
    _ROLLOUTS,
    _SEATS,
    POOLS,
    QUEUE,
    MOVES,
    FLEET,
    HOLDS,
    LOOKS,
    MODES,
)
VERSION: Final = len(MIGRATIONS)


def bring_up(define: Callable[[str], None], *, version: int) -> None:
    """Make the tables of ``version`` those of the newest, statement by statement."""
    for statements in MIGRATIONS[version:]:
        for statement in statements:
            define(statement)
    point("state.migrate.defined")
