"""When a session's data were last looked at in vain."""

from __future__ import annotations

from typing import Final

LOOKS: Final = (
    # when a capture that was due last made no generation; '' where that never was. It is in no entry and no
    # digest of the audit chain: it says when to look again, not what became of anything
    "ALTER TABLE sessions ADD COLUMN looked_at TEXT NOT NULL DEFAULT ''",
)
