"""The hard filters of VM selection: each compares what is needed with what is found, and says both.

A filter never guesses: what a VM's profile does not state fails a requirement on it as *unknown*.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vmm_automation.model.vm import VmCondition, VmFacts, VmState
from vmm_automation.selection import negotiation
from vmm_automation.selection.question import UNKNOWN, Miss, Question, listed

VmFilter = Callable[[Question, VmFacts], Miss | None]


def _wanted(question: Question, facts: VmFacts) -> Miss | None:
    if question.wanted_vm is None or facts.vm.name == question.wanted_vm:
        return None
    clause = f"is not the VM asked for, '{question.wanted_vm}'"
    return Miss(question.wanted_vm, facts.vm.name, clause)


def _avoid(question: Question, facts: VmFacts) -> Miss | None:
    if facts.vm.name not in question.avoid:
        return None
    return Miss("a VM that is not to be avoided", facts.vm.name, "is to be avoided")


def _free(_question: Question, facts: VmFacts) -> Miss | None:
    if facts.session is None:
        return None
    return Miss("no live session", f"session '{facts.session}'", f"is in use by session '{facts.session}'")


def _held(_question: Question, facts: VmFacts) -> Miss | None:
    if not facts.held:
        return None
    return Miss("a VM that nobody works on", facts.held, f"is held: {facts.held}")


def _drained(_question: Question, facts: VmFacts) -> Miss | None:
    if not facts.drained:
        return None
    return Miss("a pool that gives out VMs", "drained", f"is of pool '{facts.pool}', which is drained")


def _running(_question: Question, facts: VmFacts) -> Miss | None:
    state = facts.vm.state
    if facts.warmth is not None:  # saved or switched off by its pool, it is started for the session
        return None
    return Miss(str(VmState.RUNNING), str(state), f"is {state}, not running")


def _ready(_question: Question, facts: VmFacts) -> Miss | None:
    if facts.vm.ready:
        return None
    return Miss("ready", "not ready", "is running but not ready yet")


def _clean(_question: Question, facts: VmFacts) -> Miss | None:
    if facts.condition is VmCondition.CLEAN:
        return None
    clause = f"is {facts.condition}: an earlier user's data may be on it"
    return Miss(str(VmCondition.CLEAN), str(facts.condition), clause)


def _ua_active(question: Question, facts: VmFacts) -> Miss | None:
    ua = question.ua
    active = facts.active_uas.get(ua.id)
    defined = [version.version for version in ua.versions]
    if any(each.withdrawn for each in ua.versions if each.version == active):
        return Miss(
            f"{ua.id} in a version that is offered",
            f"{ua.id} {active}",
            f"has {ua.id} {active}, which was withdrawn",
        )
    if active in ([question.version] if question.version is not None else defined):
        return None
    needed = f"{ua.id} {question.version}" if question.version is not None else ua.id
    if active is None:
        return Miss(f"{needed} active", "not active", f"has no active {needed}")
    found = f"{ua.id} {active} active"
    if question.version is not None:
        return Miss(f"{needed} active", found, f"has {found}, {question.version} is needed")
    clause = f"has {found}, a version that the site does not define ({', '.join(defined)})"
    return Miss(f"{ua.id} active in a defined version", found, clause)


def _vcpus(question: Question, facts: VmFacts) -> Miss | None:
    needed, found = question.needs(facts).vcpus, facts.vm.vcpus
    return None if found >= needed else _too_little(needed, found, "", " vCPUs")


def _memory(question: Question, facts: VmFacts) -> Miss | None:
    needed, found = question.needs(facts).memory_mib, facts.vm.memory_mib
    return None if found >= needed else _too_little(needed, found, " MiB", " of memory")


def _too_little(needed: int, found: int, unit: str, what: str) -> Miss:
    return Miss(f"{needed}{unit}", f"{found}{unit}", f"has {found}{unit}{what}, {needed}{unit} needed")


def _features(question: Question, facts: VmFacts) -> Miss | None:
    return _all_of("feature", question.needs(facts).features, facts.vm.features)


def _encoders(question: Question, facts: VmFacts) -> Miss | None:
    return _all_of("encoder", question.needs(facts).encoders, facts.offers.video_encoders)


def _all_of(what: str, needed: Sequence[str], found: Sequence[str] | None) -> Miss | None:
    missing = [each for each in needed if each not in (found or ())]
    if not missing:
        return None
    return Miss(listed(needed), listed(found), f"lacks {what} {listed(missing)} (it has {listed(found)})")


def _regions(question: Question, facts: VmFacts) -> Miss | None:
    needed, found = question.needs(facts).regions, facts.offers.region
    if not needed or found in needed:
        return None
    found = found or UNKNOWN
    wanted = " or ".join(needed)
    return Miss(wanted, found, f"is in region {found}, {wanted} needed")


def _protocols(question: Question, facts: VmFacts) -> Miss | None:
    common = negotiation.protocols(question.needs(facts), question.terminal)
    return _carried("protocol", common, facts.vm.protocols)


def _video_codec(question: Question, facts: VmFacts) -> Miss | None:
    common = negotiation.video_codecs(question.needs(facts), question.terminal)
    return _carried("video codec", common, facts.offers.video_encoders)


def _audio_codec(question: Question, facts: VmFacts) -> Miss | None:
    common = negotiation.audio_codecs(question.needs(facts), question.terminal)
    return _carried("audio codec", common, facts.offers.audio_encoders)


def _carried(what: str, common: Sequence[str], offered: Sequence[str] | None) -> Miss | None:
    # With nothing common to terminal and UA every VM would fail alike: that is said once, elsewhere.
    if not common or any(each in (offered or ()) for each in common):
        return None
    found = listed(offered)
    return Miss(" or ".join(common), found, f"offers {what} {found}, terminal and UA share {listed(common)}")


def _resolution(question: Question, facts: VmFacts) -> Miss | None:
    needs, terminal, offers = question.needs(facts), question.terminal, facts.offers
    common = negotiation.resolutions(needs, terminal.screen_width_px, terminal.screen_height_px)
    carried = negotiation.resolutions(needs, offers.max_width_px, offers.max_height_px)
    if not common or any(each in carried for each in common):
        return None
    known = offers.max_width_px is not None and offers.max_height_px is not None
    found = f"{offers.max_width_px}x{offers.max_height_px}" if known else UNKNOWN
    wanted = " or ".join(common)
    return Miss(wanted, found, f"carries pictures up to {found}, {wanted} needed")


def _frame_rate(question: Question, facts: VmFacts) -> Miss | None:
    needs, most = question.needs(facts), facts.offers.max_frame_rate_hz
    common = negotiation.frame_rates(needs, question.terminal.max_frame_rate_hz)
    if not common or (most is not None and min(common) <= most):
        return None
    found, wanted = UNKNOWN if most is None else str(most), f"{min(common)} frames/s"
    return Miss(wanted, found, f"carries {found} frames/s, {wanted} needed")


def _not_kept(_question: Question, facts: VmFacts) -> Miss | None:
    if facts.kept_for is None:
        return None
    clause = f"fits, but is kept for request '{facts.kept_for}', which is served first"
    return Miss("no request ahead", f"request '{facts.kept_for}'", clause)


#: In this order; the first that fails is the VM's reason. ``free`` comes before the VM's condition: a VM in
#: use is usually dirty, and paused while its session is suspended, and "rebuild it" would be bad advice.
VM_FILTERS: tuple[tuple[str, VmFilter], ...] = (
    ("wanted", _wanted),
    ("avoid", _avoid),
    ("free", _free),
    ("held", _held),
    ("drained", _drained),
    ("running", _running),
    ("ready", _ready),
    ("clean", _clean),
    ("ua", _ua_active),
    ("vcpus", _vcpus),
    ("memory", _memory),
    ("features", _features),
    ("encoders", _encoders),
    ("regions", _regions),
    ("protocols", _protocols),
    ("video_codec", _video_codec),
    ("audio_codec", _audio_codec),
    ("resolution", _resolution),
    ("frame_rate", _frame_rate),
    ("kept", _not_kept),  # last: it says that the VM would fit
)
