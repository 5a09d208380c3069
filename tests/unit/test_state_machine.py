"""Grants, the suspend right and sessions against a plain model: any order of calls, any clock."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from vmm_automation.errors import VmmError
from vmm_automation.model.session import LIVE, SessionState
from vmm_automation.model.times import to_text
from vmm_automation.operations import audit_log, watcher
from vmm_automation.state import sessions, suspend_right, vms
from vmm_automation.state.sqlite import SqliteStore
from vmm_automation.state.store import Tx

from ..fake_clock import FakeClock
from .plain_watchers import PlainWatchers, Refused

NAMES = st.sampled_from(["bo", "cy", "di"])
PRIVILEGES = st.frozensets(st.sampled_from(["view", "suspend"]), max_size=2)
SOME = st.sampled_from([frozenset({"suspend"}), frozenset({"view"}), frozenset({"view", "suspend"})])
MINUTES = st.integers(1, 30).map(lambda minutes: timedelta(minutes=minutes))
JUMPS = st.integers(-10, 20)


class WatchersMachine(RuleBasedStateMachine):
    """Each rule calls the state and the model, and both must give the same answer or the same refusal."""

    def __init__(self) -> None:
        super().__init__()
        self.home = tempfile.TemporaryDirectory()
        self.store = SqliteStore.open(Path(self.home.name) / "home" / "state.db")
        self.clock = FakeClock()
        self.number = self.changes = self.claim_fence = 0
        self.plain = PlainWatchers(state=SessionState.CLOSED)
        self.open_another()

    @property
    def session(self) -> str:
        """The newest session."""
        return f"s-{self.number}"

    def teardown(self) -> None:
        """Whatever was done, the chain is whole and has one entry for each change."""
        assert audit_log.verify(self.store)["events"] == self.changes
        self.store.close()
        self.home.cleanup()

    def same(self, real: Callable[..., dict[str, Any]], plain: Callable[[], bool], **asked: Any) -> None:
        """Both change, both change nothing, or both refuse in the same way."""
        asked = {"session": self.session, "actor": "root", **asked}
        answer, expected = _outcome(lambda: real(self.store, self.clock, **asked)), _outcome(plain)
        changed = answer["changed"] if isinstance(answer, dict) else answer
        assert changed == expected
        self.changes += changed is True

    @rule(minutes=JUMPS)
    def time_passes_or_goes_back(self, minutes: int) -> None:
        """Any jump."""
        self.clock.advance(minutes=minutes)

    @rule(name=NAMES, privileges=SOME, duration=MINUTES, wait=st.just(0) | st.integers(0, 15))
    def assign(self, name: str, privileges: frozenset[str], duration: timedelta, wait: int) -> None:
        """A grant that starts at once, or some minutes later."""
        now = self.clock.now()
        start = now + timedelta(minutes=wait)
        end = start + duration
        asked: dict[str, Any] = {"watcher": name, "privileges": privileges, "duration": duration}
        if wait % 2:  # by its length, or by the time
            asked["starts"] = timedelta(minutes=wait)
        elif wait:
            asked = {**asked, "starts": start, "until": end, "duration": None}
        else:
            start = datetime.min.replace(tzinfo=UTC)
        self.same(watcher.assign, lambda: self.plain.assign(name, privileges, start, end, now), **asked)

    @rule(name=NAMES, add=PRIVILEGES, remove=PRIVILEGES, minutes=JUMPS)
    def update(self, name: str, add: frozenset[str], remove: frozenset[str], minutes: int) -> None:
        """A grant changed."""
        now = self.clock.now()
        asked: dict[str, Any] = {"add": add, "remove": remove, "extend": timedelta(minutes=minutes)}
        self.same(watcher.update, lambda: self.plain.update(name, **asked, now=now), watcher=name, **asked)

    @rule(name=NAMES)
    def revoke(self, name: str) -> None:
        """A grant ended."""
        self.same(watcher.revoke, lambda: self.plain.revoke(name, self.clock.now()), watcher=name)

    @rule(name=NAMES, lease=MINUTES)
    def acquire(self, name: str, lease: timedelta) -> None:
        """The right taken or kept."""
        now = self.clock.now()
        plain = self.plain
        self.same(watcher.lock_acquire, lambda: plain.acquire(name, lease, now), watcher=name, lease=lease)

    @rule(name=NAMES, lease=MINUTES)
    def renew(self, name: str, lease: timedelta) -> None:
        """The right kept."""
        now = self.clock.now()
        plain = self.plain
        self.same(watcher.lock_renew, lambda: plain.renew(name, lease, now), watcher=name, lease=lease)

    @rule(name=NAMES)
    def release(self, name: str) -> None:
        """The right given back."""
        now = self.clock.now()
        self.same(watcher.lock_release, lambda: self.plain.release(name, now), watcher=name)

    @rule(name=NAMES, to=NAMES, lease=MINUTES)
    def hand_over(self, name: str, to: str, lease: timedelta) -> None:
        """The right passed on."""
        now = self.clock.now()
        asked = {"watcher": name, "to": to, "lease": lease}
        self.same(watcher.lock_hand_over, lambda: self.plain.hand_over(name, to, lease, now), **asked)

    @rule(actor=st.sampled_from(["root", "bo"]))
    def take_away(self, actor: str) -> None:
        """The right broken."""
        now = self.clock.now()
        self.same(watcher.lock_break, lambda: self.plain.take_away(actor, now), actor=actor, reason="test")

    @rule(name=NAMES, age=st.none() | st.integers(0, 2))
    def check(self, name: str, age: int | None) -> None:
        """A suspension with a fence of this turn or an older one."""
        now = self.clock.now()
        fence = None if age is None else self.plain.fence - age
        with self.store.reading() as tx:
            asked: dict[str, Any] = {"session": self.session, "watcher": name, "fence": fence, "now": now}
            answer = _outcome(lambda: suspend_right.check_holder(tx, **asked))
        refused = answer if isinstance(answer, str) else None
        assert refused == _outcome(lambda: self.plain.check(name, fence, now))

    @rule(state=st.sampled_from([*SessionState, *[SessionState.ACTIVE, SessionState.SUSPENDED] * 6]))
    def move(self, state: SessionState) -> None:
        """The session goes on, or ends."""
        with self.store.transaction() as tx:
            answer = _outcome(lambda: self._move(tx, state))
        assert answer == _outcome(lambda: self.plain.move(state))

    @rule()
    def open_another(self) -> None:
        """The next session on the VM, once the one before has ended; its fence is larger."""
        with self.store.transaction() as tx:
            answer = _outcome(lambda: self._claim(tx, f"s-{self.number + 1}"))
        if self.plain.state in LIVE:
            assert answer == "SeatTaken"
            return
        assert answer > self.claim_fence
        self.claim_fence, self.number, self.plain = answer, self.number + 1, PlainWatchers()

    @invariant()
    def all_is_as_in_the_model(self) -> None:
        """Grants, holder, fence, end and the session's state."""
        now = self.clock.now()
        found = watcher.list_watchers(self.store, self.clock, session=self.session)
        expected = {
            name: (sorted(privileges), start <= now, to_text(end))
            for name, (privileges, start, end) in self.plain.grants.items()
            if end > now
        }
        assert expected == {
            grant["watcher"]: (grant["privileges"], grant["valid"], grant["expires_at"])
            for grant in found["grants"]
        }
        held = self.plain.held(now) or None
        until = to_text(self.plain.until) if held and self.plain.until else None
        right = found["right"]
        assert (right["holder"], right["fence"], right["expires_at"]) == (held, self.plain.fence, until)
        with self.store.reading() as tx:
            assert sessions.get(tx, session_id=self.session).state is self.plain.state

    def _move(self, tx: Tx, state: SessionState) -> None:
        sessions.move_to(
            tx,
            session_id=self.session,
            state=state,
            expected=frozenset(SessionState),
            now=self.clock.now(),
        )

    def _claim(self, tx: Tx, name: str) -> int:
        now = self.clock.now()
        vms.mark_clean(tx, vm="vm-1", now=now)
        asked: dict[str, Any] = {
            "user": "ann",
            "ua": "cal",
            "version": "1",
            "vm": "vm-1",
            "terminal": "t",
            "owner": "",
        }
        user = f"ann-{self.number}"  # another one, so that it is the VM's seat that is taken
        return sessions.claim(tx, session_id=name, explanation={}, now=now, **{**asked, "user": user}).fence


def _outcome(call: Callable[[], Any]) -> Any:
    """What a call returned, or the name of its refusal."""
    try:
        return call()
    except Refused as refused:
        return str(refused)
    except VmmError as refused:
        return type(refused).__name__


WatchersMachine.TestCase.settings = settings(
    max_examples=150, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
TestWatchersAgainstPlainModel = WatchersMachine.TestCase
