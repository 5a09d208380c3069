"""The rules of the suspend right as steps between situations; ``suspend_right_model.py`` has the promises."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

LEASE: Final = 2
SKEW: Final = 1
WATCHERS: Final = (0, 1, 2)
OPERATOR: Final = 3
NOBODY: Final = -1
NAMES: Final = "abco"
#: at most so many requests, and so many acting processes, at one time
REQUESTS: Final = 1
ACTORS: Final = 2
_OLD: Final = 2
_STALE: Final = LEASE + 2 * SKEW + 1

MISTAKES: Final = {
    "no fence check": "a request of an earlier turn is admitted",
    "release by a non-holder": "whoever asks ends the turn of another",
    "clock taken outside the transaction": "the time is that of sending, however long the store was busy",
    "no second look": "who acted does not look whether that is still wanted",
    "same fence after a gap": "a new turn does not count",
}


class Request(NamedTuple):
    """Sent and not yet admitted: turns since then (2: two or more), ticks since then (where it matters)."""

    watcher: int
    pause: bool
    turns: int = 0
    ticks: int = 0


class State(NamedTuple):
    """One situation; ``left`` is the lease's end by the store's clock, in ticks from now."""

    holder: int = NOBODY
    left: int = -SKEW
    ahead: int = 0
    granted: tuple[bool, bool, bool] = (True, True, True)
    suspended: bool = False
    paused: bool = False
    requests: tuple[Request, ...] = ()
    #: who acts, on what, and whether it only has to look
    actors: tuple[tuple[int, bool, bool], ...] = ()
    killed: bool = False


class Step(NamedTuple):
    """A step, its outcome, and by how much the fence grew."""

    name: str
    after: State
    turn: int = 0
    admitted: Request | None = None


class Model:
    """The rules, with ``mistake`` (a key of MISTAKES) built in or none."""

    def __init__(self, mistake: str = "") -> None:
        assert not mistake or mistake in MISTAKES
        self.mistake = mistake

    def steps(self, state: State) -> Iterator[Step]:
        """All that can happen next."""
        yield Step("tick", self.later(state))
        for ahead in range(SKEW + 1):
            if ahead != state.ahead:
                yield Step(f"clock {ahead} ahead", state._replace(ahead=ahead))
        for watcher in WATCHERS:
            yield from self._right(state, watcher)
            yield from self._grant(state, watcher)
            yield from self._send(state, watcher)
        if state.holder != NOBODY:
            yield Step("break", _vacant(state))
        for request in state.requests:
            yield self.admit(state, request)
        yield from self.resume(state)
        for actor in state.actors:
            yield from self.act(state, actor)

    def holds(self, state: State, watcher: int, *, ticks: int = 0) -> bool:
        """Whether the Watcher passes the check, by its own clock of ``ticks`` ago."""
        ended = state.left + ticks <= _clock(state, watcher)
        return state.granted[watcher] and state.holder == watcher and not ended

    def acquire(self, state: State, watcher: int) -> Step | None:
        """A turn of its own, or a longer one; None where that is refused."""
        if not state.granted[watcher]:
            return None
        left = LEASE + _clock(state, watcher)
        if self.holds(state, watcher):
            return Step(f"{NAMES[watcher]} renews", state._replace(left=max(left, state.left)))
        if state.holder != NOBODY and state.left > _clock(state, watcher) and state.holder != watcher:
            return None
        turn = 0 if self.mistake == "same fence after a gap" else 1
        after = _aged(state._replace(holder=watcher, left=left), turns=turn)
        return Step(f"{NAMES[watcher]} acquires", after, turn=turn)

    def _right(self, state: State, watcher: int) -> Iterator[Step]:
        if step := self.acquire(state, watcher):
            yield step
        if self.holds(state, watcher) or (
            self.mistake == "release by a non-holder" and state.holder != NOBODY and state.granted[watcher]
        ):
            yield Step(f"{NAMES[watcher]} releases", _vacant(state))
        if self.holds(state, watcher):
            for other in WATCHERS:
                if other != watcher and state.granted[other]:
                    moved = state._replace(holder=other, left=LEASE + _clock(state, watcher))
                    yield Step(
                        f"{NAMES[watcher]} hands over to {NAMES[other]}", _aged(moved, turns=1), turn=1
                    )

    def _grant(self, state: State, watcher: int) -> Iterator[Step]:
        granted = list(state.granted)
        granted[watcher] = not granted[watcher]
        after = state._replace(granted=(granted[0], granted[1], granted[2]))
        if state.granted[watcher]:
            yield Step(f"revoke {NAMES[watcher]}", _vacant(after) if state.holder == watcher else after)
        else:
            yield Step(f"assign {NAMES[watcher]}", after)

    def _send(self, state: State, watcher: int) -> Iterator[Step]:
        if len(state.requests) < REQUESTS and self.holds(state, watcher):
            for pause in (True, False):
                sent = (*state.requests, Request(watcher, pause))
                word = "suspend" if pause else "resume"
                yield Step(f"{NAMES[watcher]} sends {word}", state._replace(requests=tuple(sorted(sent))))

    def admit(self, state: State, request: Request) -> Step:
        """The transaction of a request: check, and note the intent."""
        waiting = tuple(each for each in state.requests if each != request)
        after = state._replace(requests=waiting)
        name = NAMES[request.watcher]
        stale = request.ticks if self.mistake == "clock taken outside the transaction" else 0
        fits = request.turns == 0 or self.mistake == "no fence check"
        if not self.holds(state, request.watcher, ticks=stale) or not fits or len(state.actors) >= ACTORS:
            return Step(f"{name} is refused", after)
        intent = _intent(after, request.watcher, pause=request.pause)
        return Step(f"{name} is admitted", intent, admitted=request)

    def resume(self, state: State) -> Iterator[Step]:
        """The operator's intent, which needs no right."""
        if state.suspended and len(state.actors) < ACTORS:
            yield Step("the operator resumes", _intent(state, OPERATOR, pause=False))

    def act(self, state: State, actor: tuple[int, bool, bool]) -> Iterator[Step]:
        """Who was admitted does it, or looks again; or is killed."""
        who, pause, looks = actor
        others = list(state.actors)
        others.remove(actor)
        name = NAMES[who]
        if not looks:
            left = others if self.mistake == "no second look" else [*others, (who, pause, True)]
            word = "pauses" if pause else "runs"
            yield Step(
                f"{name} {word} the VM", _settled(state._replace(paused=pause, actors=_in_order(left)))
            )
        elif state.suspended == pause:
            yield Step(f"{name} is done", _settled(state._replace(actors=_in_order(others))))
        else:
            again = [*others, (who, state.suspended, False)]
            yield Step(f"{name} acts again", state._replace(actors=_in_order(again)))
        yield Step(f"{name} is killed", _settled(state._replace(actors=_in_order(others), killed=True)))

    def later(self, state: State) -> State:
        """One tick passes."""
        requests = state.requests
        if self.mistake == "clock taken outside the transaction":
            requests = tuple(each._replace(ticks=min(each.ticks + 1, _STALE)) for each in requests)
        return state._replace(left=max(state.left - 1, -SKEW), requests=requests)


def _clock(state: State, watcher: int) -> int:
    return 0 if watcher == 0 else state.ahead


def _vacant(state: State) -> State:
    return state._replace(holder=NOBODY, left=-SKEW)


def _aged(state: State, *, turns: int) -> State:
    older = (each._replace(turns=min(each.turns + turns, _OLD)) for each in state.requests)
    return state._replace(requests=tuple(older))


def _intent(state: State, who: int, *, pause: bool) -> State:
    return state._replace(suspended=pause, actors=_in_order([*state.actors, (who, pause, False)]))


def _in_order(actors: list[tuple[int, bool, bool]]) -> tuple[tuple[int, bool, bool], ...]:
    return tuple(sorted(actors))


def _settled(state: State) -> State:
    """A kill is forgotten once nothing is left of it."""
    rests = not state.actors and state.paused == state.suspended
    return state._replace(killed=False) if rests else state
