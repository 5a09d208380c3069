"""The table of the requests that wait for a VM."""

from __future__ import annotations

from typing import Final

QUEUE: Final = (
    # number: the order of arrival among those that wait; terminal, avoid: JSON; seen_at: the waiting
    # process was alive then
    """
    CREATE TABLE waiting_requests (
        id TEXT PRIMARY KEY,
        number BIGINT NOT NULL,
        priority BIGINT NOT NULL,
        user_name TEXT NOT NULL,
        ua TEXT NOT NULL,
        version TEXT NOT NULL,
        vm TEXT NOT NULL,
        avoid TEXT NOT NULL,
        terminal TEXT NOT NULL,
        owner TEXT NOT NULL,
        asked_at TEXT NOT NULL,
        deadline_at TEXT NOT NULL,
        seen_at TEXT NOT NULL
    )
    """,
    "CREATE UNIQUE INDEX waiting_request_number ON waiting_requests (number)",
    # asking twice for the same would make a user's first request stand in the way of the second
    "CREATE UNIQUE INDEX waiting_request_of_user ON waiting_requests (user_name, ua)",
)
