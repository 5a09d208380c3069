"""The table of VMs that are held, by reason: its forerunner had room for one reason only."""

from __future__ import annotations

from typing import Final

HOLDS: Final = (
    # a VM that is worked on: no session is given it before the last held_until
    """
    CREATE TABLE holds (
        vm TEXT NOT NULL,
        reason TEXT NOT NULL,
        held_until TEXT NOT NULL,
        PRIMARY KEY (vm, reason)
    )
    """,
    "INSERT INTO holds (vm, reason, held_until) SELECT vm, reason, held_until FROM vm_holds",
    "DROP TABLE vm_holds",
)
