"""One text form for times: UTC, ISO 8601, microseconds, 'Z'. Text of this form sorts as the times do.

And the forms that people type: durations such as ``90s``, ``15m``, ``2h``, ``1d``, and any ISO 8601 time that
says its zone.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION: Final = re.compile(r"([0-9]{1,6})([smhd])")
_LONGEST: Final = 40


def to_text(moment: datetime) -> str:
    """``2026-01-31T08:05:10.000000Z`` for an aware time."""
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def from_text(text: str) -> datetime:
    """The aware time that :func:`to_text` wrote."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


def read_duration(text: str) -> timedelta:
    """A whole number with a unit: s, m, h or d.

    Raises:
        ValueError: it is something else; the message says so, and shows it escaped.
    """
    match = _DURATION.fullmatch(text)
    if not match:
        raise ValueError(f"{_shown(text)} is not a duration such as 90s, 15m, 2h or 1d")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def read_time(text: str) -> datetime:
    """A moment in ISO 8601 with its zone, in UTC.

    Raises:
        ValueError: it is no time, has no zone, or is not within the years 1 to 9999 in UTC.
    """
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError) as wrong:
        raise ValueError(f"{_shown(text)} is not a time such as 2026-01-31T14:00Z") from wrong
    raise ValueError(f"{_shown(text)} does not say its time zone: add Z for UTC, or an offset such as +02:00")


def read_moment(text: str) -> datetime | timedelta:
    """A time, or a duration that counts from now on.

    Raises:
        ValueError: it is neither.
    """
    return read_duration(text) if _DURATION.fullmatch(text) else read_time(text)


def _shown(text: str) -> str:
    return ascii(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")
