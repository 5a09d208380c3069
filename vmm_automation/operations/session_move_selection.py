"""Where a session may move to: selection over all VMs, where its own counts as free for it.

A move stands before the queue, for its user is at work and it leaves a VM to those that wait. But of several
VMs that fit it takes none that is kept for one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vmm_automation.errors import NoVmFits
from vmm_automation.model.session import Session
from vmm_automation.model.terminal import TerminalProfile
from vmm_automation.model.vm import VmCondition, VmFacts
from vmm_automation.model.waiting import PRIORITIES, Place
from vmm_automation.operations.context import Context
from vmm_automation.operations.queue_places import ahead_of
from vmm_automation.operations.vm_facts import known, observed
from vmm_automation.selection.outcome import Selection
from vmm_automation.selection.select import select_vm
from vmm_automation.selection.turns import kept
from vmm_automation.site import Placement

_BEHIND_ALL = Place.of(min(PRIORITIES))


@dataclass(frozen=True)
class Wish:
    """Where a session is to go: to a terminal, on ``vm`` only if one is named, not on VMs in ``avoid``."""

    terminal: str | dict[str, Any]
    vm: str = ""
    avoid: Sequence[str] = field(default_factory=tuple)


def select_for_move(context: Context, session: Session, terminal: TerminalProfile, wish: Wish) -> Selection:
    """The VMs that a session could be on with another terminal, best first.

    Raises:
        NoVmFits: there is none.
    """
    found, pack = observed(context), context.site.policies.placement is Placement.PACK
    with context.store.reading() as tx:
        facts = kept(known(tx, found), ahead_of(tx, context, _BEHIND_ALL), pack=pack)

    def select(offered: list[VmFacts]) -> Selection:
        return select_vm(
            ua=context.site.ua(session.ua),
            terminal=terminal,
            facts=[_own(each) if each.vm.name == session.vm else each for each in offered],
            version=session.version,  # data goes back and forth between VMs only within one version
            wanted_vm=wish.vm or None,
            avoid=wish.avoid,
            last_vm=session.vm,
            pack=pack,
        )

    try:
        return select(facts)
    except NoVmFits:
        return select([replace(each, kept_for=None) for each in facts])


def _own(facts: VmFacts) -> VmFacts:
    """The session's own VM: whatever keeps it from others does not keep the session from staying."""
    return replace(facts, condition=VmCondition.CLEAN, session=None, drained=False, held="")
