"""The model of the suspend right holds in every order of events, and finds the classic mistakes."""

from __future__ import annotations

import pytest

from tests.models.explorer import Violation
from tests.models.suspend_right_model import explore_model
from tests.models.suspend_right_rules import MISTAKES

DEPTH = 8
DEPTH_OF_MISTAKES = 10


def test_all_promises_hold_in_every_order_of_events() -> None:
    """One holder, growing fences, no theft, no late use, no lock-out, no prison, no drift."""
    assert explore_model(depth=DEPTH) > 20_000


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_found(mistake: str) -> None:
    """A rule left out is a promise broken: the model says which, and by what way."""
    with pytest.raises(Violation, match=r": ."):
        explore_model(mistake, depth=DEPTH_OF_MISTAKES)
