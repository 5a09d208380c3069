"""Watchers' tokens: needed where one was made, useless anywhere else, and kept nowhere in clear."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from vmm_automation.errors import NotPermitted, UsageError
from vmm_automation.model.access import access_from
from vmm_automation.operations import suspension, tokens, watcher
from vmm_automation.operations.context import Context
from vmm_automation.operations.identity import Identity
from vmm_automation.operations.session_listing import description
from vmm_automation.state import sessions, vms
from vmm_automation.state.audit_chain import canonical
from vmm_automation.state.store import Engine
from vmm_automation.state.tables import tables

from ..fake_clock import FakeClock
from .one_vm import context, vm

__all__ = ["context", "vm"]

REQUIRED = access_from({"operators": ["root"], "groups": {"ops": ["cleo"]}, "watcher_tokens": "required"})
OPTIONAL = replace(REQUIRED, tokens_required=False)
ROOT = Identity("root", access=REQUIRED)


def assign(store: Engine, clock: FakeClock, name: str, **more: Any) -> dict[str, Any]:
    asked = {"session": "s-1", "privileges": ["suspend", "view", "end"], "actor": "root", **more}
    return watcher.assign(store, clock, watcher=name, **asked)


def by(name: str, token: str = "", **more: Any) -> Identity:
    return Identity(name, access=OPTIONAL, token=token, **more)


def acquire(store: Engine, clock: FakeClock, who: Identity, **more: Any) -> dict[str, Any]:
    asked = {"session": "s-1", "watcher": who.name, "lease": timedelta(minutes=1), **more}
    return watcher.lock_acquire(store, clock, actor=who, **asked)


def everything(store: Engine) -> str:
    """All that the state holds, as text."""
    with store.reading() as tx:
        rows = {table.name: tx.all(f"SELECT * FROM {table.name}") for table in tables()}
    return json.dumps({name: [dict(row) for row in found] for name, found in rows.items()}, default=str)


def test_token_is_told_once_and_stored_as_a_hash(live: Engine, clock: FakeClock) -> None:
    """It is in the answer and nowhere in the state, the audit chain included; no second answer has it."""
    made = assign(live, clock, "bo", token=True)
    assert len(made["token"]) >= 43
    assert made["grant"]["protected"]
    assert made["token"] not in everything(live)
    assert tokens.hash_of(made["token"]) in everything(live)
    later = [
        watcher.list_watchers(live, clock, session="s-1"),
        watcher.history(live, session="s-1"),
        acquire(live, clock, by("bo", made["token"])),
        watcher.update(live, clock, session="s-1", watcher="bo", actor="root", reason="x"),
        assign(live, clock, "bo", idempotent=True, token=True, reason="y"),
    ]
    assert made["token"] not in canonical({"all": later}) + everything(live)
    assert tokens.hash_of(made["token"]) not in canonical({"all": later})
    assert made["token"] not in repr(by("bo", made["token"]))


def test_two_tokens_are_never_the_same() -> None:
    """Nor do they repeat anything of each other."""
    assert len({tokens.new_token()[0] for _ in range(1000)}) == 1000


WATCHER_VERBS: dict[str, Callable[[Context, Identity], Any]] = {
    "acquire": lambda c, who: acquire(c.store, c.clock, who, lease=timedelta(minutes=9)),  # type: ignore[arg-type]
    "renew": lambda c, who: watcher.lock_renew(
        c.store, c.clock, session="s-1", watcher="bo", actor=who, lease=timedelta(minutes=9)
    ),
    "release": lambda c, who: watcher.lock_release(c.store, c.clock, session="s-1", watcher="bo", actor=who),
    "hand over": lambda c, who: watcher.lock_hand_over(
        c.store, c.clock, session="s-1", watcher="bo", to="cy", actor=who
    ),
    "suspend": lambda c, who: suspension.suspend(acting(c, who), "s-1", watcher="bo"),
    "show": lambda c, who: description(c.store, "s-1", clock=c.clock, viewer=who),
}


def acting(context: Context, who: Identity) -> Context:
    site = replace(context.site, access=who.access)
    made = replace(context, site=site, actor=who.name, token=who.token)
    made.__dict__.update(store=context.store, hypervisor=context.hypervisor)
    return made


@pytest.mark.parametrize("verb", WATCHER_VERBS)
def test_verb_of_a_watcher_needs_the_token_of_the_grant(
    context: Context, clock: FakeClock, verb: str
) -> None:
    """Wrong, another Watcher's, another session's and the one before are all refused in the same words."""
    store, call = context.store, WATCHER_VERBS[verb]
    root: dict[str, Any] = {"session": "s-1", "actor": "root", "new_token": True}
    watcher.update(store, clock, watcher="bo", add=["view"], actor="root", session="s-1")
    old = watcher.update(store, clock, watcher="bo", **root)["token"]
    right = watcher.update(store, clock, watcher="bo", **root)["token"]
    others = watcher.update(store, clock, watcher="cy", **root)["token"]
    elsewhere = _other_session(store, clock)
    before = everything(store)
    with pytest.raises(NotPermitted, match="needs the token of its grant, and it was not given"):
        call(context, by("bo"))
    told = set()
    for wrong in (
        "x",
        old,
        others,
        elsewhere,
        f"{right}x",
        right[:-1],
        right.swapcase(),
        "\udcff",
        "a" * 9999,
    ):
        with pytest.raises(NotPermitted) as refused:
            call(context, by("bo", wrong))
        told.add((refused.value.message, str(refused.value.details)))
    assert len(told) == 1
    assert everything(store) == before
    assert call(context, by("bo", right))


def _other_session(store: Engine, clock: FakeClock) -> str:
    with store.transaction() as tx:
        vms.mark_clean(tx, vm="vm-2", now=clock.now())
        names: Any = {"session_id": "s-2", "user": "zoe", "ua": "cal", "version": "1", "vm": "vm-2"}
        sessions.claim(tx, **names, terminal="t", explanation={}, owner="", now=clock.now())
    made = assign(store, clock, "bo", session="s-2", token=True)
    return str(made["token"])


def test_token_ends_with_the_grant(live: Engine, clock: FakeClock) -> None:
    """Expired, revoked and assigned anew: the old token opens nothing."""
    token = assign(live, clock, "bo", token=True, duration=timedelta(minutes=5))["token"]
    acquire(live, clock, by("bo", token))
    clock.advance(minutes=5)
    with pytest.raises(NotPermitted, match="no valid grant"):
        acquire(live, clock, by("bo", token))
    second = assign(live, clock, "bo", token=True)["token"]
    with pytest.raises(NotPermitted, match="what was given is not it"):
        acquire(live, clock, by("bo", token))
    watcher.revoke(live, clock, session="s-1", watcher="bo", actor="root")
    with pytest.raises(NotPermitted, match="no valid grant"):
        acquire(live, clock, by("bo", second))


def test_update_keeps_the_token_unless_a_new_one_is_wanted(live: Engine, clock: FakeClock) -> None:
    """So does the assignment of a playbook with other values."""
    token = assign(live, clock, "bo", token=True)["token"]
    watcher.update(live, clock, session="s-1", watcher="bo", actor="root", extend=timedelta(hours=1))
    assert "token" not in assign(live, clock, "bo", idempotent=True, reason="new")
    assert acquire(live, clock, by("bo", token))["changed"]
    asked: dict[str, Any] = {"session": "s-1", "watcher": "bo", "actor": "root", "new_token": True}
    second = watcher.update(live, clock, **asked)["token"]
    with pytest.raises(NotPermitted):
        acquire(live, clock, by("bo", token))
    assert not acquire(live, clock, by("bo", second))["changed"]


def test_required_tokens_are_made_by_each_assignment(live: Engine, clock: FakeClock) -> None:
    """Without asking; and a grant from before the rule waits for one."""
    assign(live, clock, "bo")
    with pytest.raises(NotPermitted, match="none was made for it") as refused:
        acquire(live, clock, Identity("bo", access=REQUIRED))
    assert refused.value.hint == "vmm watcher update s-1 bo --new-token"
    made = assign(live, clock, "bo", actor=ROOT, idempotent=True)
    assert made["changed"]
    assert acquire(live, clock, Identity("bo", access=REQUIRED, token=made["token"]))["changed"]
    assert not assign(live, clock, "bo", actor=ROOT, idempotent=True)["changed"]
    assert assign(live, clock, "cy", actor=ROOT)["token"] != made["token"]


def test_group_shares_the_token_of_its_grant(live: Engine, clock: FakeClock) -> None:
    """A member without it is refused like anybody."""
    token = assign(live, clock, "ops", token=True)["token"]
    with pytest.raises(NotPermitted, match="'ops' needs the token"):
        acquire(live, clock, by("cleo"), watcher="ops")
    assert acquire(live, clock, by("cleo", token), watcher="ops")["right"]["holder"] == "ops"


def test_operator_needs_no_token_for_what_is_an_operators(live: Engine, clock: FakeClock) -> None:
    """Update, release, break and revoke without one; to acquire for the Watcher is not the operator's."""
    token = assign(live, clock, "bo", actor=ROOT)["token"]
    common: dict[str, Any] = {"session": "s-1", "actor": ROOT}
    mine = Identity("bo", access=REQUIRED, token=token)
    acquire(live, clock, mine)
    assert watcher.lock_release(live, clock, watcher="bo", **common)["changed"]
    acquire(live, clock, mine)
    assert watcher.lock_break(live, clock, reason="away", **common)["changed"]
    assert watcher.update(live, clock, watcher="bo", remove=["end"], **common)["changed"]
    with pytest.raises(NotPermitted, match="'root' is not watcher 'bo'"):
        acquire(live, clock, replace(ROOT, token=token), watcher="bo")
    assert watcher.revoke(live, clock, watcher="bo", **common)["changed"]


def test_token_guards_the_grant_from_the_login_of_a_site_without_operators(
    live: Engine, clock: FakeClock
) -> None:
    """Where everybody is an operator, a token that was made is still asked for."""
    assign(live, clock, "bo", token=True)
    for verb in (watcher.lock_acquire, watcher.lock_release):
        with pytest.raises(NotPermitted, match="needs the token"):
            verb(live, clock, session="s-1", watcher="bo", actor="linux")


def test_dry_run_makes_no_token(live: Engine, clock: FakeClock) -> None:
    """It says that one would be made, and hands none out."""
    handed: list[str] = []
    dry = assign(live, clock, "bo", token=True, check=True)
    assert (dry["changed"], dry["token"]) == (True, None)
    assert "token" not in assign(live, clock, "bo", token=True, check=True, deliver=handed.append)
    assign(live, clock, "bo", token=True)
    asked: dict[str, Any] = {"session": "s-1", "watcher": "bo", "actor": "root", "check": True}
    before = everything(live)
    assert watcher.update(live, clock, **asked, new_token=True)["token"] is None
    assert (handed, everything(live)) == ([], before)


def test_grant_is_not_kept_if_its_token_cannot_be_delivered(live: Engine, clock: FakeClock) -> None:
    """A file that cannot be written leaves the state as it was; a written one has what the answer has not."""
    file = Path(os.devnull) / "token"
    with pytest.raises(UsageError, match="Cannot write the Watcher's token"):
        assign(live, clock, "bo", token=True, deliver=lambda token: tokens.write_token(file, token))
    assert watcher.list_watchers(live, clock)["grants"] == []
    handed: list[str] = []
    assert "token" not in assign(live, clock, "bo", token=True, deliver=handed.append)
    assert acquire(live, clock, by("bo", handed[0]))["changed"]


def test_token_file_is_private_and_read_back(tmp_path: Path) -> None:
    """Mode 0600 whatever the umask, replacing what was there, with nothing left beside it."""
    file = tmp_path / "token"
    file.write_text("old")
    file.chmod(0o644)
    before = os.umask(0)
    try:
        tokens.write_token(file, "new")
    finally:
        os.umask(before)
    assert (file.stat().st_mode & 0o777, file.read_text()) == (0o600, "new\n")
    assert list(tmp_path.iterdir()) == [file]
    assert tokens.read_token(file) == "new"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o602, 0o610, 0o777])
def test_token_file_open_to_others_is_refused_with_the_mending(tmp_path: Path, mode: int) -> None:
    """Whoever can read it is the Watcher, whoever can write it decides who is not."""
    file = tmp_path / "token"
    tokens.write_token(file, "secret-token")
    file.chmod(mode)
    with pytest.raises(UsageError, match="other users may read or write it") as refused:
        tokens.read_token(file)
    assert refused.value.hint == f"chmod 600 {file}"
    assert "secret-token" not in refused.value.message


def test_what_is_no_token_file_is_refused(tmp_path: Path) -> None:
    """Absent, a directory, a pipe, empty, or far too large: told at once, without waiting or reading on."""
    os.mkfifo(tmp_path / "fifo", 0o600)
    for name, content in (("empty", ""), ("blank", " \n"), ("large", "x" * 5000)):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o600)
    for name in ("absent", "fifo", "empty", "blank", "large", "a\x00b", "."):
        with pytest.raises(UsageError, match="Cannot take the Watcher's token"):
            tokens.read_token(tmp_path / name)


def test_token_comes_from_the_option_then_the_variable_then_the_named_file(tmp_path: Path) -> None:
    """The nearest word wins; without any there is none."""
    for name in ("a", "b"):
        tokens.write_token(tmp_path / name, f"of-{name}")
    both = {tokens.TOKEN: " of-env\n", tokens.TOKEN_FILE: str(tmp_path / "b")}
    assert tokens.presented(both, str(tmp_path / "a")) == "of-a"
    assert tokens.presented(both) == "of-env"
    assert tokens.presented({tokens.TOKEN_FILE: str(tmp_path / "b")}) == "of-b"
    assert tokens.presented({}) == ""


def test_token_in_memory_is_gone_after_its_block() -> None:
    """Another program reads it by its path while the block lasts; it never was on a disk."""
    with tokens.in_memory("tok") as file:
        assert tokens.read_token(file) == "tok"
    assert not file.exists()
