"""The message and the hint when no VM fits: the reasons counted, and one thing to type for the commonest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vmm_automation.selection.filters import VM_FILTERS
from vmm_automation.selection.outcome import EXISTS, TERMINAL, Rejection
from vmm_automation.selection.question import Question
from vmm_automation.selection.terminal_filters import TERMINAL_FILTERS

_SHOWN_NAMES: Final = 3
_ORDER: Final = (EXISTS, *(name for name, _ in VM_FILTERS), TERMINAL, *(name for name, _ in TERMINAL_FILTERS))

#: after the count of VMs; 'free' and 'ua' are worded with names below
_REASONS: Final = {
    EXISTS: "does not exist",
    "wanted": "not the VM asked for",
    "avoid": "to be avoided",
    "held": "being worked on",
    "drained": "of a drained pool",
    "running": "not running",
    "ready": "not ready yet",
    "clean": "not clean",
    "vcpus": "with too few vCPUs",
    "memory": "with too little memory",
    "features": "lacking a feature",
    "encoders": "lacking an encoder",
    "regions": "in another region",
    "protocols": "without a common protocol",
    "video_codec": "without a common video codec",
    "audio_codec": "without a common audio codec",
    "resolution": "without a common resolution",
    "frame_rate": "without a common frame rate",
    "kept": "kept for requests that wait",
    TERMINAL: "fit but for the terminal",
}
#: what to type; {vm} is the first VM with that reason, {ua} the UA
_HINTS: Final = {
    EXISTS: "vmm vm list",
    "wanted": "vmm vm list",
    "free": "vmm session list",
    "held": "vmm ua rollout show",
    "drained": "vmm pool list",
    "running": "vmm vm start {vm}",
    "ready": "vmm vm list",
    "clean": "vmm vm rebuild {vm}",
    "ua": "vmm ua install {ua} --vm {vm}",
    "kept": "vmm session queue",
    TERMINAL: "vmm ua show {ua}",
}
_CREATE: Final = "vmm vm create {new}"


def message_for(question: Question, *, rejected: Sequence[Rejection], terminal: Sequence[Rejection]) -> str:
    """Why no VM fits: the terminal's lacks if any, the wanted VM's reason, or the VMs counted by reason."""
    asked = f"UA '{question.ua.id}' for terminal '{question.terminal.name}'"
    if terminal:
        return f"No VM fits {asked}: {'; '.join(lack.sentence for lack in terminal)}"
    if question.wanted_vm is not None:
        reason = _of(question.wanted_vm, rejected)
        return f"VM '{question.wanted_vm}' does not fit {asked}: {reason}"
    if not rejected:
        return f"No VM fits {asked}: the site has no VM"
    groups = _by_filter(rejected)
    reasons = [_reason(question, name, groups[name]) for name in _ORDER if name in groups]
    return f"No VM fits {asked}: {len(rejected)} rejected ({', '.join(reasons)})"


def hint_for(question: Question, *, rejected: Sequence[Rejection], terminal: Sequence[Rejection]) -> str:
    """One thing to type for the commonest reason; of equally common ones, the last filter's."""
    ua = question.ua.id
    if terminal:
        return _HINTS[TERMINAL].format(ua=ua)
    if question.wanted_vm is not None:
        rejected = [each for each in rejected if each.vm == question.wanted_vm]
    groups = _by_filter(rejected)
    if not groups:
        return _CREATE.format(new="vm-1")
    commonest = max(groups, key=lambda name: (len(groups[name]), _ORDER.index(name)))
    new = _new_name({each.vm for each in rejected})
    return _HINTS.get(commonest, _CREATE).format(ua=ua, vm=groups[commonest][0].vm, new=new)


def _by_filter(rejected: Sequence[Rejection]) -> dict[str, list[Rejection]]:
    groups: dict[str, list[Rejection]] = {}
    for rejection in rejected:
        groups.setdefault(rejection.filter, []).append(rejection)
    return groups


def _reason(question: Question, name: str, group: Sequence[Rejection]) -> str:
    count = len(group)
    if name == "free":
        shown = ", ".join(each.found.removeprefix("session ") for each in group[:_SHOWN_NAMES])
        more = ", …" if count > _SHOWN_NAMES else ""
        return f"{count} in use by session{'' if count == 1 else 's'} {shown}{more}"
    if name == "ua":
        version = f" {question.version}" if question.version is not None else ""
        return f"{count} without an active {question.ua.id}{version}"
    return f"{count} {_REASONS[name]}"


def _of(vm: str, rejected: Sequence[Rejection]) -> str:
    sentence = next(each.sentence for each in rejected if each.vm == vm)
    return f"it {sentence.removeprefix(vm).strip()}"


def _new_name(taken: set[str]) -> str:
    number = 1
    while f"vm-{number}" in taken:
        number += 1
    return f"vm-{number}"
