"""A pool as it is: what is wanted of it, by its definition and by what was asked since, and its VMs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from vmm_automation.errors import VmmError
from vmm_automation.model.pool import PoolDefinition
from vmm_automation.model.times import to_text
from vmm_automation.model.vm import Vm, VmCondition, VmFacts
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import pool_change
from vmm_automation.operations.pool_plan import Member, Wanted
from vmm_automation.operations.ua_offer import offered_ua
from vmm_automation.operations.vm_facts import facts
from vmm_automation.state import pools
from vmm_automation.state.pools import Phase, Pool, PoolMember


@dataclass(frozen=True)
class FoundPool:
    """A pool with its members as the plan takes them; ``version`` is the one of the UA that is wanted."""

    definition: PoolDefinition
    asked: Pool
    version: str
    members: tuple[Member, ...]
    facts: dict[str, VmFacts]
    phases: dict[str, PoolMember]

    @property
    def wanted(self) -> Wanted:
        """What the pool is to be."""
        levels = self.asked.levels or self.definition.levels
        return Wanted(levels, self.definition.most, self.definition.max_unavailable, self.asked.drain)


def note_failure(context: Context, pool: str, *, vm: str, failure: VmmError) -> None:
    """Count a failure; after too many in a row the pool is left alone."""
    with context.store.transaction() as tx:
        now = context.clock.now()
        with pool_change(tx, context, pool, action="fail", now=now) as result:
            count = pools.note_failure(tx, pool=pool, reason=failure.message)
            pools.release(tx, vm=vm)
            result |= {"vm": vm, "failures": count, "error": type(failure).__name__}


def find(context: Context, name: str) -> FoundPool:
    """A pool and its VMs, as they are now.

    Raises:
        InvalidName, NotFound, SiteInvalid: the pool, its profile, base image or UA is not there or is wrong.
    """
    definition = context.site.pool(name)
    ua = offered_ua(context, definition.ua)
    version = ua.version(definition.version or None).version
    offered = frozenset(each.version for each in ua.versions if not each.withdrawn)
    known = {fact.vm.name: fact for fact in facts(context)}
    with context.store.reading() as tx:
        asked = pools.get(tx, pool=name)
        rows = pools.members(tx, pool=name)
    judge = _Judge(context, definition, version, offered)
    return FoundPool(
        definition,
        asked,
        version,
        tuple(judge.member(row, known.get(row.vm)) for row in rows),
        {row.vm: known[row.vm] for row in rows if row.vm in known},
        {row.vm: row for row in rows},
    )


class _Judge:
    """What the plan has to know of a VM, beside what a VM that were made now would be."""

    def __init__(
        self, context: Context, definition: PoolDefinition, version: str, offered: frozenset[str]
    ) -> None:
        self._ua, self._version, self._offered = definition.ua, version, offered
        self._profile = context.site.profile(definition.profile)
        self._digest = context.site.base_image(self._profile.base_image).digest
        deadline = timedelta(seconds=definition.ready_deadline_s)
        self._overdue = to_text(context.clock.now() - deadline)

    def member(self, row: PoolMember, fact: VmFacts | None) -> Member:
        """One VM, as it was found."""
        leaving = row.phase is Phase.LEAVING
        if fact is None:
            lacks = {"made": False, "clean": False, "current": False, "serving": False}
            return Member(row.vm, None, there=False, leaving=leaving, **lacks)
        active = fact.active_uas.get(self._ua)
        clean = fact.condition is VmCondition.CLEAN
        serving = bool(fact.warmth and fact.vm.ready and clean and active in self._offered)
        overdue = row.phase is Phase.MAKING and row.since <= self._overdue
        return Member(
            vm=row.vm,
            warmth=fact.warmth,
            made=fact.vm.ready,
            busy=fact.session is not None,
            clean=clean,
            current=active == self._version,
            serving=serving,
            outdated=not self._is_current(fact.vm),
            late=overdue and not serving,
            leaving=leaving,
        )

    def _is_current(self, vm: Vm) -> bool:
        ours = self._profile
        wanted = (ours.name, self._digest, ours.vcpus, ours.memory_mib, ours.features, ours.protocols)
        return wanted == (vm.profile, vm.base_digest, vm.vcpus, vm.memory_mib, vm.features, vm.protocols)
