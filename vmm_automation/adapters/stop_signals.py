"""SIGINT and SIGTERM noted instead of obeyed, for work that must put its things in order before it ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Stop:
    """The name of the signal that came; empty while none did."""

    name: str = ""


@contextmanager
def noted_signals() -> Iterator[Stop]:
    """Until the block ends a signal to stop is only noted; outside of the main thread it is obeyed still."""
    stop = Stop()

    def note(number: int, _frame: FrameType | None) -> None:
        stop.name = signal.Signals(number).name

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
