"""Visits every situation that a model can come to, in the order of the number of steps."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any, Protocol, TypeVar

S = TypeVar("S", bound=Hashable)
Told = Callable[[int, int], None]


class Named(Protocol):
    """A step: what it is called, and the situation that it leads to."""

    @property
    def name(self) -> str:
        """What happens."""

    @property
    def after(self) -> Any:
        """What is then."""


N = TypeVar("N", bound=Named)


class Violation(AssertionError):
    """A promise does not hold; the message has a shortest way there."""


def quiet(_level: int, _found: int) -> None:
    """Say nothing."""


def explore(
    start: S,
    *,
    depth: int,
    steps: Callable[[S], Iterable[N]],
    check_state: Callable[[S], None],
    check_step: Callable[[S, N], None],
    told: Told = quiet,
) -> int:
    """Breadth first, each situation once; returns how many were found.

    Raises:
        Violation: a check raised AssertionError.
    """
    came: dict[S, tuple[S, str] | None] = {start: None}
    front = [start]
    for level in range(depth + 1):
        ahead: list[S] = []
        for state in front:
            try:
                check_state(state)
            except AssertionError as broken:
                raise _violation(broken, came, state) from broken
            for step in steps(state) if level < depth else ():
                try:
                    check_step(state, step)
                except AssertionError as broken:
                    raise _violation(broken, came, state, step.name) from broken
                if step.after not in came:
                    came[step.after] = (state, step.name)
                    ahead.append(step.after)
        told(level, len(came))
        front = ahead
        if not front:
            break
    return len(came)


def _violation(
    broken: AssertionError, came: dict[S, tuple[S, str] | None], state: S, *last: str
) -> Violation:
    way = list(last)
    here: S = state
    while (before := came[here]) is not None:
        here, name = before
        way.insert(0, name)
    why = str(broken).splitlines()[0] if str(broken) else "a promise does not hold"
    return Violation(f"{why}: {', '.join(way) or 'at the start'}")
