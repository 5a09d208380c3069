"""How a VM is proven clean after a session, and which snapshot stands for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vmm_automation.adapters.libvirt import LibvirtHypervisor
from vmm_automation.errors import Conflict, NotFound, SiteInvalid, TaskFailed
from vmm_automation.model.session import LIVE, SessionState
from vmm_automation.model.ua import DeploymentState
from vmm_automation.model.vm import VmCondition, VmState
from vmm_automation.operations import audit_log, clean_snapshot, cleaning
from vmm_automation.operations.context import Context
from vmm_automation.ports import GuestResult
from vmm_automation.site import Cleanliness, Site
from vmm_automation.state import ledger, pools, sessions, vms

from ..fake_clock import FakeClock
from ..made_site import NAME, make_site
from .one_vm import OneVm, context, vm
from .test_lease_end import with_policies

__all__ = ["context", "vm"]


class SaidGuest:
    """Implements ``ports.Guest``: keeps what it was asked to run, and answers each with ``left``."""

    def __init__(self, name: str = "vm-1", *, left: str = "") -> None:
        self.name = name
        self.left = left
        self.scripts: list[str] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def run(self, script: str, *, stdin: bytes = b"") -> GuestResult:
        """Nothing is there but what is left."""
        del stdin
        self.meanwhile()
        self.scripts.append(script)
        return GuestResult(0, self.left if "stop_processes" in script else "", "")

    def put(self, local: Path, remote: str) -> None:
        """Not asked for here."""

    def fetch(self, remote: str, local: Path, *, limit: int) -> None:
        """Not asked for here."""


@pytest.fixture
def guest() -> SaidGuest:
    return SaidGuest()


@pytest.fixture
def said(context: Context) -> list[str]:
    """What is told to the operator from now on."""
    told: list[str] = []
    object.__setattr__(context, "progress", told.append)
    return told


def record(context: Context, version: str, state: DeploymentState) -> None:
    with context.store.transaction() as tx:
        now = context.clock.now()
        ledger.record(tx, vm="vm-1", ua="cal", version=version, state=state, now=now)


def end_session(context: Context) -> None:
    """The VM is dirty, and nobody is on it."""
    with context.store.transaction() as tx:
        now = context.clock.now()
        vms.mark_dirty(tx, vm="vm-1", reason="test", now=now)
        sessions.move_to(tx, session_id="s-1", state=SessionState.FAILED, expected=LIVE, now=now)


def condition(context: Context) -> VmCondition:
    with context.store.reading() as tx:
        return vms.condition(tx, vm="vm-1")


def test_snapshot_is_taken_once_for_the_uas_that_are_there(context: Context, vm: OneVm) -> None:
    """The second session finds it, and one entry of the audit chain tells of it."""
    first = clean_snapshot.ensure(context, "vm-1")
    assert [first] == vm.kept == [clean_snapshot.ensure(context, "vm-1")]
    assert clean_snapshot.current(context, "vm-1") == first
    told = [event["action"] for event in audit_log.read(context.store, object_name="vm-1")["events"]]
    assert told.count("vm.snapshot") == 1


def test_snapshot_is_stale_once_a_ua_was_changed_even_back_again(
    context: Context, vm: OneVm, clock: FakeClock
) -> None:
    """Installed, updated, removed, and returned to the same version: each asks for a new one."""
    seen: set[str | None] = set()
    changes = [
        ("1", DeploymentState.ACTIVE),
        ("2", DeploymentState.ACTIVE),
        ("1", DeploymentState.ACTIVE),
        ("2", DeploymentState.REMOVED),
        ("1", DeploymentState.FAILED),
    ]
    for version, state in changes:
        before = clean_snapshot.ensure(context, "vm-1")
        assert before not in seen
        seen.add(before)
        clock.advance(seconds=1)
        record(context, version, state)
        assert clean_snapshot.current(context, "vm-1") is None
        assert vm.kept == [before]
    assert clean_snapshot.ensure(context, "vm-1") not in seen
    assert len(vm.kept) == 1


def test_snapshot_of_an_operator_is_left_alone(context: Context, vm: OneVm) -> None:
    """Only those that were taken here are removed."""
    vm.kept.append("before-my-upgrade")
    name = clean_snapshot.ensure(context, "vm-1")
    assert vm.kept == ["before-my-upgrade", name]
    clean_snapshot.forget(context, "vm-1")
    assert vm.kept == ["before-my-upgrade"]


@pytest.mark.parametrize("policy", [Cleanliness.SCRUB, Cleanliness.REBUILD])
def test_no_snapshot_is_taken_where_the_site_does_not_want_it(
    context: Context, vm: OneVm, policy: Cleanliness
) -> None:
    """It would cost disk for nothing."""
    assert clean_snapshot.ensure(with_policies(context, cleanliness=policy), "vm-1") is None
    assert vm.kept == []


def test_session_opens_where_no_snapshot_can_be_taken(context: Context, vm: OneVm, said: list[str]) -> None:
    """Libvirt's reason is told, and what it means."""
    vm.refuses_snapshots = "internal snapshots are not possible here"
    assert clean_snapshot.ensure(context, "vm-1") is None
    assert said == [
        "VM 'vm-1' will be scrubbed after the session, for it has no snapshot: "
        "internal snapshots are not possible here"
    ]


def test_vm_started_while_clean_forgets_its_snapshot_but_not_while_dirty(context: Context, vm: OneVm) -> None:
    """What an operator changed and restarted stays; what a user did is taken back."""
    kept = clean_snapshot.ensure(context, "vm-1")
    with context.store.transaction() as tx:
        vms.mark_dirty(tx, vm="vm-1", reason="test", now=context.clock.now())
    clean_snapshot.forget_if_clean(context, "vm-1")
    assert vm.kept == [kept]
    with context.store.transaction() as tx:
        vms.mark_clean(tx, vm="vm-1", now=context.clock.now())
    clean_snapshot.forget_if_clean(context, "vm-1")
    assert vm.kept == []


def test_vm_without_a_snapshot_is_scrubbed_and_that_is_said(
    context: Context, guest: SaidGuest, said: list[str]
) -> None:
    """The result names the way and why it was not the wanted one."""
    end_session(context)
    wanted = cleaning.clean(context, guest, check=True)
    done = cleaning.clean(context, guest)
    assert done["cleaned_by"] == wanted["cleaned_by"] == "scrub"
    assert condition(context) is VmCondition.CLEAN
    assert done["fallback"] == "it has no snapshot from before the session with its present UAs"
    assert said == [f"VM 'vm-1' is scrubbed instead of taken back: {done['fallback']}"]


def test_vm_that_cannot_be_taken_back_is_scrubbed_and_its_snapshot_removed(
    context: Context, vm: OneVm, guest: SaidGuest, said: list[str]
) -> None:
    """A snapshot that failed once is not relied on again."""
    name = clean_snapshot.ensure(context, "vm-1")
    end_session(context)
    assert cleaning.clean(context, guest, check=True)["actions"] == [f"go back to snapshot {name}"]
    vm.refuses_snapshots = "the disk is broken"
    done = cleaning.clean(context, guest)
    assert (done["cleaned_by"], done["fallback"], vm.kept) == ("scrub", "the disk is broken", [])
    assert condition(context) is VmCondition.CLEAN
    assert said == ["VM 'vm-1' is scrubbed instead of taken back: the disk is broken"]


def test_policy_scrub_leaves_a_snapshot_of_before_alone(context: Context, guest: SaidGuest) -> None:
    """A site that changes its policy is obeyed at once, and nothing is said of falling back."""
    clean_snapshot.ensure(context, "vm-1")
    end_session(context)
    done = cleaning.clean(with_policies(context, cleanliness=Cleanliness.SCRUB), guest)
    assert (done["cleaned_by"], done["fallback"]) == ("scrub", None)


def test_vm_stays_dirty_where_anything_is_left(context: Context) -> None:
    """Nothing but the last step calls it clean."""
    end_session(context)
    with pytest.raises(TaskFailed, match="1 items are left"):
        cleaning.clean(context, SaidGuest(left="path /tmp/held\n"))
    assert condition(context) is VmCondition.DIRTY


def test_vm_whose_rebuild_was_cut_off_is_rebuilt_whatever_the_site_wants(
    context: Context, guest: SaidGuest
) -> None:
    """Its UAs may be in the ledger and not in its guest, which no scrubbing would find."""
    end_session(context)
    with context.store.transaction() as tx:
        vms.mark_dirty(tx, vm="vm-1", reason=vms.REBUILDING, now=context.clock.now())
    planned = cleaning.clean(context, guest, check=True)
    assert (planned["cleaned_by"], planned["fallback"]) == ("rebuild", None)


def test_vm_in_use_or_clean_is_not_touched(context: Context, guest: SaidGuest, vm: OneVm) -> None:
    """A late second cleaning takes nothing from the next user."""
    clean_snapshot.ensure(context, "vm-1")
    with pytest.raises(Conflict, match="session 's-1' is active on it"):
        cleaning.clean(context, guest)
    end_session(context)
    with context.store.transaction() as tx:
        vms.mark_clean(tx, vm="vm-1", now=context.clock.now())
    for check in (True, False):
        assert cleaning.clean(context, guest, check=check) == {"changed": False, "cleaned": "vm-1"}
    assert (guest.scripts, vm.went_back) == ([], [])


@pytest.mark.parametrize("ours", [True, False])
def test_vm_that_a_refill_reserved_while_it_was_cleaned_is_clean_only_for_the_refill(
    context: Context, guest: SaidGuest, ours: bool
) -> None:
    """What the refill does to it is not over; where the cleaning is its last step, both end in one write."""
    end_session(context)

    def reserve() -> None:
        with context.store.transaction() as tx:
            now = context.clock.now()
            pools.reserve(tx, vm="vm-1", reason="pool 'p': leave", now=now)

    with context.store.transaction() as tx:
        pools.add(tx, vm="vm-1", pool="p", now=context.clock.now())
    guest.meanwhile = reserve
    if ours:
        reserve()
        assert cleaning.clean(context, guest, reserved=True)["changed"]
    else:
        with pytest.raises(Conflict, match="worked on by pool 'p': leave") as raised:
            cleaning.clean(context, guest)
        assert raised.value.hint == "vmm pool refill"
    assert (condition(context) is VmCondition.CLEAN) is ours
    with context.store.reading() as after:
        assert ("vm-1" in pools.reserved(after)) is not ours


def test_site_says_how_and_only_a_known_way(tmp_path: Path) -> None:
    """Back to the snapshot unless it says otherwise."""
    made = make_site(tmp_path)
    assert Site.load(made.directory).policies.cleanliness is Cleanliness.SNAPSHOT
    file = made.directory / "site.yml"
    for word in ("scrub", "rebuild"):
        file.write_text(f"policies: {{cleanliness: {word}}}\n")
        assert Site.load(made.directory).policies.cleanliness == word
    file.write_text("policies: {cleanliness: hope}\n")
    with pytest.raises(SiteInvalid, match="cleanliness"):
        Site.load(made.directory)


def test_libvirt_takes_lists_goes_back_to_and_drops_snapshots(tmp_path: Path) -> None:
    """On its test driver; a name that is not there is a failure with a sentence."""
    made = make_site(tmp_path, running=["vm-1"])
    hypervisor = LibvirtHypervisor(Site.load(made.directory).libvirt_uri, site=NAME)
    hypervisor.take_snapshot("vm-1", snapshot="one")
    hypervisor.take_snapshot("vm-1", snapshot="two")
    assert hypervisor.snapshots("vm-1") == ["one", "two"]
    hypervisor.go_back("vm-1", snapshot="one")
    hypervisor.drop_snapshot("vm-1", snapshot="two")
    assert hypervisor.snapshots("vm-1") == ["one"]
    with pytest.raises(TaskFailed, match="back to snapshot 'two'"):
        hypervisor.go_back("vm-1", snapshot="two")
    with pytest.raises(NotFound):
        hypervisor.snapshots("vm-9")
    hypervisor.drop_snapshot("vm-1", snapshot="one")
    hypervisor.reset("vm-1")
    assert hypervisor.vm("vm-1").state is VmState.STOPPED


def test_snapshot_does_not_stand_for_a_vm_whose_ssh_port_moved(context: Context, vm: OneVm) -> None:
    """Going back would bring the old port with it, which somebody else has."""
    name = clean_snapshot.ensure(context, "vm-1")
    vm.ssh_port = 20002
    assert clean_snapshot.current(context, "vm-1") is None
    assert vm.kept == [name]
