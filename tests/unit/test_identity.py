"""Who may do what: operators by list, Watchers by grant, groups by their members."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from vmm_automation.errors import InvalidName, NotPermitted, VmmError
from vmm_automation.model.access import Access, access_from
from vmm_automation.model.session import SessionState
from vmm_automation.operations import audit_log, session, suspension, watcher
from vmm_automation.operations.context import Context
from vmm_automation.operations.identity import Identity, identify
from vmm_automation.operations.session_listing import description
from vmm_automation.state.store import Engine

from ..fake_clock import FakeClock
from .one_vm import context, vm

__all__ = ["context", "vm"]

SITE = access_from({"operators": ["ann", "root"], "groups": {"ops": ["cleo", "dora"]}})
HOSTILE = ["x'; DROP TABLE grants; --", 'a" OR 1=1', "a\x00b", "../../etc", "%s", "a b", ":name", "x" * 80]


def who(name: str, access: Access = SITE, *, login: str = "linux") -> Identity:
    """Somebody named by ``--as``."""
    return identify(name, login=login, door="cli", access=access)


def acting(context: Context, name: str, access: Access = SITE, *, login: str = "linux") -> Context:
    """The same for operations that have a context; its store and VM stay."""
    made = replace(context, site=replace(context.site, access=access), actor=name, login=login, door="cli")
    made.__dict__.update(store=context.store, hypervisor=context.hypervisor)
    return made


def assign(store: Engine, clock: FakeClock, name: str, *privileges: str, by: str | Identity = "root") -> Any:
    return watcher.assign(store, clock, session="s-1", watcher=name, privileges=privileges, actor=by)


def end_all_grants(context: Context) -> None:
    for name in ("bo", "cy"):
        watcher.revoke(context.store, context.clock, session="s-1", watcher=name, actor="root")


OPERATOR_VERBS: dict[str, Callable[[Engine, FakeClock, Identity], Any]] = {
    "assign": lambda s, c, by: assign(s, c, "di", "view", by=by),
    "update": lambda s, c, by: watcher.update(s, c, session="s-1", watcher="bo", add=["end"], actor=by),
    "revoke": lambda s, c, by: watcher.revoke(s, c, session="s-1", watcher="cy", actor=by),
    "break": lambda s, c, by: watcher.lock_break(s, c, session="s-1", reason="away", actor=by),
}


@pytest.mark.parametrize("verb", OPERATOR_VERBS)
def test_operator_verb_is_for_those_listed(context: Context, clock: FakeClock, verb: str) -> None:
    """Others are refused with the names of those who may and change nothing; an entry has both names."""
    store = context.store
    before = audit_log.read(store)["events"]
    for name in ("eve", "bo", "cleo", "linux"):
        with pytest.raises(NotPermitted, match="is no operator of this site, only ann, root"):
            OPERATOR_VERBS[verb](store, clock, who(name))
    assert audit_log.read(store)["events"] == before
    OPERATOR_VERBS[verb](store, clock, who("ann"))
    entry = audit_log.read(store)["events"][-1]
    assert (entry["actor"], entry["from"]["user"], entry["from"]["door"]) == ("ann", "linux", "cli")


@pytest.mark.parametrize("verb", OPERATOR_VERBS)
def test_without_a_list_everybody_is_an_operator(context: Context, clock: FakeClock, verb: str) -> None:
    """A site that says nothing of people asks nothing of them."""
    assert OPERATOR_VERBS[verb](context.store, clock, who("eve", Access()))["changed"]


def test_listed_operator_who_watches_the_session_cannot_break_its_right(
    context: Context, clock: FakeClock
) -> None:
    """Neither by an own grant nor by a group's; once these are gone, it is the operator's again."""
    access = replace(SITE, operators=frozenset({"ann", "cleo"}))
    store = context.store
    assign(store, clock, "ann", "view")
    assign(store, clock, "ops", "view")
    for name in ("ann", "cleo"):
        with pytest.raises(NotPermitted, match="only the operator may"):
            watcher.lock_break(store, clock, session="s-1", actor=who(name, access), reason="mine")
    watcher.revoke(store, clock, session="s-1", watcher="ops", actor="root")
    watcher.lock_break(store, clock, session="s-1", actor=who("cleo", access), reason="bo is away")


LOCK_VERBS: dict[str, Callable[[Engine, FakeClock, Identity], Any]] = {
    "acquire": lambda s, c, by: watcher.lock_acquire(
        s, c, session="s-1", watcher="bo", actor=by, lease=timedelta(minutes=9)
    ),
    "renew": lambda s, c, by: watcher.lock_renew(
        s, c, session="s-1", watcher="bo", actor=by, lease=timedelta(minutes=9)
    ),
    "hand over": lambda s, c, by: watcher.lock_hand_over(
        s, c, session="s-1", watcher="bo", to="cy", actor=by
    ),
    "release": lambda s, c, by: watcher.lock_release(s, c, session="s-1", watcher="bo", actor=by),
}


@pytest.mark.parametrize("verb", LOCK_VERBS)
def test_watcher_verb_is_the_watchers_own(context: Context, clock: FakeClock, verb: str) -> None:
    """Another Watcher and a bystander are refused, an operator too but for the release."""
    for name in ("cy", "eve", "linux", *["ann"] * (verb != "release")):
        with pytest.raises(NotPermitted, match="is not watcher 'bo'"):
            LOCK_VERBS[verb](context.store, clock, who(name))
    assert LOCK_VERBS[verb](context.store, clock, who("ann" if verb == "release" else "bo"))["changed"]


@pytest.mark.parametrize("verb", LOCK_VERBS)
def test_on_a_site_without_a_list_the_login_acts_for_anyone_and_a_named_person_does_not(
    context: Context, clock: FakeClock, verb: str
) -> None:
    """The embedded machine's only user needs no --as; whoever says to be cy is not bo."""
    with pytest.raises(NotPermitted, match="is not watcher 'bo'"):
        LOCK_VERBS[verb](context.store, clock, who("cy", Access()))
    assert LOCK_VERBS[verb](context.store, clock, who("", Access()))["changed"]


def test_member_acts_for_the_group_that_is_a_watcher(context: Context, clock: FakeClock) -> None:
    """Cleo acquires for ops, suspends without naming it, dora resumes; the chain has who it was."""
    store = context.store
    assign(store, clock, "ops", "suspend", "view")
    watcher.lock_release(store, clock, session="s-1", watcher="bo", actor="bo")
    watcher.lock_acquire(store, clock, session="s-1", watcher="ops", actor=who("cleo"))
    with pytest.raises(NotPermitted, match="'eve' is no member of group 'ops'"):
        watcher.lock_renew(store, clock, session="s-1", watcher="ops", actor=who("eve"))
    suspension.suspend(acting(context, "cleo"), "s-1", watcher="cleo")
    assert suspension.resume(acting(context, "dora"), "s-1", watcher="dora")["changed"]
    suspended, resumed = audit_log.read(store, object_name="s-1")["events"][-2:]
    assert (suspended["actor"], suspended["result"]["watcher"]) == ("cleo", "ops")
    assert (resumed["actor"], resumed["from"]["user"]) == ("dora", "linux")
    assert description(store, "s-1", clock=clock, viewer=who("dora"))["right"]["holder"] == "ops"


def test_member_with_a_grant_of_her_own_acts_as_the_one_who_holds_the_right(
    context: Context, clock: FakeClock
) -> None:
    """Cleo watches herself and by ops; whichever of the two holds the right, she may suspend."""
    for name in ("cleo", "ops"):
        assign(context.store, clock, name, "suspend")
    by_cleo = acting(context, "cleo")
    with pytest.raises(VmmError, match="watcher 'bo' holds"):
        suspension.suspend(by_cleo, "s-1", watcher="cleo")
    watcher.lock_release(context.store, clock, session="s-1", watcher="bo", actor="bo")
    for holder in ("cleo", "ops"):
        watcher.lock_acquire(context.store, clock, session="s-1", watcher=holder, actor=who("cleo"))
        assert suspension.suspend(by_cleo, "s-1", watcher="cleo")["changed"]
        assert suspension.resume(by_cleo, "s-1", watcher="cleo")["changed"]
        watcher.lock_release(context.store, clock, session="s-1", watcher=holder, actor=who("cleo"))


@pytest.mark.parametrize("verb", [*OPERATOR_VERBS, *LOCK_VERBS])
def test_group_is_nobody_who_acts(context: Context, clock: FakeClock, verb: str) -> None:
    """A login that is named like a group does not act as all of its members."""
    call = {**OPERATOR_VERBS, **LOCK_VERBS}[verb]
    for by in (who("ops"), who("", login="ops"), who("ops", replace(SITE, operators=frozenset()))):
        with pytest.raises(NotPermitted, match="is a group of this site, and only people act"):
            call(context.store, clock, by)


def test_suspended_session_is_resumed_by_a_listed_operator_and_nobody_else(
    context: Context, clock: FakeClock
) -> None:
    """With and without --as; a bystander is told who may."""
    for by, named in (("ann", None), ("ann", "ann")):
        suspension.suspend(acting(context, "bo"), "s-1", watcher="bo")
        with pytest.raises(NotPermitted, match="only ann, root"):
            suspension.resume(acting(context, "eve"), "s-1")
        with pytest.raises(NotPermitted, match="'eve' has no valid grant"):
            suspension.resume(acting(context, "eve"), "s-1", watcher="eve")
        assert suspension.resume(acting(context, by), "s-1", watcher=named)["changed"]
    end_all_grants(context)
    clock.advance(minutes=1)
    with pytest.raises(NotPermitted, match="'bo' has no valid grant"):
        suspension.suspend(acting(context, "bo"), "s-1", watcher="bo")


@pytest.mark.parametrize("access", [SITE, Access()], ids=["operators", "no operators"])
def test_session_is_closed_by_a_watcher_with_end_only(
    context: Context, clock: FakeClock, access: Access
) -> None:
    """A Watcher without it, one without a grant and one whose grant is yet to start are refused."""
    store = context.store
    watcher.assign(
        store, clock, session="s-1", watcher="di", privileges=["end"], actor="root", starts=timedelta(hours=1)
    )
    for name, why in (
        ("bo", "lacks the privilege 'end'"),
        ("eve", "no valid grant"),
        ("di", "no valid grant"),
    ):
        with pytest.raises(NotPermitted, match=why):
            session.begin_close(acting(context, name, access), "s-1")
    assert session.find(context, "s-1").state is SessionState.ACTIVE
    watcher.update(store, clock, session="s-1", watcher="bo", add=["end"], actor="root")
    dry = session.begin_close(acting(context, "bo", access), "s-1", check=True)
    assert (dry["changed"], session.find(context, "s-1").state) == (True, SessionState.ACTIVE)
    session.begin_close(acting(context, "bo", access), "s-1")
    entry = audit_log.read(store, object_name="s-1")["events"][-1]
    assert (entry["action"], entry["actor"], entry["from"]["user"]) == ("session.close", "bo", "linux")


def test_session_is_closed_by_an_operator(context: Context) -> None:
    """The listed one; on a site without a list, the login."""
    with pytest.raises(NotPermitted):
        session.begin_close(acting(context, "linux"), "s-1")
    assert session.begin_close(acting(context, "ann"), "s-1", check=True)["changed"]
    assert session.begin_close(acting(context, "linux", Access()), "s-1", check=True)["changed"]


def test_limit_of_the_site_closes_a_session_whoever_reconciles(context: Context, clock: FakeClock) -> None:
    """Not before it is overdue; then what runs from a timer needs to be no operator."""
    policies = replace(context.site.policies, session_max_s=3600)
    timer = acting(context, "linux")
    limited = replace(timer, site=replace(timer.site, policies=policies))
    limited.__dict__.update(store=context.store, hypervisor=context.hypervisor)
    with pytest.raises(NotPermitted):
        session.begin_close(limited, "s-1")
    clock.advance(hours=1)
    assert session.begin_close(limited, "s-1")["changed"]


def test_session_is_shown_to_a_watcher_with_view_only(context: Context, clock: FakeClock) -> None:
    """The document is the operator's; 'view' by a group counts."""
    assign(context.store, clock, "ops", "view")

    def shown(viewer: Identity | None) -> Any:
        return description(context.store, "s-1", clock=clock, viewer=viewer)

    for name in ("bo", "eve"):
        with pytest.raises(NotPermitted, match="Cannot show session 's-1'"):
            shown(who(name))
    assert shown(who("cleo")) == shown(who("ann")) == shown(None)
    assert [grant["watcher"] for grant in shown(None)["grants"]] == ["bo", "cy", "ops"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_name_reaches_nothing(context: Context, clock: FakeClock, name: str) -> None:
    """SQL, control characters and paths in --as are no person's name; in a reason they are only text."""
    with pytest.raises(InvalidName):
        who(name)
    reason = name.replace("\x00", "")
    done = watcher.assign(
        context.store, clock, session="s-1", watcher="di", privileges=["view"], actor="root", reason=reason
    )
    assert done["grant"]["reason"] == reason
    watcher.lock_break(context.store, clock, session="s-1", actor="root", reason=reason)
    assert watcher.history(context.store, session="s-1")["history"][-1]["reason"] == reason
    assert audit_log.verify(context.store)["valid"]


def test_privilege_of_an_expired_grant_is_none(context: Context, clock: FakeClock) -> None:
    """What was granted for an hour permits nothing after it."""
    watcher.update(context.store, clock, session="s-1", watcher="bo", add=["view", "end"], actor="root")
    assert description(context.store, "s-1", clock=clock, viewer=who("bo"))
    clock.advance(hours=2)
    with pytest.raises(NotPermitted, match="no valid grant"):
        description(context.store, "s-1", clock=clock, viewer=who("bo"))
    with pytest.raises(NotPermitted, match="no valid grant"):
        session.begin_close(acting(context, "bo"), "s-1")
