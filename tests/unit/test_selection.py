"""Selection never picks a VM that does not fit, and says of every VM why it was or was not taken."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from vmm_automation.errors import NotFound
from vmm_automation.model.terminal import TerminalProfile
from vmm_automation.model.vm import Offers, VmCondition, VmFacts, VmState
from vmm_automation.selection.filters import VM_FILTERS
from vmm_automation.selection.score import MEMORY, SAME_VM, VERSION_STEP

from .selection_cases import PHONE, RICH, a_ua, a_vm, choose, refused


def test_fitting_vm_is_chosen_and_described() -> None:
    """The one VM that fits is chosen, and a person can read why."""
    best = choose([a_vm()]).best
    assert best.sentence() == "vm-1: radicale 3.3.0 active (newest), 2 vCPUs, 768 MiB, protocol http"


def test_older_version_on_one_vcpu_is_described_as_such() -> None:
    """'(newest)' is said only of the newest version, and one vCPU is singular."""
    best = choose([a_vm(vcpus=1, active_uas={"radicale": "3.2.3"})]).best
    assert best.sentence() == "vm-1: radicale 3.2.3 active, 1 vCPU, 768 MiB, protocol http"


@pytest.mark.parametrize(("vm", "asked", "name", "needed", "found", "sentence"), [
    ({}, {"avoid": ["vm-1"]}, "avoid", "a VM that is not to be avoided", "vm-1", "vm-1 is to be avoided"),
    ({"state": VmState.STOPPED}, {}, "running", "running", "stopped", "vm-1 is stopped, not running"),
    ({"state": VmState.PAUSED}, {}, "running", "running", "paused", "vm-1 is paused, not running"),
    ({"drained": True, "pool": "web"}, {}, "drained", "a pool that gives out VMs", "drained",
     "vm-1 is of pool 'web', which is drained"),
    ({"ready": False}, {}, "ready", "ready", "not ready", "vm-1 is running but not ready yet"),
    ({"condition": VmCondition.DIRTY}, {}, "clean", "clean", "dirty",
     "vm-1 is dirty: an earlier user's data may be on it"),
    ({"session": "s-1"}, {}, "free", "no live session", "session 's-1'", "vm-1 is in use by session 's-1'"),
    ({"held": "UA 'x' is rolled out to it"}, {}, "held", "a VM that nobody works on",
     "UA 'x' is rolled out to it", "vm-1 is held: UA 'x' is rolled out to it"),
    ({"active_uas": {}}, {}, "ua", "radicale active", "not active", "vm-1 has no active radicale"),
    ({"active_uas": {"radicale": "3.2.3"}}, {"version": "3.3.0"}, "ua", "radicale 3.3.0 active",
     "radicale 3.2.3 active", "vm-1 has radicale 3.2.3 active, 3.3.0 is needed"),
    ({"active_uas": {"radicale": "9"}}, {}, "ua", "radicale active in a defined version", "radicale 9 active",
     "vm-1 has radicale 9 active, a version that the site does not define (3.2.3, 3.10.0, 3.3.0)"),
    ({"vcpus": 2}, {"ua": a_ua(vcpus=4)}, "vcpus", "4", "2", "vm-1 has 2 vCPUs, 4 needed"),
    ({}, {"ua": a_ua(memory_mib=1024)}, "memory", "1024 MiB", "768 MiB",
     "vm-1 has 768 MiB of memory, 1024 MiB needed"),
    ({"features": ("tpm",)}, {"ua": a_ua(features=("gpu", "tpm"))}, "features", "gpu, tpm", "tpm",
     "vm-1 lacks feature gpu (it has tpm)"),
    ({"protocols": ("vnc",)}, {}, "protocols", "http", "vnc",
     "vm-1 offers protocol vnc, terminal and UA share http"),
])  # fmt: skip
def test_unfit_vm_is_rejected_with_both_values(
    vm: dict[str, Any], asked: dict[str, Any], name: str, needed: str, found: str, sentence: str
) -> None:
    """Each hard filter alone rejects a VM, and says what is needed and what was found."""
    [rejection] = refused([a_vm(**vm)], **asked).details["rejected"]
    assert (rejection["vm"], rejection["filter"]) == ("vm-1", name)
    assert (rejection["needed"], rejection["found"]) == (needed, found)
    assert rejection["sentence"] == sentence


def test_first_failing_filter_is_the_reason() -> None:
    """A VM that fails several filters is rejected by the first in their defined order."""
    worst: dict[str, Any] = {"session": "s-1", "state": VmState.STOPPED, "ready": False, "active_uas": {}}
    worst |= {
        "condition": VmCondition.DIRTY,
        "vcpus": 1,
        "memory_mib": 1,
        "protocols": (),
        "pool": "p",
        "drained": True,
        "held": "UA 'x' is rolled out to it",
        "kept_for": "r-1",
    }
    repairs: list[tuple[str, dict[str, Any]]] = [
        ("avoid", {}), ("free", {"session": None}), ("held", {"held": ""}),
        ("drained", {"pool": "", "drained": False}),
        ("running", {"state": VmState.RUNNING}),
        ("ready", {"ready": True}), ("clean", {"condition": VmCondition.CLEAN}),
        ("ua", {"active_uas": {"radicale": "3.3.0"}}), ("vcpus", {"vcpus": 2}),
        ("memory", {"memory_mib": 999}), ("features", {"features": ("gpu",)}),
        ("encoders", {"offers": Offers(("vp8",))}), ("regions", {"offers": Offers(("vp8",), region="n")}),
        ("protocols", {"protocols": ("http",)}),
        ("video_codec", {"offers": Offers(("vp8", "av1"), region="n")}),
        ("audio_codec", {"offers": Offers(("vp8", "av1"), ("opus",), region="n")}),
        ("resolution", {"offers": Offers(("vp8", "av1"), ("opus",), 99, 99, region="n")}),
        ("frame_rate", {"offers": Offers(("vp8", "av1"), ("opus",), 99, 99, 30, "n")}),
        ("kept", {"kept_for": None}),
    ]  # fmt: skip
    ua = a_ua(vcpus=2, memory_mib=500, features=("gpu",), encoders=("vp8",), regions=("n",),
              video_codecs=("av1",), audio_codecs=("opus",), resolutions=("99x99",),
              frame_rates=(30,))  # fmt: skip
    asked: dict[str, Any] = {"ua": ua, "terminal": RICH, "avoid": ["vm-1"]}
    order = []
    for name, repair in repairs:
        order.append(refused([a_vm(**worst)], **asked).details["rejected"][0]["filter"])
        assert order[-1] == name
        worst |= repair
        if name == "avoid":
            asked["avoid"] = []
    assert choose([a_vm(**worst)], **asked).best.vm == "vm-1"
    assert ["wanted", *order] == [name for name, _ in VM_FILTERS]


def test_vm_in_use_is_never_advised_to_be_rebuilt() -> None:
    """A VM in use is dirty, and paused while suspended: its reason is the session that holds it."""
    error = refused([a_vm(session="s-1", condition=VmCondition.DIRTY, state=VmState.PAUSED)])
    assert error.details["rejected"][0]["filter"] == "free"
    assert error.hint == "vmm session list"


def test_terminal_that_states_nothing_fits_ua_that_needs_nothing_but_a_protocol() -> None:
    """An unknown value matters only where something is required of it."""
    assert choose([a_vm()], terminal=TerminalProfile("t", protocols=("http",))).best.vm == "vm-1"


def test_all_lacks_of_a_terminal_are_reported_together() -> None:
    """A terminal with several lacks is told all of them at once."""
    ua = a_ua(min_screen_width_px=999, audio_out=True, inputs=("pen",))
    error = refused([a_vm()], ua=ua, terminal=replace(PHONE, audio_out=None))
    assert [each["filter"] for each in error.details["terminal"]] == ["screen_width", "inputs", "audio_out"]
    assert error.hint == "vmm ua show radicale"


def test_protocol_is_the_best_common_to_all_three() -> None:
    """Of several common protocols the one that the UA names first is used."""
    ua = a_ua(protocols=("webrtc", "vnc", "http"))
    terminal = replace(PHONE, protocols=("http", "vnc"))
    assert (
        choose([a_vm(protocols=("http", "vnc", "webrtc"))], ua=ua, terminal=terminal).best.protocol == "vnc"
    )
    assert choose([a_vm(protocols=("http", "webrtc"))], ua=ua, terminal=terminal).best.protocol == "http"


def test_newest_version_outweighs_same_vm_and_memory() -> None:
    """Newer by the site's order beats the VM of last time, however small that one is."""
    old = a_vm("vm-1", active_uas={"radicale": "3.10.0"}, memory_mib=256)
    new = a_vm("vm-2", active_uas={"radicale": "3.3.0"}, memory_mib=65536)
    selection = choose([old, new], last_vm="vm-1")
    assert [choice.vm for choice in selection.ranked] == ["vm-2", "vm-1"]
    assert VERSION_STEP > SAME_VM + MEMORY


def test_same_vm_outweighs_memory() -> None:
    """Of equal versions, the VM of last time wins over a smaller one."""
    selection = choose([a_vm("vm-1", memory_mib=256), a_vm("vm-2", memory_mib=9999)], last_vm="vm-2")
    assert selection.best.vm == "vm-2"
    assert SAME_VM > MEMORY


def test_small_vm_is_preferred_then_name() -> None:
    """Of otherwise equal VMs the one with least memory wins, by as little as 1 MiB; then the name decides."""
    sizes = {"vm-1": 4096, "vm-2": 4095, "vm-3": 4095, "vm-4": 256}
    facts = [a_vm(name, memory_mib=size) for name, size in sizes.items()]
    assert [choice.vm for choice in choose(facts).ranked] == ["vm-4", "vm-2", "vm-3", "vm-1"]


def test_warmer_vm_is_preferred_to_the_one_of_last_time() -> None:
    """Ready, then saved with its memory, then switched off; and only a newer version outweighs that."""
    facts = [
        a_vm("vm-1", state=VmState.STOPPED, pool="web"),
        a_vm("vm-2", state=VmState.PARKED, pool="web"),
        a_vm("vm-3", pool="web", memory_mib=9999),
        a_vm("vm-4", state=VmState.STOPPED),
    ]
    found = choose(facts, last_vm="vm-1")
    assert [choice.vm for choice in found.ranked] == ["vm-3", "vm-2", "vm-1"]
    assert [choice.terms["warm"].points for choice in found.ranked] == [200, 100, 0]
    assert [rejection.filter for rejection in found.rejected] == ["running"]
    older = a_vm("vm-3", active_uas={"radicale": "3.10.0"})
    assert choose([facts[0], older], last_vm="vm-3").best.vm == "vm-1"


def test_vm_that_offers_more_than_is_asked_for_stays_free() -> None:
    """Of VMs with equal points the plainest wins, though its name comes last; memory goes before."""
    plain, rare = a_vm("vm-9"), a_vm("vm-1", features=("gpu",))
    coder = a_vm("vm-2", offers=Offers(("h264",), ("opus",)))
    ranked = choose([rare, coder, plain]).ranked
    assert [choice.vm for choice in ranked] == ["vm-9", "vm-1", "vm-2"]
    assert len({choice.score for choice in ranked}) == 1
    assert choose([plain, a_vm("vm-1", features=("gpu",), memory_mib=767)]).best.vm == "vm-1"


def test_score_is_the_sum_of_its_readable_terms() -> None:
    """Each term has points and a phrase, and nothing else makes the score."""
    best = choose([a_vm("vm-1"), a_vm("vm-2", memory_mib=512)], last_vm="vm-1").best
    assert {name: (term.points, term.phrase) for name, term in best.terms.items()} == {
        "version": (900, "3.3.0 is the newest version"),
        "same_vm": (50, "the VM of last time"),
        "memory": (16, "768 MiB, the least of the fitting VMs is 512 MiB"),
    }
    assert best.score == 966


def test_wanted_version_is_the_only_one_taken() -> None:
    """With a version asked for, a VM with a newer one does not fit."""
    facts = [a_vm("vm-1"), a_vm("vm-2", active_uas={"radicale": "3.2.3"})]
    assert [choice.vm for choice in choose(facts, version="3.2.3").ranked] == ["vm-2"]


def test_version_that_is_not_defined_is_not_found() -> None:
    """A version that the UA's definition lacks is the request's mistake, not the VMs'."""
    with pytest.raises(NotFound, match="has no version '9'"):
        choose([a_vm()], version="9")


def test_wanted_vm_is_the_only_one_taken() -> None:
    """With a VM asked for, the others are rejected as not being it, however good."""
    selection = choose([a_vm("vm-1"), a_vm("vm-2", memory_mib=9999)], wanted_vm="vm-2")
    assert selection.best.vm == "vm-2"
    assert [(each.vm, each.filter) for each in selection.rejected] == [("vm-1", "wanted")]


def test_wanted_vm_that_does_not_fit_is_told_with_its_own_reason() -> None:
    """Asked for by name, a VM's own reason is the message, and the hint is about it."""
    error = refused([a_vm("vm-1"), a_vm("vm-2", state=VmState.STOPPED)], wanted_vm="vm-2")
    assert error.message == (
        "VM 'vm-2' does not fit UA 'radicale' for terminal 'phone': it is stopped, not running"
    )
    assert error.hint == "vmm vm start vm-2"


def test_wanted_vm_that_does_not_exist_is_told_with_those_that_do() -> None:
    """A VM that is not there is told as such, with the VMs there are."""
    error = refused([a_vm("vm-1")], wanted_vm="vm-9")
    assert error.message.endswith(": it does not exist (VMs: vm-1)")
    assert [(each["vm"], each["filter"]) for each in error.details["rejected"]] == [
        ("vm-9", "exists"), ("vm-1", "wanted")
    ]  # fmt: skip
    assert error.hint == "vmm vm list"


def test_message_counts_reasons_and_names_sessions() -> None:
    """The message summarises all VMs, naming the sessions that hold them."""
    error = refused([a_vm("vm-1", session="s-1"), a_vm("vm-2", active_uas={}), a_vm("vm-3", session="s-2")])
    assert error.message == (
        "No VM fits UA 'radicale' for terminal 'phone': 3 rejected"
        " (2 in use by sessions 's-1', 's-2', 1 without an active radicale)"
    )
    assert error.exit_code == 7
    assert json.loads(json.dumps(error.details)) == error.details


@pytest.mark.parametrize(("facts", "hint"), [
    ([], "vmm vm create vm-1"),
    ([a_vm(session="s-1")], "vmm session list"),
    ([a_vm(active_uas={})], "vmm ua install radicale --vm vm-1"),
    ([a_vm(state=VmState.STOPPED)], "vmm vm start vm-1"),
    ([a_vm(condition=VmCondition.DIRTY)], "vmm vm rebuild vm-1"),
    ([a_vm(memory_mib=128)], "vmm vm create vm-2"),
    ([a_vm(protocols=())], "vmm vm create vm-2"),
    ([a_vm("vm-1", session="s-1"), a_vm("vm-2", active_uas={}), a_vm("vm-3", active_uas={})],
     "vmm ua install radicale --vm vm-2"),
    ([a_vm("vm-1", session="s-1"), a_vm("vm-2", active_uas={})], "vmm ua install radicale --vm vm-2"),
])  # fmt: skip
def test_hint_is_for_the_commonest_reason(facts: list[VmFacts], hint: str) -> None:
    """One thing to type, for the reason that most VMs share; of equals, for the VM that is nearest to fit."""
    assert refused(facts).hint == hint


def test_document_is_json_and_explains_all() -> None:
    """The stored explanation is plain JSON with every VM, its reason or its score's terms, and a sentence."""
    document = choose([a_vm("vm-1"), a_vm("vm-2", session="s-1")]).to_document()
    assert json.loads(json.dumps(document)) == document
    assert set(document) == {"asked", "ranked", "rejected", "terminal", "left_out"}
    assert document["left_out"] == 0
    shown = {"vm", "version", "protocol", "uses", "score", "warmth", "terms", "sentence"}
    assert set(document["ranked"][0]) == shown
    assert document["ranked"][0]["terms"]["version"]["phrase"]
    assert set(document["rejected"][0]) == {"vm", "filter", "needed", "found", "sentence"}


def test_short_document_has_the_best_and_some_of_each_reason_and_says_how_many_are_left_out() -> None:
    """On a large site the explanation of each session would otherwise be as large as the site."""
    fitting = [a_vm(f"vm-1{number}") for number in range(5)]
    held = [a_vm(f"vm-2{number}", session="s-1") for number in range(4)]
    found = choose([*fitting, *held, a_vm("vm-30", condition=VmCondition.DIRTY)])
    short = found.to_document(most=2, chosen="vm-14")
    assert [each["vm"] for each in short["ranked"]] == ["vm-10", "vm-11", "vm-14"]
    assert [each["vm"] for each in short["rejected"]] == ["vm-20", "vm-21", "vm-30"]
    assert short["left_out"] == 4
