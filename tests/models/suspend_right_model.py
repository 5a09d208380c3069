"""An exhaustive model of the suspend right: every order of events of three Watchers, and what must hold.

Run it, for all states up to a depth (``--wrong`` tries the mistakes, each of which must be found)::

    python -m tests.models.suspend_right_model --depth 14
    python -m tests.models.suspend_right_model --wrong

A step is one transaction, one call of libvirt, or one tick of the clock. Watcher ``a`` works on the
controller whose clock is the store's; ``b`` and ``c`` on one that is ahead of it by 0 to SKEW ticks, and may
jump between. Suspending is three steps, between which anything may happen: a request is sent with the fence
that its Watcher has; a transaction admits it and notes the intent; libvirt does it, and whoever did it looks
once more whether that is still what is wanted. Between the last two a process may be killed.

Times and fences are kept relative to now, so that equal situations are one state. Checked are:

1. one holder: no two Watchers pass the check at one moment, each by its own clock;
2. fences: a turn of another holder, and any new turn, has a larger fence; no step makes it smaller;
3. no theft: who holds the right loses it by release, hand-over, break, revoke, or its end, not before
   end - SKEW by the store's clock;
4. no late use: what is admitted was sent in the present turn, and before end + SKEW by the store's clock;
5. no lock-out: LEASE + SKEW ticks after any state, every entitled Watcher can acquire a right nobody renews;
6. no prison: a suspended session can be resumed by the operator at once, and by any entitled Watcher after
   that time;
7. no drift: where nothing is under way and nobody was killed, the VM runs if and only if the session does.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.models.explorer import Told, Violation, explore, quiet
from tests.models.suspend_right_rules import (
    LEASE,
    MISTAKES,
    NAMES,
    NOBODY,
    SKEW,
    WATCHERS,
    Model,
    Request,
    State,
    Step,
)


def check_state(model: Model, state: State) -> None:
    """Promises 1 and 5 to 7, of one situation."""
    assert sum(model.holds(state, watcher) for watcher in WATCHERS) <= 1, "two pass the check"
    if not state.actors and not state.killed:
        assert state.paused == state.suspended, "the VM does not do what the session says"
    later = state
    for _ in range(LEASE + SKEW):
        later = model.later(later)
    entitled = [watcher for watcher in WATCHERS if later.granted[watcher]]
    for ahead in range(SKEW + 1):
        for watcher in entitled:
            taken = model.acquire(later._replace(ahead=ahead), watcher)
            assert taken is not None, f"{NAMES[watcher]} is locked out"
            if state.suspended:
                sent = taken.after._replace(requests=(Request(watcher, pause=False),), actors=())
                admitted = model.admit(sent, sent.requests[0])
                assert admitted.admitted, f"{NAMES[watcher]} cannot resume"
                assert not _at_rest(model, admitted.after).paused, "resumed, and the VM stays paused"
    if state.suspended:
        for step in model.resume(state._replace(actors=())):
            assert not _at_rest(model, step.after).paused, "the operator resumed, and the VM stays paused"


def check_step(before: State, step: Step) -> None:
    """Promises 2 to 4, of one step."""
    after = step.after
    new_turn = after.holder not in (NOBODY, before.holder)
    assert step.turn >= 0, "the fence went back"
    assert not new_turn or step.turn > 0, "a new turn without a larger fence"
    lost = before.holder not in (NOBODY, after.holder)
    own = f"{NAMES[before.holder]} " if lost else ""
    given = step.name.startswith((f"{own}releases", f"{own}hands over", "break", f"revoke {own}".rstrip()))
    assert not lost or given or before.left <= SKEW, "the right was taken from its holder before its end"
    if step.admitted:
        assert step.admitted.turns == 0, "a request of an earlier turn was admitted"
        assert before.left > -SKEW, "the right was used after its end"


def _at_rest(model: Model, state: State) -> State:
    """The situation when all who act have ended by themselves."""
    while state.actors:
        state = next(model.act(state, state.actors[0])).after
    return state


def explore_model(mistake: str = "", *, depth: int, told: Told = quiet) -> int:
    """Check every situation that ``depth`` steps lead to; returns how many there are.

    Raises:
        Violation: a promise does not hold; the message has a shortest way there.
    """
    model = Model(mistake)
    return explore(
        State(),
        depth=depth,
        steps=model.steps,
        check_state=lambda state: check_state(model, state),
        check_step=check_step,
        told=told,
    )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    """Explore the model, or the mistakes; 0 if it is as it should be."""
    parser = argparse.ArgumentParser(description="Explore the model of the suspend right.")
    parser.add_argument("--depth", type=int, default=10)
    parser.add_argument("--wrong", action="store_true", help="build in each mistake; each must be found")
    asked = parser.parse_args(arguments)
    began = time.monotonic()
    if not asked.wrong:
        states = explore_model(
            depth=asked.depth, told=lambda level, found: _say(f"{level:3} steps: {found} situations")
        )
        _say(f"{states} situations within {asked.depth} steps in {time.monotonic() - began:.1f} s: all hold")
        return 0
    missed = 0
    for mistake in MISTAKES:
        try:
            explore_model(mistake, depth=asked.depth)
            missed += 1
            _say(f"{mistake}: NOT found within {asked.depth} steps")
        except Violation as found:
            _say(f"{mistake}: {found}")
    return missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
