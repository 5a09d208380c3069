"""VMs as linked clones: create, start, stop, rebuild, delete, each for a list of names at once.

Every verb ends in the asked-for state whatever an interrupted run left, and says per VM what it did and
how long each phase took. Several VMs are worked on at the same time; a lock per VM keeps two runs apart.

Create, stop, rebuild and delete are an operator's (NotPermitted); with ``by_site`` the site's definitions
have decided, as for a pool, and nobody is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from vmm_automation.adapters.lockfile import exclusive
from vmm_automation.errors import Conflict, Partial, UsageError, VmmError
from vmm_automation.model.names import check_name
from vmm_automation.model.session import SessionState
from vmm_automation.model.vm import VmState
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import note_vm, vm_change
from vmm_automation.operations.identity import require_operator
from vmm_automation.operations.vm_notes import note_rebuilt
from vmm_automation.operations.vm_work import (
    Work,
    create,
    park,
    prepare,
    rebuild,
    remove,
    shut_down,
    start,
)
from vmm_automation.state import ledger, sessions, vms
from vmm_automation.trace import point

_PARALLEL = 4


def present(
    context: Context,
    names: Sequence[str],
    *,
    profile: str,
    check: bool = False,
    parallel: int = _PARALLEL,
    by_site: bool = False,
) -> dict[str, Any]:
    """Make VMs of a profile exist, run and answer over SSH, at most ``parallel`` of them at a time.

    Raises:
        NotFound, SiteInvalid: no such profile, or it is wrong.
        Conflict: a VM exists with another profile.
        Partial: some VMs could be made and some not; those that failed left nothing behind.
        Timeout, GuestUnreachable, DiskFull, ...: the one VM, or every VM, failed that way.
    """
    _require_operator(context, verb="create", by_site=by_site)
    wanted = context.site.profile(profile)
    context.site.base_image(wanted.base_image)

    def plan(work: Work) -> str:
        vm = work.existing()
        if vm and vm.profile != profile:
            raise Conflict(
                f"VM '{work.name}' exists with profile '{vm.profile}', not '{profile}'",
                hint=f"vmm vm delete {work.name}",
                details={"vm": work.name, "profile": vm.profile},
            )
        if vm is None:
            return "create"
        return "" if vm.ready and vm.state is VmState.RUNNING else "start"

    def act(work: Work, action: str) -> None:
        if action == "create":
            create(work, wanted)
        else:
            start(work)
            note_vm(context, work.name, action="vm.start")

    if not check:
        prepare(context, wanted)
    return _for_each(context, names, plan=plan, act=act, check=check, parallel=parallel)


def started(context: Context, names: Sequence[str], *, check: bool = False) -> dict[str, Any]:
    """Make VMs run and answer over SSH. One that is paused because its session is suspended stays so."""

    def plan(work: Work) -> str:
        vm = context.hypervisor.vm(work.name)
        if vm.state is VmState.PAUSED and _is_suspended(context, work.name):
            return ""
        return "" if vm.state is VmState.RUNNING and vm.ready else "start"

    def act(work: Work, _action: str) -> None:
        start(work)
        note_vm(context, work.name, action="vm.start")

    return _for_each(context, names, plan=plan, act=act, check=check)


def stopped(
    context: Context,
    names: Sequence[str],
    *,
    force: bool = False,
    check: bool = False,
    by_site: bool = False,
) -> dict[str, Any]:
    """Shut VMs down gracefully; with ``force``, cut the power of one that does not within 90 s."""
    _require_operator(context, verb="stop", by_site=by_site)

    def plan(work: Work) -> str:
        vm = context.hypervisor.vm(work.name)
        _require_no_session(context, work.name, verb="stop", force=force)
        return "" if vm.state in {VmState.STOPPED, VmState.CRASHED, VmState.PARKED} else "stop"

    def act(work: Work, _action: str) -> None:
        work.phase("shutdown", lambda: shut_down(work, force=force))
        note_vm(context, work.name, action="vm.stop")

    return _for_each(context, names, plan=plan, act=act, check=check)


def parked(context: Context, names: Sequence[str], *, check: bool = False) -> dict[str, Any]:
    """Save VMs with their memory and switch them off; starting one resumes it where it was."""

    def plan(work: Work) -> str:
        vm = context.hypervisor.vm(work.name)
        _require_no_session(context, work.name, verb="park", force=False)
        return "park" if vm.state in {VmState.RUNNING, VmState.PAUSED} else ""

    def act(work: Work, _action: str) -> None:
        work.phase("park", lambda: park(work))
        note_vm(context, work.name, action="vm.park")

    return _for_each(context, names, plan=plan, act=act, check=check)


def rebuilt(
    context: Context, names: Sequence[str], *, allow_destroy: bool, check: bool = False
) -> dict[str, Any]:
    """Put VMs back on a fresh overlay of their base image; the ledger says which UAs were active on them.

    Each VM's document carries ``reinstall``: UA id to version, for the caller to deliver again
    (``deployment.restored``). Until that is done the VM counts as dirty, and whoever cleans it rebuilds it.
    """
    _require_operator(context, verb="rebuild")
    _require_allowed(allow_destroy, verb="rebuild")
    reinstall: dict[str, dict[str, str]] = {}

    def plan(work: Work) -> str:
        context.hypervisor.vm(work.name)
        _require_no_session(context, work.name, verb="rebuild", force=False)
        with context.store.reading() as tx:
            reinstall[work.name] = dict(ledger.active_versions(tx).get(work.name, {}))
        return "rebuild"

    def act(work: Work, _action: str) -> None:
        profile = context.site.profile(context.hypervisor.vm(work.name).profile)
        prepare(context, profile)
        _begin_rebuild(context, work.name)
        rebuild(work, profile)
        if not reinstall[work.name]:
            note_rebuilt(context, work.name, told={"profile": profile.name})
        point("vm.rebuild.recorded")

    result = _for_each(context, names, plan=plan, act=act, check=check)
    for name, document in result["vms"].items():
        document["reinstall"] = reinstall.get(name, {})
    return result


def _begin_rebuild(context: Context, name: str) -> None:
    with context.store.transaction() as tx:
        now = context.clock.now()
        with vm_change(tx, context, name, action="vm.begin_rebuild", now=now) as result:
            vms.mark_dirty(tx, vm=name, reason=vms.REBUILDING, now=now)
            ledger.forget_inactive(tx, vm=name)
            result |= {"status": "ok"}


def absent(
    context: Context,
    names: Sequence[str],
    *,
    allow_destroy: bool,
    check: bool = False,
    by_site: bool = False,
) -> dict[str, Any]:
    """Delete VMs with their disks and what the state store knows of them; absent twice is no change."""
    _require_operator(context, verb="delete", by_site=by_site)
    _require_allowed(allow_destroy, verb="delete")

    def plan(work: Work) -> str:
        _require_no_session(context, work.name, verb="delete", force=False)
        return "delete" if work.existing() or work.files.directory.exists() else ""

    def act(work: Work, _action: str) -> None:
        work.phase("delete", lambda: remove(work))
        with context.store.transaction() as tx:
            now = context.clock.now()
            with vm_change(tx, context, work.name, action="vm.delete", now=now) as result:
                ledger.forget_vm(tx, vm=work.name)
                vms.forget(tx, vm=work.name)
                result |= {"status": "ok"}
        point("vm.delete.recorded")

    return _for_each(context, names, plan=plan, act=act, check=check)


def _for_each(
    context: Context,
    names: Sequence[str],
    *,
    plan: Callable[[Work], str],
    act: Callable[[Work, str], None],
    check: bool,
    parallel: int = _PARALLEL,
) -> dict[str, Any]:
    """Plan every VM first, so that a wrong request changes nothing; then act on several at once."""
    if not names:
        raise UsageError("No VM was named", hint="vmm vm list")
    works = [Work(context, check_name("VM", name)) for name in dict.fromkeys(names)]
    actions = {work.name: plan(work) for work in works}
    documents: dict[str, dict[str, Any]] = {}
    failures: dict[str, VmmError] = {}

    def one(work: Work) -> None:
        try:
            with exclusive(work.files.lock, wait=False, what=f"VM '{work.name}'"):
                if action := plan(work):  # again, now that nobody else can change it
                    _act_or_note(work, action, act)
        except VmmError as failure:
            failures[work.name] = failure

    if not check:
        with ThreadPoolExecutor(max_workers=parallel) as pool:
            list(pool.map(one, [work for work in works if actions[work.name]]))
    for work in works:
        documents[work.name] = {"action": actions[work.name] or "none", "phases": work.phases}
        if work.name in failures:
            documents[work.name]["error"] = failures[work.name].to_document()
    if failures:
        raise _overall(failures, documents)
    return {"changed": any(actions.values()), "vms": documents}


def _act_or_note(work: Work, action: str, act: Callable[[Work, str], None]) -> None:
    try:
        act(work, action)
    except VmmError as failure:
        note_vm(work.context, work.name, action=f"vm.{action}", failure=failure)
        raise


def _overall(failures: dict[str, VmmError], documents: dict[str, dict[str, Any]]) -> VmmError:
    first = next(iter(failures.values()))
    kinds = {type(failure) for failure in failures.values()}
    if len(failures) == len(documents) and len(kinds) == 1:
        first.details.setdefault("vms", documents)
        return first
    names = ", ".join(sorted(failures))
    return Partial(
        f"{len(failures)} of {len(documents)} VMs failed ({names}); first: {first.message}",
        hint=first.hint,
        details={"vms": documents},
    )


def _require_operator(context: Context, *, verb: str, by_site: bool = False) -> None:
    if not by_site:
        require_operator(context.identity, doing=f"{verb} VMs")


def _require_allowed(allow_destroy: bool, *, verb: str) -> None:
    if not allow_destroy:
        raise UsageError(
            f"Cannot {verb} VMs: destruction is off unless asked for",
            hint="set vm_allow_destroy=true (vmm: --yes)",
        )


def _is_suspended(context: Context, name: str) -> bool:
    with context.store.reading() as tx:
        session = sessions.live_on_vm(tx, vm=name)
    return session is not None and session.state is SessionState.SUSPENDED


def _require_no_session(context: Context, name: str, *, verb: str, force: bool) -> None:
    with context.store.reading() as tx:
        session = sessions.live_on_vm(tx, vm=name)
    if session and not force:
        raise Conflict(
            f"Cannot {verb} VM '{name}': session '{session.id}' of user '{session.user}' is on it",
            hint=f"vmm session close {session.id}",
            details={"vm": name, "session": session.id},
        )
