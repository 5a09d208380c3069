"""Generations: numbered without gaps, written only by the newest session."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.claims import claim
from vmm_automation.errors import Conflict, NotFound
from vmm_automation.model.image import FileEntry, Generation, Manifest
from vmm_automation.model.session import Session, SessionState
from vmm_automation.model.times import to_text
from vmm_automation.state import generations, sessions, vms
from vmm_automation.state.store import Engine, Tx

from ..fake_clock import FakeClock


def run(tx: Tx, clock: FakeClock, name: str, vm: str, *, end: bool = True) -> Session:
    """A session of ann's calendar."""
    vms.mark_clean(tx, vm=vm, now=clock.now())
    session = claim(tx, name, vm=vm, now=clock.now())
    if end:
        sessions.move_to(
            tx,
            session_id=name,
            state=SessionState.FAILED,
            expected=frozenset({SessionState.STARTING}),
            now=clock.now(),
        )
    return session


def made(clock: FakeClock, number: int, session: str, fence: int) -> tuple[Generation, Manifest]:
    manifest = Manifest(
        user="ann",
        ua="cal",
        ua_version="1",
        data_version=1,
        generation=number,
        parent=number - 1,
        session=session,
        fence=fence,
        captured_at=to_text(clock.now()),
        consistency="stopped",
        files=(FileEntry("é.txt", "file", "settings", 3, 0o600, 1, "ab" * 32),),
    )
    generation = Generation(
        user="ann",
        ua="cal",
        number=number,
        archive=f"ann-cal-{number}",
        root_digest=manifest.root_digest,
        size=manifest.size,
        file_count=1,
        ua_version="1",
        data_version=1,
        session=session,
        fence=fence,
        captured_at=manifest.captured_at,
    )
    return generation, manifest


def add(tx: Tx, clock: FakeClock, number: int, session: str, fence: int) -> Generation:
    generation, manifest = made(clock, number, session, fence)
    return generations.add(tx, generation=generation, manifest=manifest)


def test_generations_are_numbered_and_read_back(store: Engine, clock: FakeClock) -> None:
    """What was added is found by number and as the newest, with its manifest."""
    with store.transaction() as tx:
        assert generations.next_number(tx, user="ann", ua="cal") == 1
        session = run(tx, clock, "s-1", "vm-1")
        rows = [add(tx, clock, number, "s-1", session.fence) for number in (1, 2)]
    with store.reading() as snapshot:
        assert generations.next_number(snapshot, user="ann", ua="cal") == 3
        assert generations.get(snapshot, user="ann", ua="cal") == rows[1]
        assert generations.get(snapshot, user="ann", ua="cal", number=1) == rows[0]
        manifest = generations.get_manifest(snapshot, user="ann", ua="cal", number=2)
        assert manifest == made(clock, 2, "s-1", session.fence)[1]
        assert generations.list_generations(snapshot) == rows
        assert generations.newest(snapshot, user="ann", ua="cal") == rows[1]
        assert generations.newest(snapshot, user="bo", ua="cal") is None
        assert generations.list_generations(snapshot, user="ann", ua="cal") == rows
        assert generations.list_generations(snapshot, user="bo") == []
        for number in (None, 7):
            with pytest.raises(NotFound):
                generations.get(snapshot, user="bo" if number is None else "ann", ua="cal", number=number)


@pytest.mark.parametrize("number", [0, 1, 3, -1])
def test_number_that_is_not_the_next_is_refused(store: Engine, clock: FakeClock, number: int) -> None:
    """No gap, no overwriting."""
    with store.transaction() as tx:
        session = run(tx, clock, "s-1", "vm-1")
        add(tx, clock, 1, "s-1", session.fence)
        with pytest.raises(Conflict, match="the next number is 2"):
            add(tx, clock, number, "s-1", session.fence)


def test_stale_session_cannot_write(store: Engine, clock: FakeClock) -> None:
    """Once a newer session was claimed, on whatever VM, an older one adds nothing."""
    with store.transaction() as tx:
        for _ in range(3):  # vm-1 has seen more sessions than vm-2
            vms.next_fence(tx)
        old = run(tx, clock, "s-old", "vm-1")
        clock.advance(days=-1)
        new = run(tx, clock, "s-new", "vm-2", end=False)
        with pytest.raises(Conflict, match="stale"):
            add(tx, clock, 1, "s-old", old.fence)
        add(tx, clock, 1, "s-new", new.fence)
        with pytest.raises(Conflict, match="stale"):
            add(tx, clock, 2, "s-old", old.fence)


def test_session_of_another_or_with_another_fence_cannot_write(store: Engine, clock: FakeClock) -> None:
    """A writer is what it says it is."""
    with store.transaction() as tx:
        session = run(tx, clock, "s-1", "vm-1")
        for name, fence in (("s-1", session.fence + 1), ("s-2", session.fence)):
            with pytest.raises(Conflict, match="is not theirs with fence"):
                add(tx, clock, 1, name, fence)
        generation, manifest = made(clock, 1, "s-1", session.fence)
        with pytest.raises(Conflict, match="is not theirs"):
            generations.add(tx, generation=replace(generation, user="bo"), manifest=manifest)


def test_import_waits_for_the_end_of_the_session(store: Engine, clock: FakeClock) -> None:
    """Beside a running session an import would be overwritten: refused; after the end it is the next."""
    with store.transaction() as tx:
        session = run(tx, clock, "s-1", "vm-1", end=False)
        fence = generations.newest_fence(tx, user="ann", ua="cal")
        assert fence == session.fence
        with pytest.raises(Conflict, match="'s-1' is running"):
            add(tx, clock, 1, "", fence)
        tx.execute("UPDATE sessions SET state = 'closed'")
        assert add(tx, clock, 1, "", fence).number == 1


def test_manifest_of_twenty_thousand_files_is_stored(store: Engine, clock: FakeClock) -> None:
    """A large profile's manifest fits, and listing generations does not read it."""
    entry = FileEntry("p", "file", "settings", 3, 0o600, 1, "ab" * 32)
    with store.transaction() as tx:
        session = run(tx, clock, "s-1", "vm-1")
        generation, manifest = made(clock, 1, "s-1", session.fence)
        many = replace(manifest, files=tuple(replace(entry, path=f"dir/{n}") for n in range(20_000)))
        generations.add(tx, generation=generation, manifest=many)
        assert generations.get_manifest(tx, user="ann", ua="cal") == many
