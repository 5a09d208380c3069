"""The tables of pools of VMs."""

from __future__ import annotations

from typing import Final

POOLS: Final = (
    # what was asked for beyond the definition (ready, parked, cold: null where it holds), what went wrong in
    # a row, and who refills it (owner: '' nobody)
    """
    CREATE TABLE pools (
        pool TEXT PRIMARY KEY,
        ready BIGINT,
        parked BIGINT,
        cold BIGINT,
        drain TEXT NOT NULL DEFAULT '' CHECK (drain IN ('', 'keep', 'delete')),
        failures BIGINT NOT NULL DEFAULT 0,
        failure TEXT NOT NULL DEFAULT '',
        owner TEXT NOT NULL DEFAULT '',
        began_at TEXT NOT NULL DEFAULT ''
    )
    """,
    # a row from before a VM is made until after it is removed, so that nothing half-made is forgotten;
    # reserved: what a refill does to it now, '' nothing
    """
    CREATE TABLE pool_members (
        vm TEXT PRIMARY KEY,
        pool TEXT NOT NULL,
        phase TEXT NOT NULL CHECK (phase IN ('making', 'member', 'leaving')),
        since TEXT NOT NULL,
        reserved TEXT NOT NULL DEFAULT ''
    )
    """,
    "CREATE INDEX members_of_pool ON pool_members (pool, vm)",
)
