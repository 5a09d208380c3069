"""Which generations of one user's UA a retention keeps, and why: a pure decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from vmm_automation.errors import UsageError
from vmm_automation.model.image import Generation
from vmm_automation.model.times import from_text


@dataclass(frozen=True)
class Retention:
    """What to keep; a generation that any rule keeps stays.

    ``last``: that many newest. ``daily``, ``weekly``: the newest of each of that many days (UTC) or ISO weeks
    that have one. ``within``: all that are not older.
    """

    last: int = 0
    daily: int = 0
    weekly: int = 0
    within: timedelta = timedelta()

    def require_a_rule(self) -> None:
        """Refuse a retention that says nothing: it would keep next to nothing.

        Raises:
            UsageError: no rule is given, or a number is negative.
        """
        counts = (self.last, self.daily, self.weekly)
        if min(counts) < 0 or self.within < timedelta() or not (any(counts) or self.within):
            raise UsageError(
                "Cannot prune user images: nothing says what to keep",
                hint="vmm image prune --keep-last 5 --keep-daily 7",
            )

    def kept(self, generations: Sequence[Generation], *, now: datetime) -> dict[int, str]:
        """The numbers that stay, each with the rule that keeps it; ``generations`` by number, oldest first.

        The newest and what is pinned stay whatever the rules say.
        """
        newest_first = list(reversed(generations))
        why: dict[int, str] = {}
        if newest_first:
            why[newest_first[0].number] = "newest"
        for generation in newest_first:
            if generation.pinned:
                why.setdefault(generation.number, "pinned")
        for generation in newest_first[: self.last]:
            why.setdefault(generation.number, "last")
        for count, rule, form in ((self.daily, "daily", "%Y-%m-%d"), (self.weekly, "weekly", "%G-%V")):
            for number in _one_of_each(newest_first, form=form, count=count):
                why.setdefault(number, rule)
        for generation in newest_first:
            if self.within and from_text(generation.captured_at) >= now - self.within:
                why.setdefault(generation.number, "within")
        return why


def _one_of_each(newest_first: Sequence[Generation], *, form: str, count: int) -> list[int]:
    """The newest of each of the ``count`` latest periods that have a generation."""
    newest: dict[str, int] = {}
    for generation in newest_first:
        newest.setdefault(from_text(generation.captured_at).strftime(form), generation.number)
    return [newest[period] for period in sorted(newest, reverse=True)[:count]]
