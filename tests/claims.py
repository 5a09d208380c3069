"""Sessions that a test has in its state, with what does not matter to it left out."""

from __future__ import annotations

from datetime import datetime

from vmm_automation.model.policies import SecondSession
from vmm_automation.model.session import Session
from vmm_automation.state import sessions
from vmm_automation.state.store import Tx


def claim(
    tx: Tx,
    name: str,
    *,
    vm: str,
    now: datetime,
    ua: str = "cal",
    version: str = "1",
    second: SecondSession = SecondSession.EXCLUSIVE,
) -> Session:
    """A session of ann's on a VM that is clean."""
    return sessions.claim(
        tx,
        session_id=name,
        user="ann",
        ua=ua,
        version=version,
        vm=vm,
        terminal="phone",
        explanation={},
        owner="",
        now=now,
        second=second,
    )
