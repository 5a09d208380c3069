"""A session that stands in the way of a rollout or a removal is waited for, until its end or a deadline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.programs.test_ua_lifecycle import context
from tests.programs.test_ua_rollout import guest_of, opened, outcome, works
from vmm_automation.errors import Conflict
from vmm_automation.operations import deployment, ua_drain, ua_rollout
from vmm_automation.operations.context import Context
from vmm_automation.operations.ua_rollout_plan import Terms
from vmm_automation.state import holds

__all__ = ["context"]


@pytest.mark.usefixtures("live")
def test_session_is_waited_for_until_it_ends_or_the_deadline(context: Context, tmp_path: Path) -> None:
    """After the deadline the VM is passed over, or worked on where that is forced and the UA is another."""
    guest = guest_of(tmp_path, "vm-1")
    opened(context, "vm-1", terms=Terms("1.0", drain_s=60))
    told = ua_rollout.on_vm(context, guest, works("vm-1"), ua_id="demo", terms=Terms(drain_s=60))
    assert told["vms"]["vm-1"]["reason"] == "busy: session 's-1', which did not end within 60 s"
    assert outcome(context, guest, works("vm-1"), Terms(drain_s=60, force=True)) == "done"
    began = context.clock.now()
    context.__dict__["clock"] = _EndsSession(context)
    assert outcome(context, guest, works("vm-1"), Terms(drain_s=600)) == "done"
    assert (context.clock.now() - began).total_seconds() < 10


@pytest.mark.usefixtures("live")
def test_removal_waits_for_the_session_of_its_ua(context: Context, tmp_path: Path) -> None:
    """Until its end or the deadline, and lets no other have the VM; it goes on then, or is refused."""
    guest = guest_of(tmp_path, "vm-1")
    with context.store.transaction() as tx:
        tx.execute("UPDATE sessions SET ua = 'demo'")

    def is_held() -> bool:
        with context.store.reading() as tx:
            return holds.reason(tx, vm="vm-1", now=context.clock.now()) != ""

    def remove(drain_s: int) -> dict[str, Any]:
        with ua_drain.alone(context, "vm-1", ua_id="demo", reason="it is removed", drain_s=drain_s):
            assert is_held() == bool(drain_s)
            return deployment.absent(context, guest, ua_id="demo", allow_destroy=True)

    began = context.clock.now()
    for drain_s in (0, 60):
        with pytest.raises(Conflict, match="session 's-1' uses it"):
            remove(drain_s)
    assert (context.clock.now() - began).total_seconds() == 60
    context.__dict__["clock"] = _EndsSession(context)
    assert not remove(600)["changed"]
    assert (context.clock.now() - began).total_seconds() < 70
    assert not is_held()


class _EndsSession:
    """A clock in whose time the session ends."""

    def __init__(self, context: Context) -> None:
        self._context, self._clock = context, context.clock

    def now(self) -> Any:
        """The time."""
        return self._clock.now()

    def sleep(self, seconds: float) -> None:
        """It ends meanwhile."""
        self._clock.sleep(seconds)
        with self._context.store.transaction() as tx:
            tx.execute("UPDATE sessions SET state = 'closed' WHERE id = 's-1'")
