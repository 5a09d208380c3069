"""Files that are not imported, and leave the state as it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from vmm_automation.errors import ArtifactInvalid, RuleBroken, StateUnusable
from vmm_automation.operations.state_transfer import export_state, import_state
from vmm_automation.state import schema, sessions
from vmm_automation.state.sqlite import SqliteStore
from vmm_automation.state.store import Engine

from ..fake_clock import FakeClock
from .filled_state import fill


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def cut_at_a_line(content: bytes) -> bytes:
    return b"".join(content.splitlines(keepends=True)[:-1])


def without_a_row(content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    return b"".join(lines[:5] + lines[6:])


def altered(content: bytes) -> bytes:
    return content.replace(b'"session_fence","value":', b'"session_fence","value":1')


def longer(content: bytes) -> bytes:
    return content + b"{}\n"


def other_kind(_content: bytes) -> bytes:
    return b'{"format":"something else","schema":1}\n'


def empty(_content: bytes) -> bytes:
    return b""


def binary(_content: bytes) -> bytes:
    return b"\xff\x00SQLite format 3"


@pytest.mark.parametrize(
    "damage", [cut, cut_at_a_line, without_a_row, altered, longer, other_kind, empty, binary]
)
def test_damaged_file_is_refused_and_nothing_kept(
    store: Engine, clock: FakeClock, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    """Cut anywhere, altered or not ours at all: the state stays as it is."""
    path = tmp_path / "state.jsonl"
    with SqliteStore.open(tmp_path / "from" / "state.db") as source:
        fill(source, clock)
        export_state(source, path=path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ArtifactInvalid):
        import_state(store, path=path)
    with store.reading() as tx:
        assert sessions.list_sessions(tx) == []


def resealed(path: Path, change: Callable[[list[dict[str, object]]], None]) -> None:
    """Alter a file as somebody does who knows how to make its sum right again."""
    lines = [json.loads(line) for line in path.read_bytes().splitlines()][:-1]
    change(lines)
    text = b"".join(
        json.dumps(line, sort_keys=True, separators=(",", ":")).encode() + b"\n" for line in lines
    )
    tail = {"rows": len(lines) - 1, "sha256": hashlib.sha256(text).hexdigest()}
    path.write_bytes(text + json.dumps(tail).encode() + b"\n")


@pytest.mark.parametrize(
    "row", [{"name) SELECT 1; --": "x"}, {"name": 1.5}, {"name": ["x"]}, {}, {"value": 2**63}]
)
def test_row_that_does_not_fit_is_refused(store: Engine, tmp_path: Path, row: dict[str, object]) -> None:
    """A file made by hand gets no SQL of its own in, and no values that the engines do not share."""
    path = tmp_path / "state.jsonl"
    export_state(store, path=path)
    resealed(path, lambda lines: lines.append({"table": "counters", "row": row}))
    with pytest.raises(ArtifactInvalid, match="does not fit"):
        import_state(store, path=path)


def test_rows_that_break_a_rule_are_refused(store: Engine, clock: FakeClock, tmp_path: Path) -> None:
    """Two live sessions on a VM do not come in through a file either; all of the import is undone."""
    path = tmp_path / "state.jsonl"
    with SqliteStore.open(tmp_path / "from" / "state.db") as source:
        fill(source, clock)
        export_state(source, path=path)

    def double(lines: list[dict[str, object]]) -> None:
        row = next(line["row"] for line in lines if line.get("table") == "sessions")
        assert isinstance(row, dict)
        twin = {**row, "id": "s-twin", "fence": 99, "vm": "vm-live", "user_name": "di", "state": "active"}
        lines.insert(-1, {"table": "sessions", "row": twin})

    resealed(path, double)
    with pytest.raises(RuleBroken):
        import_state(store, path=path)
    with store.reading() as tx:
        assert sessions.list_sessions(tx) == []


def test_export_of_a_newer_version_is_refused(store: Engine, tmp_path: Path) -> None:
    """What this version cannot know it does not take apart."""
    path = tmp_path / "state.jsonl"
    export_state(store, path=path)
    resealed(path, lambda lines: lines[0].update({"schema": schema.VERSION + 1}))
    with pytest.raises(StateUnusable, match="newer version"):
        import_state(store, path=path)
