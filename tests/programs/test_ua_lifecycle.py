"""Versions of a UA on a guest made of a directory, step by step, with the real ledger of either engine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.demo_ua import write_demo_ua
from tests.fake_clock import FakeClock
from tests.made_site import make_site
from tests.programs.sandbox_guest import SandboxGuest
from vmm_automation.errors import Conflict, NotFound, TaskFailed
from vmm_automation.model.ua import DeploymentState
from vmm_automation.operations import deployment, ua, ua_lifecycle, ua_status
from vmm_automation.operations.context import Context
from vmm_automation.places import Places
from vmm_automation.site import Site
from vmm_automation.state import ledger
from vmm_automation.state.store import Engine


@pytest.fixture
def context(store: Engine, clock: FakeClock, tmp_path: Path) -> Iterator[Context]:
    """A site with one UA of three versions, each a small archive."""
    site = make_site(tmp_path / "made")
    write_demo_ua(site.directory, work=tmp_path)
    made = Context(site=Site.load(site.directory), places=Places(site.home), clock=clock, actor="root")
    made.__dict__.update(store=store)
    yield made


def states(context: Context) -> dict[str, str]:
    with context.store.reading() as tx:
        return {row.version: str(row.state) for row in ledger.for_vm(tx, vm="vm-1")}


def install(context: Context, guest: SandboxGuest, *versions: str) -> None:
    clock = context.clock
    assert isinstance(clock, FakeClock)
    for version in versions:
        clock.advance(minutes=1)
        deployment.active(context, guest, ua_id="demo", version=version)


def drift(context: Context, guest: SandboxGuest) -> dict[str, str | None]:
    told = ua_status.told(context, guest)["vms"]["vm-1"]
    found = {
        version: state["drift"]
        for each in told["uas"].values()
        for version, state in each["versions"].items()
    }
    assert told["drifted"] == any(found.values())
    return found


def agreed(done: dict[str, Any]) -> list[str]:
    actions: list[str] = done["vms"]["vm-1"]["actions"]
    assert done["changed"] == bool(actions)
    return actions


def test_version_is_delivered_activated_and_deactivated_step_by_step(
    context: Context, guest: SandboxGuest
) -> None:
    """Each step is planned as it is done, is not done twice, and is what guest and ledger then say."""
    steps: list[tuple[Any, dict[str, str], list[str], str]] = [
        (ua_lifecycle.delivered, {"version": "1.0"}, ["deliver"], "delivered"),
        (ua_lifecycle.activated, {"version": "1.0"}, ["install_unit", "switch"], "active"),
        (ua_lifecycle.deactivated, {}, ["remove_unit", "deactivate"], "inactive"),
        (ua_lifecycle.activated, {"version": "1.0"}, ["install_unit", "switch"], "active"),
    ]
    for step, words, actions, state in steps:
        before = guest.tree()
        assert agreed(step(context, guest, ua_id="demo", check=True, **words)) == actions
        assert guest.tree() == before
        assert agreed(step(context, guest, ua_id="demo", **words)) == actions
        assert states(context) == {"1.0": state}
        assert agreed(step(context, guest, ua_id="demo", **words)) == []
        assert drift(context, guest) == {"1.0": None}


def test_delivery_leaves_the_active_version_active(context: Context, guest: SandboxGuest) -> None:
    """A second version is there, and nothing was switched."""
    install(context, guest, "1.0")
    assert agreed(ua_lifecycle.delivered(context, guest, ua_id="demo", version="2.0")) == ["deliver"]
    assert states(context) == {"1.0": "active", "2.0": "delivered"}
    assert ua.read_status(guest).ua("demo").active == "1.0"


def test_deactivated_running_service_is_stopped_first(context: Context, guest: SandboxGuest) -> None:
    """Nothing runs of what is not active; the plan said that it would be stopped."""
    install(context, guest, "1.0")
    ua.start(guest, definition=context.site.ua("demo"), version="1.0")
    planned = ua_lifecycle.deactivated(context, guest, ua_id="demo", check=True)
    assert agreed(planned) == ["stop", "remove_unit", "deactivate"]
    assert ua_lifecycle.deactivated(context, guest, ua_id="demo")["vms"] == planned["vms"]
    assert not ua.read_status(guest).ua("demo").running


def test_rollback_goes_back_once_however_often_it_is_asked(context: Context, guest: SandboxGuest) -> None:
    """The version before is active without a transfer; a second rollback of the same update does nothing."""
    install(context, guest, "1.0", "2.0", "3.0")
    puts = guest.puts
    planned = ua_lifecycle.rolled_back(context, guest, ua_id="demo", check=True)
    assert planned["vms"]["vm-1"]["previous"] == "3.0"
    assert agreed(planned) == ["switch"]
    assert ua_lifecycle.rolled_back(context, guest, ua_id="demo") == planned
    assert states(context) == {"1.0": "inactive", "2.0": "active", "3.0": "inactive"}
    assert agreed(ua_lifecycle.rolled_back(context, guest, ua_id="demo")) == []
    assert ua.read_status(guest).ua("demo").active == "2.0"
    assert guest.puts == puts


def test_rollback_after_a_deactivation_is_the_version_from_before(
    context: Context, guest: SandboxGuest
) -> None:
    """What was active last comes back."""
    install(context, guest, "1.0", "2.0")
    context.clock.sleep(60)
    ua_lifecycle.deactivated(context, guest, ua_id="demo")
    ua_lifecycle.rolled_back(context, guest, ua_id="demo")
    assert states(context) == {"1.0": "inactive", "2.0": "active"}


def test_rollback_without_a_version_before_is_refused(context: Context, guest: SandboxGuest) -> None:
    """One version that was only delivered is nothing to go back to."""
    install(context, guest, "2.0")
    ua_lifecycle.delivered(context, guest, ua_id="demo", version="1.0")
    with pytest.raises(NotFound, match="no other version was active there before"):
        ua_lifecycle.rolled_back(context, guest, ua_id="demo")
    assert states(context) == {"1.0": "delivered", "2.0": "active"}


def test_activation_of_what_is_not_delivered_changes_nothing(context: Context, guest: SandboxGuest) -> None:
    """Neither guest nor ledger; a dry run says the same."""
    install(context, guest, "1.0")
    for check in (True, False):
        with pytest.raises(NotFound, match="not delivered"):
            ua_lifecycle.activated(context, guest, ua_id="demo", version="2.0", check=check)
    assert states(context) == {"1.0": "active"}


def _removed_by_hand(guest: SandboxGuest) -> None:
    shutil.rmtree(guest.root / "opt/vmm/ua/demo/2.0")


def _switched_by_hand(guest: SandboxGuest) -> None:
    link = guest.root / "opt/vmm/ua/demo/current"
    link.unlink()
    link.symlink_to("1.0")


def _other_content(guest: SandboxGuest) -> None:
    (guest.root / "opt/vmm/ua/demo/2.0/.vmm-digest").write_text("0" * 64 + "\n")


def _old_removed(guest: SandboxGuest) -> None:
    shutil.rmtree(guest.root / "opt/vmm/ua/demo/1.0")


def _unit_edited(guest: SandboxGuest) -> None:
    (guest.root / "etc/systemd/system/vmm-ua-demo.service").write_text("[Service]\n")


def _all_gone(guest: SandboxGuest) -> None:
    shutil.rmtree(guest.root / "opt/vmm")
    (guest.root / "etc/systemd/system/vmm-ua-demo.service").unlink()


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (_removed_by_hand, {"1.0": None, "2.0": "is not there"}),
        (_switched_by_hand, {"1.0": "is active", "2.0": "is inactive"}),
        (_other_content, {"1.0": None, "2.0": "has another content"}),
        (_old_removed, {"1.0": "is not there", "2.0": None}),
        (_unit_edited, {"1.0": None, "2.0": "has another unit file"}),
        (_all_gone, {"1.0": "is not there", "2.0": "is not there"}),
    ],
)
def test_drift_is_told_and_mended(
    context: Context, guest: SandboxGuest, spoil: Any, found: dict[str, str | None]
) -> None:
    """What was changed by hand is found by one script run, mended as planned, and then there is none."""
    install(context, guest, "1.0", "2.0")
    tree, recorded = guest.tree(), states(context)
    spoil(guest)
    runs = len(guest.scripts)
    assert drift(context, guest) == found
    assert len(guest.scripts) == runs + 1
    planned = ua_status.told(context, guest, repair=True, check=True)
    assert drift(context, guest) == found
    mended = ua_status.told(context, guest, repair=True)
    assert agreed(mended) == agreed(planned) != []
    assert drift(context, guest) == {"1.0": None, "2.0": None}
    assert (guest.tree(), states(context)) == (tree, recorded)
    assert agreed(ua_status.told(context, guest, repair=True)) == []


def test_what_nobody_recorded_is_deactivated_and_recorded(context: Context, guest: SandboxGuest) -> None:
    """As after a run that was cut off before the ledger: the ledger's version comes back, nothing is lost."""
    install(context, guest, "1.0")
    with context.store.reading() as tx:
        digests = {row.version: row.digest for row in ledger.for_vm(tx, vm="vm-1")}
    definition = context.site.ua("demo")
    version = definition.version("2.0")
    bundle = deployment.bundle_for(context, definition, version)
    ua.install(guest, definition=definition, version=version, bundle=bundle)
    assert drift(context, guest) == {
        "1.0": "is inactive",
        "2.0": "is there, and the ledger knows nothing of it",
    }
    assert agreed(ua_status.told(context, guest, repair=True)) == ["activate demo 1.0", "record demo 2.0"]
    assert states(context) == {"1.0": "active", "2.0": "delivered"}
    assert ua.read_status(guest).ua("demo").active == "1.0"
    with context.store.transaction() as done:
        ledger.forget_vm(done, vm="vm-1")
    repaired = ua_status.told(context, guest, repair=True)
    assert "deactivate demo 1.0" in agreed(repaired)
    assert states(context) == {"1.0": "delivered", "2.0": "delivered"}
    with context.store.reading() as tx:
        assert {row.version: row.digest for row in ledger.for_vm(tx, vm="vm-1")}["1.0"] == digests["1.0"]


def test_failed_probe_is_in_the_ledger_and_no_drift(context: Context, guest: SandboxGuest) -> None:
    """The version before stays active in guest and ledger, the new one has failed, whichever verb it was."""
    file = context.site.directory / "uas" / "demo.yml"
    definition = yaml.safe_load(file.read_text())
    probe = {"kind": "command", "command": ["grep", "1.0", "{version_dir}/app/program"], "deadline_s": 1}
    file.write_text(yaml.safe_dump({**definition, "probe": probe}, sort_keys=False))
    install(context, guest, "1.0")
    with pytest.raises(TaskFailed, match=r"version 1\.0 is active again"):
        install(context, guest, "2.0")
    assert states(context) == {"1.0": "active", "2.0": "failed"}
    assert drift(context, guest) == {"1.0": None, "2.0": None}
    with pytest.raises(TaskFailed, match="did not hold"):
        ua_lifecycle.activated(context, guest, ua_id="demo", version="2.0")
    assert states(context) == {"1.0": "active", "2.0": "failed"}
    assert drift(context, guest) == {"1.0": None, "2.0": None}


@pytest.mark.usefixtures("live")
def test_vm_in_a_session_of_the_ua_is_left_alone(context: Context, guest: SandboxGuest) -> None:
    """Whoever uses the application does not lose it."""
    with context.store.transaction() as tx:
        tx.execute("UPDATE sessions SET ua = 'demo', vm = 'vm-1'")
        now = context.clock.now()
        for version, state in (("1.0", DeploymentState.INACTIVE), ("2.0", DeploymentState.ACTIVE)):
            ledger.record(tx, vm="vm-1", ua="demo", version=version, state=state, now=now)
    steps: list[Any] = [ua_lifecycle.deactivated, ua_lifecycle.rolled_back, ua_lifecycle.activated]
    for step in steps:
        with pytest.raises(Conflict, match="session 's-1' uses it"):
            step(context, guest, ua_id="demo")
