"""What a session may do with its user's data, and that only one of a user and UA may write it."""

from __future__ import annotations

from typing import Final

MODES: Final = (
    # deployed: the generation that was last put into its guest, 0 for none
    "ALTER TABLE sessions ADD COLUMN mode TEXT NOT NULL DEFAULT 'writer'"
    " CHECK (mode IN ('writer', 'read-only', 'branch'))",
    "ALTER TABLE sessions ADD COLUMN deployed BIGINT NOT NULL DEFAULT 0",
    # its data were captured at its end; the generation does not tell, for a branch may have begun from none
    "ALTER TABLE sessions ADD COLUMN captured INTEGER NOT NULL DEFAULT 0 CHECK (captured IN (0, 1))",
    "UPDATE sessions SET captured = 1 WHERE generation > 0",
    "DROP INDEX one_live_session_per_user_and_ua",
    """
    CREATE UNIQUE INDEX one_live_writer_per_user_and_ua ON sessions (user_name, ua)
        WHERE mode = 'writer' AND state IN ('starting', 'active', 'suspended', 'closing')
    """,
)
