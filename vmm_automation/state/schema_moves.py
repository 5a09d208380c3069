"""The table of sessions that are on their way to another VM."""

from __future__ import annotations

from typing import Final

MOVES: Final = (
    # a row is the hold of one session on a second VM; it goes when the session is there, or back
    """
    CREATE TABLE session_moves (
        session TEXT PRIMARY KEY REFERENCES sessions (id),
        vm TEXT NOT NULL UNIQUE,
        fence BIGINT NOT NULL,
        terminal TEXT NOT NULL,
        explanation TEXT NOT NULL,
        began_at TEXT NOT NULL
    )
    """,
)
