"""What is offered: revisions with their changelogs, and withdrawn versions with their sessions."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from tests.fake_clock import FakeClock
from tests.programs.sandbox_guest import SandboxGuest
from tests.programs.test_ua_lifecycle import agreed, context, install
from tests.unit.one_vm import OneVm
from vmm_automation.errors import Conflict, NotFound, NoVmFits, SiteInvalid
from vmm_automation.model.vm import Vm
from vmm_automation.operations import deployment, ua_catalogue, ua_lifecycle
from vmm_automation.operations.context import Context
from vmm_automation.operations.reconcile import reconcile
from vmm_automation.operations.session_claim import Request, select
from vmm_automation.operations.ua_offer import offered_ua
from vmm_automation.operations.ua_publication import published, withdrawn
from vmm_automation.operations.ua_status import told
from vmm_automation.site import Site
from vmm_automation.state import audit, vms

__all__ = ["context"]


def edited(context: Context, **changed: object) -> Context:
    """The same state and a site in which version 3.0 says more, or is another."""
    path = context.site.directory / "uas" / "demo.yml"
    document = yaml.safe_load(path.read_text())
    document["versions"]["3.0"] |= changed
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    again = replace(context, site=Site.load(context.site.directory))
    again.__dict__.update(store=context.store)
    return again


def test_revision_is_kept_with_what_is_new_in_it_and_once(context: Context) -> None:
    """The first has all versions, the next only what changed; a dry run is the same and keeps nothing."""
    planned = published(context, ua_id="demo", note="first", check=True)
    assert ua_catalogue.shown(context, "demo")["revisions"] == []
    assert published(context, ua_id="demo", note="first") == planned
    assert [each["version"] for each in planned["changelog"]] == ["1.0", "2.0", "3.0"]
    assert not published(context, ua_id="demo")["changed"]
    later = edited(context, changes=["It is faster."])
    assert ua_catalogue.shown(later, "demo")["unpublished"]
    assert published(later, ua_id="demo")["changelog"] == [
        {"version": "3.0", "change": "changed", "changes": ["It is faster."]}
    ]
    shown = ua_catalogue.shown(later, "demo")
    assert [(each["revision"], each["note"], each["published_by"]) for each in shown["revisions"]] == [
        (1, "first", "root"),
        (2, "", "root"),
    ]
    assert shown["unpublished"] == []
    with context.store.reading() as tx:
        assert [each["action"] for each in audit.log(tx, object_name="ua:demo")] == ["ua.publish"] * 2


def test_wrong_definition_is_not_published(context: Context) -> None:
    """What could not be delivered is no revision."""
    (context.site.directory / "uas" / "demo-3.0.tar.gz").unlink()
    with pytest.raises(SiteInvalid):
        published(context, ua_id="demo")
    assert ua_catalogue.shown(context, "demo")["revisions"] == []


def test_withdrawn_version_is_brought_to_no_vm_and_no_longer_the_newest(
    context: Context, guest: SandboxGuest
) -> None:
    """Every verb that would bring it names it and refuses; the newest is the one before; removal works."""
    install(context, guest, "2.0", "3.0")
    assert withdrawn(context, ua_id="demo", version="2.0", reason="unsafe")["changed"]
    assert not withdrawn(context, ua_id="demo", version="2.0")["changed"]
    for verb in (ua_lifecycle.activated, ua_lifecycle.delivered, deployment.active):
        with pytest.raises(Conflict, match=r"'demo' 2\.0 is not offered any more"):
            verb(context, guest, ua_id="demo", version="2.0")
    with pytest.raises(Conflict, match="not offered any more"):
        ua_lifecycle.rolled_back(context, guest, ua_id="demo")
    withdrawn(context, ua_id="demo", version="3.0")
    assert offered_ua(context, "demo").version().version == "1.0"
    with pytest.raises(NotFound):
        withdrawn(context, ua_id="demo", version="9")
    gone = deployment.absent(context, guest, ua_id="demo", version="2.0", allow_destroy=True)
    assert agreed(gone) == ["remove 2.0"]


def test_withdrawn_version_that_a_vm_has_is_still_mended(context: Context, guest: SandboxGuest) -> None:
    """Until it is updated, a VM is kept as the ledger says."""
    install(context, guest, "1.0")
    withdrawn(context, ua_id="demo", version="1.0")
    (guest.root / "opt/vmm/ua/demo/current").unlink()
    assert told(context, guest, repair=True)["changed"]
    assert not told(context, guest)["vms"]["vm-1"]["drifted"]


def test_published_again_a_version_is_offered_again(context: Context, guest: SandboxGuest) -> None:
    """The revision says so, and it can be installed."""
    published(context, ua_id="demo")
    withdrawn(context, ua_id="demo", version="1.0")
    assert published(context, ua_id="demo", version="1.0")["changelog"][0]["change"] == "offered again"
    assert not published(context, ua_id="demo", version="1.0")["changed"]
    install(context, guest, "1.0")


@pytest.mark.usefixtures("live")
def test_sessions_of_a_withdrawn_version_are_listed_and_closed_at_the_deadline(context: Context) -> None:
    """Not before; a second withdrawal brings the end only nearer."""
    clock = context.clock
    assert isinstance(clock, FakeClock)
    context.__dict__["hypervisor"] = OneVm()
    with context.store.transaction() as tx:
        tx.execute("UPDATE sessions SET ua = 'demo', version = '1.0', state = 'active' WHERE id = 's-1'")
    first = withdrawn(context, ua_id="demo", version="1.0", drain_s=600)
    assert [each["id"] for each in first["sessions"]] == ["s-1"]
    assert not withdrawn(context, ua_id="demo", version="1.0", drain_s=1200)["changed"]
    clock.advance(minutes=9)
    assert reconcile(context, check=True)["to_close"] == []
    assert withdrawn(context, ua_id="demo", version="1.0", drain_s=30)["changed"]
    clock.advance(minutes=1)
    found = reconcile(context, check=True)
    assert found["to_close"] == [{"session": "s-1", "vm": "vm-1"}]
    assert found["findings"][0]["found"] == "demo 1.0 was withdrawn"


def test_selection_passes_a_vm_with_a_withdrawn_version_over(context: Context, guest: SandboxGuest) -> None:
    """The reason says that it was withdrawn; a request for just that version is refused as such."""
    context.__dict__["hypervisor"] = _Ready()
    install(context, guest, "1.0")
    with context.store.transaction() as tx:
        vms.mark_clean(tx, vm="vm-1", now=context.clock.now())
    request = Request(user="ann", ua="demo", terminal="desktop")
    assert select(context, request).ranked[0].version == "1.0"
    withdrawn(context, ua_id="demo", version="1.0")
    with pytest.raises(NoVmFits) as none:
        select(context, request)
    assert "has demo 1.0, which was withdrawn" in str(none.value.details)
    with pytest.raises(Conflict, match="not offered any more"):
        select(context, replace(request, version="1.0"))


class _Ready(OneVm):
    """The one VM, ready for sessions."""

    def vm(self, name: str) -> Vm:
        """It, by name."""
        return replace(super().vm(name), ready=True, protocols=("http",))
