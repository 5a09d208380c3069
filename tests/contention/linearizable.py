"""Is a recorded history of the suspend right one that a single copy of it could have given?

Every operation of the history took effect at one moment between its start and its end, or it did not
happen at all. The checker looks for an order of those moments in which each operation's answer is right
(Wing and Gong's search). Answers carry holder, fence and end, so that few operations fit at any point:
one that changes nothing is put in as soon as it fits, and only those that change something are tried in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

NOBODY = ""


@dataclass(frozen=True)
class Right:
    """The one copy: who holds it, in which turn, until when (microseconds of the state's clock)."""

    holder: str = NOBODY
    fence: int = 0
    until: int = 0

    def held_at(self, now: int) -> str:
        """Who holds it at a moment."""
        return self.holder if self.until > now else NOBODY


@dataclass(frozen=True)
class Operation:
    """What one process asked and was told.

    ``began`` and ``ended`` are monotonic nanoseconds, the same for all processes; ``now`` is the time that
    the operation read inside its transaction. ``told`` is the right as the answer describes it: after a
    change, or as it was seen by a refusal or a question; with ``changed`` the two are told apart.
    """

    process: int
    verb: str
    watcher: str
    began: int
    ended: int
    now: int
    changed: bool
    told: Right
    to: str = ""
    lease: int = 0


def follows(right: Right, operation: Operation) -> Right | None:
    """The right after an operation, or None if a right like this could not have given its answer."""
    held = right.held_at(operation.now)
    if not operation.changed:
        return right if _seen(right, operation, held) else None
    after = _after(right, operation, held)
    return after if after == operation.told else None


def _seen(right: Right, operation: Operation, held: str) -> bool:
    told = operation.told
    if operation.verb in ("acquire", "renew") and held == operation.watcher:
        return told == right and operation.now + operation.lease <= right.until  # it lasts as long already
    if operation.verb == "acquire" and held == NOBODY:
        return False  # it would have been given
    if operation.verb in ("renew", "release", "hand over") and held == operation.watcher:
        return False
    if operation.verb == "break" and held != NOBODY:
        return False
    if held == NOBODY:
        return told.holder == NOBODY
    # a refusal does not tell the fence
    return (told.holder, told.until) == (held, right.until) and told.fence in (0, right.fence)


def _after(right: Right, operation: Operation, held: str) -> Right | None:
    until = operation.now + operation.lease
    mine = held == operation.watcher
    if operation.verb == "acquire" and held == NOBODY:
        return Right(operation.watcher, right.fence + 1, until)
    if operation.verb in ("acquire", "renew") and mine:
        return Right(operation.watcher, right.fence, max(until, right.until))
    if operation.verb == "release" and mine:
        return Right(NOBODY, right.fence)
    if operation.verb == "hand over" and mine:
        return Right(operation.to, right.fence + 1, until)
    if operation.verb == "break" and held == operation.to != NOBODY:
        return Right(NOBODY, right.fence)
    return None


@dataclass
class _Branch:
    """A beginning of an order: the right after it, and which operations may come next.

    ``window`` has all of ``waiting`` before ``ahead`` that have no place yet. None of them had ended when
    another one of them began: they were under way at the same time, so it has at most one for each process.
    """

    waiting: Sequence[Operation]
    right: Right
    window: list[int] = field(default_factory=list)
    ahead: int = 0

    def refill(self) -> None:
        """Let in those that began before any in the window had ended."""
        ends = [self.waiting[index].ended for index in self.window]
        while self.ahead < len(self.waiting):
            operation = self.waiting[self.ahead]
            if ends and operation.began > min(ends):
                return
            ends.append(operation.ended)
            self.window.append(self.ahead)
            self.ahead += 1

    def place_quiet(self) -> bool:
        """Give a place to all that fit and change nothing: that cannot be wrong. False if there are none."""
        rest = [index for index in self.window if not self._quiet(index)]
        found, self.window = len(rest) < len(self.window), rest
        return found

    def steps(self) -> list[tuple[int, Right]]:
        """Those that fit next, with the right after each."""
        after = [(index, follows(self.right, self.waiting[index])) for index in self.window]
        return [(index, right) for index, right in after if right is not None]

    def then(self, index: int, right: Right) -> _Branch:
        """The branch in which one comes next."""
        window = [each for each in self.window if each != index]
        return _Branch(self.waiting, right, window, self.ahead)

    def _quiet(self, index: int) -> bool:
        operation = self.waiting[index]
        return not operation.changed and follows(self.right, operation) is not None


def first_misfit(history: Sequence[Operation], *, right: Right | None = None) -> Operation | None:
    """None if the history is linearizable; else an operation that fits in no order, the earliest such."""
    waiting = sorted(history, key=lambda operation: operation.began)
    branches = [_Branch(waiting, right or Right())]
    tried: set[tuple[frozenset[int], int, Right]] = set()
    furthest, misfit = -1, None
    while branches:
        branch = branches.pop()
        branch.refill()
        while branch.place_quiet():
            branch.refill()
        if not branch.window:
            return None
        steps = branch.steps()
        placed = branch.ahead - len(branch.window)
        if not steps and placed > furthest:
            furthest, misfit = placed, waiting[branch.window[0]]
        for index, after in steps:
            beside = branch.then(index, after)
            key = (frozenset(beside.window), beside.ahead, after)
            if len(steps) == 1 or key not in tried:
                branches.append(beside)
            if len(steps) > 1:
                tried.add(key)
    return misfit
