"""A second session of one user and UA: refused, read-only, or a branch; and what it never does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.claims import claim
from vmm_automation.errors import Conflict, NoVmFits
from vmm_automation.model.policies import SecondSession
from vmm_automation.model.session import LIVE, Session, SessionMode, SessionState
from vmm_automation.model.ua import DeploymentState
from vmm_automation.operations import (
    audit_log,
    image_due,
    image_preview,
    second_session,
    session,
    session_claim,
    session_guest,
    session_move,
)
from vmm_automation.operations.context import Context
from vmm_automation.operations.session_abandon import find
from vmm_automation.operations.state_check import check_state
from vmm_automation.schema.definitions import ua_from_mapping
from vmm_automation.state import generations, ledger, orphans, schema, sessions, vms
from vmm_automation.state.sqlite import SqliteStore
from vmm_automation.state.store import Engine, Tx

from ..crash.world import World
from ..fake_clock import FakeClock
from .moving_session import LEAVE, STAY, context, world
from .test_cleaning import SaidGuest
from .test_lease_end import with_policies
from .test_state_generations import made

__all__ = ["context", "world"]
ANN: dict[str, Any] = {"user": "ann", "ua": "cal"}
AGAIN = session_claim.Request(user="ann", ua="radicale", terminal="desktop")


def take(tx: Tx, clock: FakeClock, name: str, second: SecondSession) -> Session:
    """Ann's calendar on a VM of its own."""
    vms.mark_clean(tx, vm=f"vm-{name}", now=clock.now())
    return claim(tx, name, vm=f"vm-{name}", now=clock.now(), second=second)


def end(tx: Tx, clock: FakeClock, name: str) -> None:
    sessions.move_to(tx, session_id=name, state=SessionState.FAILED, expected=LIVE, now=clock.now())


def save(tx: Tx, clock: FakeClock, number: int, by: Session) -> None:
    generation, manifest = made(clock, number, by.id, by.fence)
    generations.add(tx, generation=generation, manifest=manifest)


@pytest.mark.parametrize("second", [SecondSession.READ_ONLY, SecondSession.BRANCH])
def test_second_session_has_the_mode_of_the_policy_for_good(
    store: Engine, clock: FakeClock, second: SecondSession
) -> None:
    """Though the first ends before it; the next to come then writes, for nobody does."""
    with store.transaction() as tx:
        modes = {name: take(tx, clock, name, second).mode for name in ("s-1", "s-2", "s-3")}
        assert modes == {"s-1": "writer", "s-2": str(second), "s-3": str(second)}
        end(tx, clock, "s-1")
        assert sessions.get(tx, session_id="s-2").mode == str(second)
        assert take(tx, clock, "s-4", second).mode is SessionMode.WRITER
        found = sessions.live_of_user(tx, **ANN)
        assert found
        assert found.id == "s-4"
    assert check_state(store)["problems"] == []


def test_exclusive_is_refused_beside_any_session(store: Engine, clock: FakeClock) -> None:
    """Beside one that writes, and beside a branch that was begun under another policy."""
    with store.transaction() as tx:
        take(tx, clock, "s-1", SecondSession.BRANCH)
        take(tx, clock, "s-2", SecondSession.BRANCH)
        for name in ("s-1", "s-2"):
            with pytest.raises(Conflict, match=f"session '{name}' is starting") as refused:
                take(tx, clock, "s-3", SecondSession.EXCLUSIVE)
            assert refused.value.hint == f"vmm session close {name}"
            end(tx, clock, name)
        assert take(tx, clock, "s-3", SecondSession.EXCLUSIVE).mode is SessionMode.WRITER


@pytest.mark.parametrize("second", [SecondSession.READ_ONLY, SecondSession.BRANCH])
def test_only_the_writer_adds_generations_and_nothing_of_the_other_makes_it_stale(
    store: Engine, clock: FakeClock, second: SecondSession
) -> None:
    """The other has the newer fence, which is of no use to it; nor is it in the way of an import."""
    with store.transaction() as tx:
        first, other = (take(tx, clock, name, second) for name in ("s-1", "s-2"))
        assert other.fence > first.fence
        with pytest.raises(Conflict, match=f"'s-2' is .*{second}, and writes no generation"):
            save(tx, clock, 1, other)
        save(tx, clock, 1, first)
        end(tx, clock, "s-1")
        with pytest.raises(Conflict, match="writes no generation"):
            save(tx, clock, 2, other)
        fence = generations.newest_fence(tx, **ANN)
        assert fence == first.fence
        generation, manifest = made(clock, 2, "", fence)
        assert generations.add(tx, generation=generation, manifest=manifest).number == 2
        newer = take(tx, clock, "s-3", second)
        with pytest.raises(Conflict, match="stale"):
            save(tx, clock, 3, first)
        save(tx, clock, 3, newer)
    assert check_state(store)["problems"] == []


def test_session_of_an_older_state_writes(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that goes on while the program is brought up to date stays the only one that writes."""
    path, before = tmp_path / "home" / "state.db", len(schema.MIGRATIONS) - 1
    with monkeypatch.context() as older:
        older.setattr(schema, "VERSION", before)
        older.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:before])
        with SqliteStore.open(path) as old, old.transaction() as tx:
            at = "2026-01-31T12:00:00.000000Z"
            tx.execute(
                "INSERT INTO sessions (id, user_name, ua, version, vm, terminal, state, fence, created_at,"
                f" changed_at) VALUES ('s-0', 'ann', 'cal', '1', 'vm-0', 't', 'active', 0, '{at}', '{at}')"
            )
    with SqliteStore.open(path) as store, store.transaction() as tx:
        assert sessions.get(tx, session_id="s-0").mode is SessionMode.WRITER
        assert take(tx, clock, "s-1", SecondSession.BRANCH).mode is SessionMode.BRANCH


def test_ua_decides_before_the_site(context: Context) -> None:
    """A UA that says nothing is as the site says; so is one that the site does not define any more."""
    assert second_session.policy(context, "radicale") is SecondSession.EXCLUSIVE
    branching = with_policies(context, second_session=SecondSession.BRANCH)
    definition = context.site.directory / "uas" / "plain.yml"
    definition.write_text(definition.read_text() + "user_data: {second_session: read-only}\n")
    found = [second_session.policy(branching, ua) for ua in ("plain", "radicale", "gone")]
    assert found == [SecondSession.READ_ONLY, SecondSession.BRANCH, SecondSession.BRANCH]
    _, errors = ua_from_mapping(
        "cal", {"versions": {"1": {"kind": "deb"}}, "user_data": {"second_session": "both"}}, where="cal.yml"
    )
    assert any("second_session" in error for error in errors)


def opened(context: Context, second: SecondSession) -> tuple[Context, str]:
    """Ann's second session, active on vm-2 beside s-1."""
    made = with_policies(context, second_session=second)
    name = session_claim.claim(made, AGAIN)["session"]["id"]
    with made.store.transaction() as tx:
        now = made.clock.now()
        sessions.move_to(tx, session_id=name, state=SessionState.ACTIVE, expected=LIVE, now=now)
    return made, name


def timed(context: Context, *, every_s: int) -> None:
    """Before anybody reads what the UA says."""
    definition = context.site.directory / "uas" / "radicale.yml"
    definition.write_text(f"{definition.read_text()}capture: {{every_s: {every_s}}}\n")


@pytest.mark.parametrize("second", [SecondSession.READ_ONLY, SecondSession.BRANCH])
def test_opening_again_opens_a_second_session_and_says_what_it_is(
    context: Context, second: SecondSession
) -> None:
    """On a VM of its own; its mode is in the document, in the progress and in the audit chain."""
    said: list[str] = []
    object.__setattr__(context, "progress", said.append)
    made, name = opened(context, second)
    assert name != "s-1"
    assert find(made, name).to_document()["mode"] == str(second)
    assert find(made, "s-1").to_document()["mode"] == "writer"
    assert any(name in line and str(second) in line for line in said)
    (claimed,) = [
        event["result"]
        for event in audit_log.read(made.store, object_name=name)["events"]
        if event["action"] == "session.claim"
    ]
    assert claimed["mode"] == str(second)
    with pytest.raises(NoVmFits):
        session_claim.claim(made, AGAIN)


def test_end_of_a_read_only_session_stores_nothing_and_says_so(context: Context) -> None:
    """No capture is among its steps; the document and the progress say why; the VM is released."""
    said: list[str] = []
    object.__setattr__(context, "progress", said.append)
    made, name = opened(context, SecondSession.READ_ONLY)
    for check in (True, False):
        done = session.begin_close(made, name, check=check)
        assert (done["steps"], name in done["unsaved"]) == (["release"], True)
    assert any("nothing that it writes is stored" in line for line in said)
    with pytest.raises(Conflict, match=r"Cannot save session .* read-only"):
        session_guest.save(made, SaidGuest("vm-2"), name)
    assert session.release(made, name)["session"]["state"] == "closed"
    first = session.begin_close(made, "s-1")
    assert (first["steps"], first["unsaved"]) == (["capture", "release"], "")


def test_capture_of_a_read_only_session_is_refused_before_its_guest_is_asked(context: Context) -> None:
    """On demand, as a preview and by the timer, which passes it over; the hint names what there is."""
    timed(context, every_s=1)
    made, name = opened(context, SecondSession.READ_ONLY)
    guest = SaidGuest("vm-2")
    acts: list[Any] = [session_guest.capture, image_preview.preview]
    for act in acts:
        with pytest.raises(Conflict, match=r"Cannot capture session .* read-only") as refused:
            act(made, guest, name)
        assert refused.value.hint == "vmm session list"
    with pytest.raises(Conflict, match=r"Cannot put volume 's-0' into session .* read-only"):
        session_guest.restore(made, guest, name, orphan="s-0")
    assert guest.scripts == []
    with made.store.transaction() as tx:
        tx.execute("UPDATE sessions SET created_at = '2026-01-31T12:00:00.000000Z'")
    assert [each["session"] for each in image_due.due(made)["due"]] == ["s-1"]


def test_branch_is_due_by_its_own_saves(context: Context) -> None:
    """Those of the main line are not its own, and its own are no generations."""
    timed(context, every_s=3600)
    made_, name = opened(context, SecondSession.BRANCH)
    branch = find(made_, name)
    clock = FakeClock()
    assert image_due.due(made_)["due"] == []
    with made_.store.transaction() as tx:
        tx.execute("UPDATE sessions SET created_at = '2026-01-31T12:00:00.000000Z'")
    assert [each["session"] for each in image_due.due(made_)["due"]] == ["s-1", name]
    clock.advance(days=36500)
    generation, manifest = made(clock, 1, name, branch.fence)
    with made_.store.transaction() as tx:
        tx.execute("UPDATE sessions SET ua = 'cal'")
        orphans.add(tx, generation=generation, manifest=manifest, reason="a branch")
        tx.execute("UPDATE sessions SET ua = 'radicale'")
        tx.execute("UPDATE orphaned_generations SET ua = 'radicale'")
    assert [each["session"] for each in image_due.due(made_)["due"]] == ["s-1"]


@pytest.mark.parametrize("second", [SecondSession.READ_ONLY, SecondSession.BRANCH])
def test_session_that_writes_no_generation_stays_on_its_vm(
    context: Context, world: World, second: SecondSession
) -> None:
    """It may go to another terminal that its VM fits; to leave is refused before anything is changed."""
    made, name = opened(context, second)
    world.hypervisor.make("vm-3")
    with made.store.transaction() as tx:
        now = made.clock.now()
        vms.mark_clean(tx, vm="vm-3", now=now)
        active = DeploymentState.ACTIVE
        ledger.record(tx, vm="vm-3", ua="radicale", version="3.2.3", state=active, now=now)
    assert session_move.begin(made, name, STAY)["to"] == "vm-2"
    before = find(made, name)
    leave = session_move.Wish(terminal="phone", avoid=("vm-2",))
    for check in (True, False):
        with pytest.raises(Conflict, match=f"to VM 'vm-3': it is .*{second}") as refused:
            session_move.begin(made, name, leave, check=check)
    assert refused.value.hint == f"vmm session close {name}"
    assert find(made, name) == before
    assert session_move.begin(made, "s-1", LEAVE)["to"] == "vm-3"
