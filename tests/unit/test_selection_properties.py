"""What holds of every selection, whatever the VMs, the UA and the terminal are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from vmm_automation.errors import NoVmFits
from vmm_automation.model.terminal import TerminalProfile
from vmm_automation.model.ua import Requirements, UaDefinition, UaVersion
from vmm_automation.model.vm import Offers, Vm, VmCondition, VmFacts, VmState
from vmm_automation.selection.select import select_vm

VERSIONS = ("3.2.3", "3.10.0", "3.3.0")  # by age: 3.3.0 is the newest although its number is not the highest


def a_ua(**needs: Any) -> UaDefinition:
    """Radicale in three versions, with these requirements."""
    versions = tuple(UaVersion(each, "deb", packages=("radicale",)) for each in VERSIONS)
    return UaDefinition("radicale", "Radicale", versions, requirements=Requirements(**needs))


def some_facts(
    vm: Vm, condition: VmCondition, session: str | None, version: str | None, offers: Offers
) -> VmFacts:
    """A VM with what the state store knows of it; another UA is active on every one."""
    active = {"other": "1"} | ({"radicale": version} if version is not None else {})
    return VmFacts(vm, condition, session, active, offers)


PROTOCOLS = st.lists(st.sampled_from(["http", "vnc", "rdp"]), unique=True).map(tuple)
FEATURES = st.lists(st.sampled_from(["gpu", "tpm"]), unique=True).map(tuple)
INPUTS = st.lists(st.sampled_from(["keyboard", "touch"]), unique=True).map(tuple)
SIZES = st.sampled_from([0, 1, 256, 512, 1024])
CODECS = st.lists(st.sampled_from(["h264", "av1"]), unique=True).map(tuple)
REGIONS = st.sampled_from(["", "north", "south"])
OFFERS = st.builds(Offers, video_encoders=st.none() | CODECS, audio_encoders=st.none() | CODECS,
                   max_width_px=st.none() | SIZES, max_height_px=st.none() | SIZES,
                   max_frame_rate_hz=st.sampled_from([None, 10, 60]), region=REGIONS)  # fmt: skip
FEW = {
    "video_codecs": CODECS, "audio_codecs": CODECS, "encoders": CODECS,
    "resolutions": st.sampled_from([(), ("256x1",), ("1024x512", "1x1")]),
    "frame_rates": st.sampled_from([(), (60, 30), (10,)]),
    "regions": st.sampled_from([(), ("north",), ("north", "south")]),
}  # fmt: skip
UAS = st.builds(a_ua, protocols=PROTOCOLS, vcpus=st.integers(1, 3), memory_mib=SIZES, features=FEATURES,
                inputs=INPUTS, audio_out=st.booleans(), min_screen_width_px=SIZES,
                min_screen_height_px=SIZES, min_bandwidth_kbit_s=SIZES, **FEW)  # fmt: skip
#: mostly undemanding, so that VMs decide
LIGHT_UAS = st.one_of(*(st.builds(a_ua, protocols=st.just(("http",)), **{key: FEW[key]}) for key in FEW))
TERMINALS = st.builds(TerminalProfile, name=st.just("t"), protocols=st.none() | PROTOCOLS,
                      inputs=st.none() | INPUTS, audio_out=st.none() | st.booleans(),
                      screen_width_px=st.none() | SIZES, screen_height_px=st.none() | SIZES,
                      bandwidth_kbit_s=st.none() | SIZES, video_codecs=st.none() | CODECS,
                      audio_codecs=st.none() | CODECS,
                      max_frame_rate_hz=st.sampled_from([None, 10, 60]))  # fmt: skip
#: terminals and UAs that go together, so that VMs decide
EASY_TERMINAL = TerminalProfile("t", 9999, 9999, 24, ("keyboard", "touch"), True, ("http", "vnc", "rdp"),
                                ("av1", "h264"), ("av1", "h264"), bandwidth_kbit_s=9999,
                                max_frame_rate_hz=99)  # fmt: skip
NAMES = ["vm-1", "vm-2", "vm-3", "vm-4", "vm-5"]


def rarely(usual: Any, *others: Any) -> st.SearchStrategy[Any]:
    """Mostly the usual value, so that generated VMs often fit."""
    return st.sampled_from([usual] * 4 + list(others))


def vms_named(name: str) -> st.SearchStrategy[VmFacts]:
    """VMs of one name in all conditions, many of them fit."""
    vm = st.builds(
        Vm,
        name=st.just(name),
        domain=st.just(name),
        uuid=st.just(name),
        state=rarely(VmState.RUNNING, VmState.STOPPED, VmState.PAUSED, VmState.PARKED),
        profile=st.just("small"),
        base_digest=st.just(""),
        vcpus=st.integers(1, 4),
        memory_mib=st.sampled_from([256, 257, 512, 1024, 4096]),
        ssh_port=st.just(22),
        host_key=st.just(""),
        features=FEATURES,
        protocols=PROTOCOLS,
        ready=rarely(True, False),
    )
    condition = rarely(VmCondition.CLEAN, VmCondition.DIRTY)
    version = st.sampled_from([*VERSIONS, "0.1", None])
    facts = st.builds(some_facts, vm, condition, rarely(None, "s-1"), version, OFFERS)
    pools = st.sampled_from([("", False), ("p", False), ("p", False), ("q", True)])
    held = rarely("", "UA 'x' is rolled out to it")
    return st.builds(
        lambda each, of, why: replace(each, pool=of[0], drained=of[1], held=why), facts, pools, held
    )


FLEETS = st.lists(st.sampled_from(NAMES), unique=True).flatmap(
    lambda names: st.tuples(*(vms_named(name) for name in names)).map(list)
)
REQUESTS = st.fixed_dictionaries({
    "ua": UAS | LIGHT_UAS, "terminal": TERMINALS | st.just(EASY_TERMINAL), "version": rarely(None, *VERSIONS),
    "wanted_vm": rarely(None, "vm-1", "vm-9"), "avoid": st.lists(st.sampled_from(NAMES), max_size=1),
    "last_vm": st.none() | st.sampled_from([*NAMES, "vm-9"]), "pack": st.booleans(),
})  # fmt: skip


def outcome(facts: Sequence[VmFacts], request: dict[str, Any]) -> dict[str, Any]:
    """The document, whether a VM fits or none does."""
    try:
        return select_vm(facts=facts, **request).to_document()
    except NoVmFits as error:
        return error.details


def fits(each: VmFacts, request: dict[str, Any]) -> bool:
    """The promise, written down a second time and differently."""
    needs, terminal, active = request["ua"].requirements, request["terminal"], each.active_uas.get("radicale")
    terminal_fits = (
        (terminal.screen_width_px or 0) >= needs.min_screen_width_px
        and (terminal.screen_height_px or 0) >= needs.min_screen_height_px
        and (terminal.bandwidth_kbit_s or 0) >= needs.min_bandwidth_kbit_s
        and set(needs.inputs) <= set(terminal.inputs or ())
        and bool(terminal.audio_out) >= needs.audio_out
    )
    vm_fits = (
        (each.vm.state in {"running", "parked"} or (each.vm.state == "stopped" and each.pool != ""))
        and each.pool != "q" and each.vm.ready and each.condition == "clean" and each.session is None
        and not each.held
        and request["wanted_vm"] in (None, each.vm.name) and each.vm.name not in request["avoid"]
        and active in VERSIONS and request["version"] in (None, active)
        and each.vm.vcpus >= needs.vcpus and each.vm.memory_mib >= needs.memory_mib
        and set(needs.features) <= set(each.vm.features)
    )  # fmt: skip
    common = set(needs.protocols) & set(terminal.protocols or ()) & set(each.vm.protocols)
    return terminal_fits and vm_fits and bool(common) and carried(each.offers, needs, terminal)


def carried(offers: Offers, needs: Requirements, terminal: TerminalProfile) -> bool:
    """Codecs, pictures and rates by sets; what is unknown carries nothing."""
    video = set(terminal.video_codecs or ()) & set(offers.video_encoders or ())
    audio = set(terminal.audio_codecs or ()) & set(offers.audio_encoders or ())
    width = min(terminal.screen_width_px or 0, offers.max_width_px or 0)
    height = min(terminal.screen_height_px or 0, offers.max_height_px or 0)
    sizes = [tuple(map(int, each.split("x"))) for each in needs.resolutions]
    rate = min(terminal.max_frame_rate_hz or 0, offers.max_frame_rate_hz or 0)
    return (
        (not needs.video_codecs or bool(video & set(needs.video_codecs)))
        and (not needs.audio_codecs or bool(audio & set(needs.audio_codecs)))
        and set(needs.encoders) <= set(offers.video_encoders or ())
        and (not needs.regions or offers.region in needs.regions)
        and (not sizes or any(wide <= width and high <= height for wide, high in sizes))
        and (not needs.frame_rates or min(needs.frame_rates) <= rate)
    )


@settings(max_examples=400, deadline=None)
@given(facts=FLEETS, request=REQUESTS)
def test_ranked_are_exactly_the_vms_that_fit(facts: list[VmFacts], request: dict[str, Any]) -> None:
    """Never is a VM ranked that fails a filter, and never is one left out that passes all."""
    ranked = {each["vm"] for each in outcome(facts, request)["ranked"]}
    assert ranked == {each.vm.name for each in facts if fits(each, request)}


@settings(max_examples=200, deadline=None)
@given(facts=FLEETS, request=REQUESTS, random=st.randoms(use_true_random=False))
def test_order_of_vms_does_not_matter(facts: list[VmFacts], request: dict[str, Any], random: Any) -> None:
    """The same question has the same answer to the letter, in whatever order the VMs are listed."""
    shuffled = list(facts)
    random.shuffle(shuffled)
    assert outcome(facts, request) == outcome(shuffled, request)


@settings(max_examples=200, deadline=None)
@given(facts=FLEETS, request=REQUESTS)
def test_every_vm_is_explained_exactly_once(facts: list[VmFacts], request: dict[str, Any]) -> None:
    """Each VM is ranked or rejected, once, with a sentence that begins with its name."""
    document = outcome(facts, request)
    explained = document["ranked"] + document["rejected"]
    absent = {request["wanted_vm"]} - {None} - {each.vm.name for each in facts}
    assert sorted(each["vm"] for each in explained) == sorted({each.vm.name for each in facts} | absent)
    assert all(each["sentence"].startswith(each["vm"]) for each in explained)


@settings(max_examples=300, deadline=None)
@given(facts=FLEETS.filter(bool), request=REQUESTS, protocols=PROTOCOLS, features=FEATURES,
       vcpus=st.integers(0, 4), memory=st.integers(0, 4096), codecs=CODECS, size=SIZES)  # fmt: skip
def test_offering_more_never_makes_a_fitting_vm_unfit(
    facts: list[VmFacts], request: dict[str, Any], protocols: tuple[str, ...], features: tuple[str, ...],
    vcpus: int, memory: int, codecs: tuple[str, ...], size: int,
) -> None:  # fmt: skip
    """More protocols, features, CPUs, memory or other UAs on a VM keep it, and all others, fitting."""
    before = {each["vm"] for each in outcome(facts, request)["ranked"]}
    vm = facts[0].vm
    richer = replace(vm, protocols=vm.protocols + protocols, features=vm.features + features,
                     vcpus=vm.vcpus + vcpus, memory_mib=vm.memory_mib + memory)  # fmt: skip
    had = facts[0].offers
    offers = replace(had, video_encoders=(had.video_encoders or ()) + codecs,
                     audio_encoders=(had.audio_encoders or ()) + codecs,
                     max_width_px=(had.max_width_px or 0) + size,
                     max_height_px=(had.max_height_px or 0) + size,
                     max_frame_rate_hz=(had.max_frame_rate_hz or 0) + size)  # fmt: skip
    offered = replace(facts[0], vm=richer, offers=offers, active_uas=facts[0].active_uas | {"another": "1"})
    after = {each["vm"] for each in outcome([offered, *facts[1:]], request)["ranked"]}
    assert before <= after


@settings(max_examples=200, deadline=None)
@given(facts=FLEETS, request=REQUESTS)
def test_best_follows_the_priorities(facts: list[VmFacts], request: dict[str, Any]) -> None:
    """In one region ranking is by version's age, warmth, the VM of last time, least memory, name; no more."""
    facts = [replace(each, offers=replace(each.offers, region="north")) for each in facts]
    fitting = [each for each in facts if fits(each, request)]
    fitting.sort(key=lambda each: (each.vm.name != request["last_vm"], each.vm.memory_mib, each.vm.name))
    fitting.sort(key=lambda each: ["running", "parked", "stopped"].index(each.vm.state))
    fitting.sort(key=lambda each: -VERSIONS.index(each.active_uas["radicale"]))
    assert [each["vm"] for each in outcome(facts, request)["ranked"]] == [each.vm.name for each in fitting]


@settings(max_examples=300, deadline=None)
@given(facts=FLEETS, request=REQUESTS)
def test_explanation_agrees_with_the_choice(facts: list[VmFacts], request: dict[str, Any]) -> None:
    """The best scores highest, a score is its terms' sum, and all three carry what would be used."""
    ranked = outcome(facts, request)["ranked"]
    assert [each["score"] for each in ranked] == sorted((each["score"] for each in ranked), reverse=True)
    by_name = {each.vm.name: each for each in facts}
    needs, terminal = request["ua"].requirements, request["terminal"]
    for each in ranked:
        assert each["score"] == sum(term["points"] for term in each["terms"].values())
        uses, found = each["uses"], by_name[each["vm"]]
        assert uses["protocol"] in set(needs.protocols) & set(terminal.protocols) & set(found.vm.protocols)
        assert (uses["video_codec"] is not None) == bool(needs.video_codecs)
        assert uses["resolution"] is None or not needs.resolutions or uses["resolution"] in needs.resolutions
        only = replace(needs, **{"frame_rates": (uses["frame_rate_hz"],)} if needs.frame_rates else {})
        assert carried(found.offers, only, terminal)
