"""From when until when a grant holds, out of what was asked: times, or lengths that count from now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from vmm_automation.errors import UsageError
from vmm_automation.model.times import from_text, to_text
from vmm_automation.model.watcher import Grant

DEFAULT_DURATION: Final = timedelta(hours=8)
#: a script that asks for "now" is not refused because the clock went on
_JUST_NOW: Final = timedelta(minutes=1)


@dataclass(frozen=True)
class Terms:
    """What was asked: the start (None: at once), and the end or how long it is from the start on."""

    starts: datetime | timedelta | None = None
    until: datetime | None = None
    duration: timedelta | None = None

    def begin(self, now: datetime) -> str:
        """The start as a grant has it.

        Raises:
            UsageError: it has passed, or is out of range.
        """
        if self.starts is None:
            return ""
        if isinstance(self.starts, timedelta):
            return after(now, self.starts) if self.starts else ""
        if self.starts < now - _JUST_NOW:
            raise UsageError(
                f"Cannot grant privileges from {to_text(self.starts)} on: that has passed",
                hint="leave the start out, and the grant starts at once",
                details={"starts_at": to_text(self.starts)},
            )
        return to_text(self.starts) if self.starts > now else ""

    def end(self, now: datetime) -> str:
        """The end as a grant has it.

        Raises:
            UsageError: a duration beside an end, or it is out of range.
        """
        if self.until is None:
            start = self.begin(now)
            return after(from_text(start) if start else now, self._length)
        if self.duration is not None:
            raise UsageError(
                "Cannot grant privileges both for a duration and until a time",
                hint="vmm watcher assign --help",
            )
        return to_text(self.until)

    def gave(self, grant: Grant) -> bool:
        """Whether the same was asked when the grant was made: asking again is no change then."""
        granted = from_text(grant.granted_at)
        if isinstance(self.starts, datetime):
            at_once = not grant.starts_at and self.starts <= granted
            same_start = at_once or grant.starts_at == to_text(self.starts)
        else:
            start = granted + (self.starts or timedelta(0))
            same_start = grant.starts_at == (to_text(start) if self.starts else "")
        if self.until is not None:
            return same_start and grant.expires_at == to_text(self.until)
        began = from_text(grant.starts_at) if grant.starts_at else granted
        return same_start and from_text(grant.expires_at) - began == self._length

    @property
    def _length(self) -> timedelta:
        return DEFAULT_DURATION if self.duration is None else self.duration


def after(start: datetime, duration: timedelta) -> str:
    """The time that is ``duration`` after ``start``.

    Raises:
        UsageError: there is no such time.
    """
    try:
        return to_text(start + duration)
    except OverflowError as far:
        raise UsageError(
            f"Cannot grant privileges for {duration.total_seconds():g} s: the end is out of range",
            hint="vmm watcher assign --help",
        ) from far
