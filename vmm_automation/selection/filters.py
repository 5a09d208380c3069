"""The hard filters of VM selection: each compares what is needed with what is found, and says both.

A filter never guesses: a terminal that does not state a value fails a requirement on it as *unknown*.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vmm_automation.model.terminal import TerminalProfile
from vmm_automation.model.ua import UaDefinition
from vmm_automation.model.vm import VmCondition, VmFacts, VmState

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Question:
    """What is asked for: a UA (in one version, or in any), for a terminal, on one VM or on any but some."""

    ua: UaDefinition
    terminal: TerminalProfile
    version: str | None = None
    wanted_vm: str | None = None
    avoid: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Miss:
    """Why a filter refuses: what it needs, what it found, and both in a clause that follows a subject."""

    needed: str
    found: str
    clause: str


VmFilter = Callable[[Question, VmFacts], Miss | None]
TerminalFilter = Callable[[Question], Miss | None]


def common_protocols(question: Question) -> tuple[str, ...]:
    """The protocols that terminal and UA share, in the UA's order (best first)."""
    spoken = question.terminal.protocols or ()
    return tuple(each for each in question.ua.requirements.protocols if each in spoken)


def protocol_for(question: Question, facts: VmFacts) -> str | None:
    """The protocol that the session would use on this VM, or None if none is common to all three."""
    return next((each for each in common_protocols(question) if each in facts.vm.protocols), None)


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


def _running(_question: Question, facts: VmFacts) -> Miss | None:
    state = facts.vm.state
    if state is VmState.RUNNING:
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
    needed, found = question.ua.requirements.vcpus, facts.vm.vcpus
    return None if found >= needed else _too_little(needed, found, "", " vCPUs")


def _memory(question: Question, facts: VmFacts) -> Miss | None:
    needed, found = question.ua.requirements.memory_mib, facts.vm.memory_mib
    return None if found >= needed else _too_little(needed, found, " MiB", " of memory")


def _too_little(needed: int, found: int, unit: str, what: str) -> Miss:
    return Miss(f"{needed}{unit}", f"{found}{unit}", f"has {found}{unit}{what}, {needed}{unit} needed")


def _features(question: Question, facts: VmFacts) -> Miss | None:
    missing = [each for each in question.ua.requirements.features if each not in facts.vm.features]
    if not missing:
        return None
    needed, found = _list(question.ua.requirements.features), _list(facts.vm.features)
    return Miss(needed, found, f"lacks feature {_list(missing)} (it has {found})")


def _protocols(question: Question, facts: VmFacts) -> Miss | None:
    common = common_protocols(question)
    # Without a protocol common to terminal and UA every VM would fail alike: that is said once, elsewhere.
    if not common or protocol_for(question, facts) is not None:
        return None
    needed, found = " or ".join(common), _list(facts.vm.protocols)
    return Miss(needed, found, f"offers protocol {found}, terminal and UA share {_list(common)}")


def _terminal_protocols(question: Question) -> Miss | None:
    needed = " or ".join(question.ua.requirements.protocols) or "none"
    if question.terminal.protocols is None:
        return Miss(needed, UNKNOWN, f"protocols are unknown, {needed} needed")
    if common_protocols(question):
        return None
    found = _list(question.terminal.protocols)
    return Miss(needed, found, f"protocols are {found}, {needed} needed")


def _screen_width(question: Question) -> Miss | None:
    needed = question.ua.requirements.min_screen_width_px
    return _least("screen width", needed, question.terminal.screen_width_px, "px")


def _screen_height(question: Question) -> Miss | None:
    needed = question.ua.requirements.min_screen_height_px
    return _least("screen height", needed, question.terminal.screen_height_px, "px")


def _bandwidth(question: Question) -> Miss | None:
    needed = question.ua.requirements.min_bandwidth_kbit_s
    return _least("bandwidth", needed, question.terminal.bandwidth_kbit_s, "kbit/s")


def _inputs(question: Question) -> Miss | None:
    needed, found = question.ua.requirements.inputs, question.terminal.inputs
    if found is None:
        return Miss(_list(needed), UNKNOWN, f"inputs are unknown, {_list(needed)} needed") if needed else None
    missing = [each for each in needed if each not in found]
    if not missing:
        return None
    clause = f"inputs are {_list(found)}, {_list(missing)} needed too"
    return Miss(_list(needed), _list(found), clause)


def _audio_out(question: Question) -> Miss | None:
    found = question.terminal.audio_out
    if not question.ua.requirements.audio_out or found is True:
        return None
    said = UNKNOWN if found is None else "absent"
    return Miss("audio output", said, f"audio output is {said}, and needed")


def _least(what: str, needed: int, found: int | None, unit: str) -> Miss | None:
    if not needed or (found is not None and found >= needed):
        return None
    if found is None:
        return Miss(f"{needed} {unit}", UNKNOWN, f"{what} is unknown, {needed} {unit} needed")
    return Miss(f"{needed} {unit}", f"{found} {unit}", f"{what} is {found} {unit}, {needed} {unit} needed")


def _list(words: tuple[str, ...] | list[str]) -> str:
    return ", ".join(words) or "none"


#: In this order; the first that fails is the VM's reason. ``free`` comes before the VM's condition: a VM in
#: use is usually dirty, and paused while its session is suspended, and "rebuild it" would be bad advice.
VM_FILTERS: tuple[tuple[str, VmFilter], ...] = (
    ("wanted", _wanted),
    ("avoid", _avoid),
    ("free", _free),
    ("running", _running),
    ("ready", _ready),
    ("clean", _clean),
    ("ua", _ua_active),
    ("vcpus", _vcpus),
    ("memory", _memory),
    ("features", _features),
    ("protocols", _protocols),
)
#: What the UA needs of the terminal; all that fail are reported, once for all VMs.
TERMINAL_FILTERS: tuple[tuple[str, TerminalFilter], ...] = (
    ("terminal_protocols", _terminal_protocols),
    ("screen_width", _screen_width),
    ("screen_height", _screen_height),
    ("inputs", _inputs),
    ("audio_out", _audio_out),
    ("bandwidth", _bandwidth),
)
