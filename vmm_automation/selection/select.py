"""Picks the VM for a UA session, and keeps the answer to "why this VM, and why not that one"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vmm_automation.errors import NoVmFits
from vmm_automation.model.pool import Warmth
from vmm_automation.model.terminal import TerminalProfile
from vmm_automation.model.ua import UaDefinition
from vmm_automation.model.vm import VmFacts
from vmm_automation.selection.filters import VM_FILTERS
from vmm_automation.selection.negotiation import negotiated
from vmm_automation.selection.outcome import EXISTS, TERMINAL, Choice, Rejection, Selection
from vmm_automation.selection.question import Miss, Question
from vmm_automation.selection.score import Load, Scale, loads_of, terms_of
from vmm_automation.selection.summary import hint_for, message_for
from vmm_automation.selection.terminal_filters import TERMINAL_FILTERS


def select_vm(
    *,
    ua: UaDefinition,
    terminal: TerminalProfile,
    facts: Sequence[VmFacts],
    version: str | None,
    wanted_vm: str | None,
    avoid: Sequence[str],
    last_vm: str | None,
    pack: bool = False,
    loads: Mapping[str, Load] | None = None,
) -> Selection:
    """Rank the VMs that can serve ``ua`` to ``terminal``; the order of ``facts`` does not matter.

    ``version`` None takes any version that the site defines and the VM has active; ``wanted_vm`` admits
    only that VM; VMs in ``avoid`` are left out; ``last_vm`` is the user's VM of last time; ``pack``
    prefers the fullest region, where otherwise the one with most VMs free is preferred. ``loads`` are
    the regions' where ``facts`` are not all VMs.

    Raises:
        NotFound: the UA's definition has no such version.
        Conflict: that version was withdrawn.
        NoVmFits: no VM passes all filters; ``details`` is the selection's document.
    """
    if version is not None:
        ua.offered(version)
    question = Question(ua, terminal, version, wanted_vm, frozenset(avoid))
    ordered = sorted(facts, key=lambda each: each.vm.name)
    lacks = _lacks(question)
    # the newest version speaks for all of them where the terminal fits none
    common = () if not all(lacks.values()) else lacks[version or ua.newest.version]
    rejected, fitting = _filtered(question, ordered, lacks=lacks)
    scale = _scale(fitting, loads_of(ordered) if loads is None else loads, pack=pack)
    asked = {"ua": ua.id, "version": version, "vm": wanted_vm, "terminal": terminal.to_document()}
    ranked = _ranked(question, fitting, last_vm=last_vm, scale=scale)
    selection = Selection(ranked, rejected, common, asked)
    if not ranked:
        raise NoVmFits(
            message_for(question, rejected=rejected, terminal=common),
            hint=hint_for(question, rejected=rejected, terminal=common),
            details=selection.to_document(),
        )
    return selection


def _scale(fitting: Sequence[VmFacts], loads: Mapping[str, Load], *, pack: bool) -> Scale:
    least = min((each.vm.memory_mib for each in fitting), default=0)
    return Scale(least, loads, pack, all(each.warmth is Warmth.READY for each in fitting))


def _lacks(question: Question) -> dict[str, tuple[Rejection, ...]]:
    """What the terminal lacks, for each version that may be taken."""
    versions = [each.version for each in question.ua.versions]
    wanted = versions if question.version is None else [question.version]
    return {version: _terminal_rejections(question, version) for version in wanted}


def _terminal_rejections(question: Question, version: str) -> tuple[Rejection, ...]:
    terminal, needs = question.terminal, question.ua.needs(version)
    missed = [(name, check(needs, terminal)) for name, check in TERMINAL_FILTERS]
    subject = f"terminal '{terminal.name}':"
    return tuple(_rejection("", name, miss, subject) for name, miss in missed if miss is not None)


def _filtered(
    question: Question, ordered: Sequence[VmFacts], *, lacks: Mapping[str, tuple[Rejection, ...]]
) -> tuple[tuple[Rejection, ...], list[VmFacts]]:
    rejected: list[Rejection] = []
    fitting: list[VmFacts] = []
    for facts in ordered:
        rejection = _first_failing(question, facts)
        if rejection is None and lacks[facts.active_uas[question.ua.id]]:
            rejection = _unfit_terminal(question, facts, lacks[facts.active_uas[question.ua.id]])
        if rejection is None:
            fitting.append(facts)
        else:
            rejected.append(rejection)
    wanted = question.wanted_vm
    if wanted is not None and all(facts.vm.name != wanted for facts in ordered):
        there = ", ".join(facts.vm.name for facts in ordered) or "none"
        miss = Miss(wanted, there, f"does not exist (VMs: {there})")
        rejected.insert(0, _rejection(wanted, EXISTS, miss, wanted))
    return tuple(rejected), fitting


def _unfit_terminal(question: Question, facts: VmFacts, lacks: tuple[Rejection, ...]) -> Rejection:
    name = question.terminal.name
    clause = f"would fit, but terminal '{name}' does not: {lacks[0].sentence.partition(': ')[2]}"
    return _rejection(facts.vm.name, TERMINAL, Miss(lacks[0].needed, lacks[0].found, clause), facts.vm.name)


def _first_failing(question: Question, facts: VmFacts) -> Rejection | None:
    for name, check in VM_FILTERS:
        miss = check(question, facts)
        if miss is not None:
            return _rejection(facts.vm.name, name, miss, facts.vm.name)
    return None


def _rejection(vm: str, name: str, miss: Miss, subject: str) -> Rejection:
    return Rejection(vm, name, miss.needed, miss.found, f"{subject} {miss.clause}")


def _ranked(
    question: Question, fitting: Sequence[VmFacts], *, last_vm: str | None, scale: Scale
) -> tuple[Choice, ...]:
    choices = [_choice(question, facts, last_vm=last_vm, scale=scale) for facts in fitting]
    # Points of memory are rounded, so memory itself decides between equal points; then the VM with less to
    # offer, so that what is rare stays free for who needs it; then the name.
    offered = {facts.vm.name: _offered(facts) for facts in fitting}
    return tuple(sorted(choices, key=lambda each: (-each.score, each.memory_mib, offered[each.vm], each.vm)))


def _offered(facts: VmFacts) -> int:
    encoders = len(facts.offers.video_encoders or ()) + len(facts.offers.audio_encoders or ())
    return len(facts.vm.features) + len(facts.vm.protocols) + encoders


def _choice(question: Question, facts: VmFacts, *, last_vm: str | None, scale: Scale) -> Choice:
    ua = question.ua
    version = facts.active_uas[ua.id]
    terms = terms_of(facts, ua=ua, last_vm=last_vm, scale=scale)
    return Choice(
        vm=facts.vm.name,
        ua=ua.id,
        version=version,
        newest=version == ua.newest.version,
        vcpus=facts.vm.vcpus,
        memory_mib=facts.vm.memory_mib,
        uses=negotiated(question, facts),
        score=sum(term.points for term in terms.values()),
        terms=terms,
        warmth=facts.warmth or Warmth.READY,
    )
