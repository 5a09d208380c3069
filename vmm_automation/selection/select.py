"""Picks the VM for a UA session, and keeps the answer to "why this VM, and why not that one"."""

from __future__ import annotations

from collections.abc import Sequence

from vmm_automation.errors import NoVmFits
from vmm_automation.model.terminal import TerminalProfile
from vmm_automation.model.ua import UaDefinition
from vmm_automation.model.vm import VmFacts
from vmm_automation.selection.filters import TERMINAL_FILTERS, VM_FILTERS, Miss, Question, protocol_for
from vmm_automation.selection.outcome import EXISTS, TERMINAL, Choice, Rejection, Selection
from vmm_automation.selection.score import terms_of
from vmm_automation.selection.summary import hint_for, message_for


def select_vm(
    *,
    ua: UaDefinition,
    terminal: TerminalProfile,
    facts: Sequence[VmFacts],
    version: str | None,
    wanted_vm: str | None,
    avoid: Sequence[str],
    last_vm: str | None,
) -> Selection:
    """Rank the VMs that can serve ``ua`` to ``terminal``; the order of ``facts`` does not matter.

    ``version`` None takes any version that the site defines and the VM has active; ``wanted_vm`` admits
    only that VM; VMs in ``avoid`` are left out; ``last_vm`` is the user's VM of last time.

    Raises:
        NotFound: the UA's definition has no such version.
        NoVmFits: no VM passes all filters; ``details`` is the selection's document.
    """
    if version is not None:
        ua.version(version)
    question = Question(ua, terminal, version, wanted_vm, frozenset(avoid))
    ordered = sorted(facts, key=lambda each: each.vm.name)
    lacks = _terminal_rejections(question)
    rejected, fitting = _filtered(question, ordered, terminal_fits=not lacks)
    selection = Selection(_ranked(question, fitting, last_vm=last_vm), rejected, lacks)
    if not selection.ranked:
        raise NoVmFits(
            message_for(question, rejected=rejected, terminal=lacks),
            hint=hint_for(question, rejected=rejected, terminal=lacks),
            details=selection.to_document(),
        )
    return selection


def _terminal_rejections(question: Question) -> tuple[Rejection, ...]:
    subject = f"terminal '{question.terminal.name}':"
    missed = [(name, check(question)) for name, check in TERMINAL_FILTERS]
    return tuple(_rejection("", name, miss, subject) for name, miss in missed if miss is not None)


def _filtered(
    question: Question, ordered: Sequence[VmFacts], *, terminal_fits: bool
) -> tuple[tuple[Rejection, ...], list[VmFacts]]:
    rejected: list[Rejection] = []
    fitting: list[VmFacts] = []
    for facts in ordered:
        rejection = _first_failing(question, facts)
        if rejection is None and not terminal_fits:
            name = question.terminal.name
            miss = Miss("a fitting terminal", name, f"would fit, but terminal '{name}' does not")
            rejection = _rejection(facts.vm.name, TERMINAL, miss, facts.vm.name)
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


def _first_failing(question: Question, facts: VmFacts) -> Rejection | None:
    for name, check in VM_FILTERS:
        miss = check(question, facts)
        if miss is not None:
            return _rejection(facts.vm.name, name, miss, facts.vm.name)
    return None


def _rejection(vm: str, name: str, miss: Miss, subject: str) -> Rejection:
    return Rejection(vm, name, miss.needed, miss.found, f"{subject} {miss.clause}")


def _ranked(question: Question, fitting: Sequence[VmFacts], *, last_vm: str | None) -> tuple[Choice, ...]:
    choices = [_choice(question, facts, last_vm=last_vm, fitting=fitting) for facts in fitting]
    # Points of memory are rounded, so memory itself decides between equal points, then the name.
    return tuple(sorted(choices, key=lambda choice: (-choice.score, choice.memory_mib, choice.vm)))


def _choice(question: Question, facts: VmFacts, *, last_vm: str | None, fitting: Sequence[VmFacts]) -> Choice:
    ua = question.ua
    version = facts.active_uas[ua.id]
    terms = terms_of(facts, ua=ua, last_vm=last_vm, fitting=fitting)
    return Choice(
        vm=facts.vm.name,
        ua=ua.id,
        version=version,
        newest=version == ua.versions[-1].version,
        vcpus=facts.vm.vcpus,
        memory_mib=facts.vm.memory_mib,
        protocol=protocol_for(question, facts) or "",
        score=sum(term.points for term in terms.values()),
        terms=terms,
    )
