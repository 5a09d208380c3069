"""The steps of a pool's plan, done: intent recorded, VMs worked on, outcome recorded."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from vmm_automation.errors import LockHeld, Timeout, VmmError
from vmm_automation.operations.context import Context
from vmm_automation.operations.entries import pool_change, vm_change
from vmm_automation.operations.pool_found import FoundPool, note_failure
from vmm_automation.operations.pool_plan import Act, Member, Plan, Step
from vmm_automation.ports import PoolHands
from vmm_automation.state import pools, vms
from vmm_automation.state.pools import Phase
from vmm_automation.state.store import Snapshot
from vmm_automation.trace import point

#: why a VM is left alone that something else was to be done with
TAKEN = "in a session or a rollout"
_NAMING_ATTEMPTS = 8


@dataclass
class PoolRun:
    """One run for one pool; ``made``, ``failed``, ``skipped``, ``prepare`` tell what became of which VM."""

    context: Context
    found: FoundPool
    hands: PoolHands
    planned: Plan
    made: list[str] = field(default_factory=list)
    failed: dict[str, VmmError] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)

    @property
    def pool(self) -> str:
        """Its name."""
        return self.found.definition.name

    @property
    def prepare(self) -> list[str]:
        """The VMs whose guests lack something: those there were, and those that were made."""
        known = [step.vm for step in self.planned.of(Act.PREPARE)]
        return [vm for vm in [*known, *self.made] if vm not in self.failed and vm not in self.skipped]

    def act(self) -> None:
        """All but what follows the work in the guests."""
        self._note_made()
        self._remove(self.planned.of(Act.DELETE))
        self._start(self.planned.of(Act.START))
        self._create(self.planned.of(Act.CREATE))

    def put_away(self) -> None:
        """Save and switch off what nothing else is to be done with."""
        others = {step.vm for step in self.planned.steps if step.act not in {Act.PARK, Act.STOP}}
        kept: dict[Act, list[str]] = {}
        for act in (Act.PARK, Act.STOP):
            names = [step.vm for step in self.planned.of(act) if step.vm not in others]
            kept[act] = [vm for vm in names if self._reserve(vm, action=str(act), only_clean=True)]
        point("pool.put_away.recorded")
        failures = self.hands.park(kept[Act.PARK]) | self.hands.stop(kept[Act.STOP])
        point("pool.put_away.done")
        for act, vm in ((act, vm) for act, names in kept.items() for vm in names):
            if vm in failures:
                self._fail(vm, failures[vm])
            else:
                self._give_back(vm, action=str(act))

    def _note_made(self) -> None:
        """Members that were made ready by other hands."""
        making = [member.vm for member in self.found.members if member.serving and self._is_making(member.vm)]
        for vm in making:
            with self.context.store.transaction() as tx:
                now = self.context.clock.now()
                with pool_change(tx, self.context, self.pool, action="ready", now=now) as result:
                    pools.release(tx, vm=vm)
                    pools.move_to(tx, vm=vm, phase=Phase.MEMBER, now=now)
                    result |= {"vm": vm}

    def _is_making(self, vm: str) -> bool:
        return self.found.phases[vm].phase is Phase.MAKING

    def _remove(self, steps: Sequence[Step]) -> None:
        leaving = [step.vm for step in steps if self._reserve(step.vm, action="leave", phase=Phase.LEAVING)]
        point("pool.remove.recorded")
        failures = self.hands.delete(leaving)
        point("pool.remove.removed")
        for vm in leaving:
            if vm in failures:
                self._fail(vm, failures[vm])
                continue
            self._forget(vm)
            if self._member(vm).late:
                self._fail(vm, self._never_ready(vm))

    def _start(self, steps: Sequence[Step]) -> None:
        """What is then prepared stays reserved: it is proven clean there."""
        prepared = {step.vm for step in self.planned.of(Act.PREPARE)}
        clean = {step.vm for step in steps if step.vm not in prepared and self._member(step.vm).clean}
        kept = [
            step.vm for step in steps if self._reserve(step.vm, action="start", only_clean=step.vm in clean)
        ]
        failures = self.hands.start(kept)
        for vm in kept:
            if vm in failures:
                self._fail(vm, failures[vm])
            elif vm in clean:
                self._give_back(vm, action="start")

    def _create(self, steps: Sequence[Step]) -> None:
        """So many at a time; none any more once too many failed in a row."""
        definition = self.found.definition
        for batch in _batches(steps, definition.parallel_creates):
            names = [self._add() for _step in batch]
            point("pool.create.recorded")
            failures = self.hands.create(names, profile=definition.profile)
            point("pool.create.created")
            there = {each.name for each in self.context.hypervisor.vms()} if failures else set()
            for vm, failure in failures.items():
                if vm not in there:  # else the next run finishes or removes it
                    self._forget(vm)
                self._fail(vm, failure)
            self.made += [vm for vm in names if vm not in failures]
            with self.context.store.reading() as tx:
                if pools.get(tx, pool=self.pool).failures >= definition.failures_before_stop:
                    return

    def _add(self) -> str:
        """A member to be made, under a name that nobody has."""
        taken = {vm.name for vm in self.context.hypervisor.vms()}
        names = (f"{self.pool}-{secrets.token_hex(4)}" for _attempt in range(_NAMING_ATTEMPTS))
        vm = next(name for name in names if name not in taken)
        with self.context.store.transaction() as tx:
            now = self.context.clock.now()
            self._require_ours(tx)
            with pool_change(tx, self.context, self.pool, action="make", now=now) as result:
                pools.add(tx, vm=vm, pool=self.pool, now=now)
                result |= {"vm": vm}
        return vm

    def _forget(self, vm: str) -> None:
        with self.context.store.transaction() as tx:
            now = self.context.clock.now()
            with pool_change(tx, self.context, self.pool, action="gone", now=now) as result:
                pools.forget(tx, vm=vm)
                vms.forget(tx, vm=vm)
                result |= {"vm": vm}

    def _reserve(self, vm: str, *, action: str, phase: Phase | None = None, only_clean: bool = False) -> bool:
        """Keep sessions away from a VM; one that got there first is left alone."""
        with self.context.store.transaction() as tx:
            now = self.context.clock.now()
            self._require_ours(tx)
            reason = f"pool '{self.pool}': {action}"
            with pool_change(tx, self.context, self.pool, action=action, now=now) as result:
                kept = pools.reserve(tx, vm=vm, reason=reason, now=now, only_clean=only_clean)
                if kept and phase:
                    pools.move_to(tx, vm=vm, phase=phase, now=now)
                result |= {"vm": vm, "status": "ok" if kept else TAKEN}
        if not kept:
            self.skipped.add(vm)
        return kept

    def _require_ours(self, tx: Snapshot) -> None:
        """A run that was taken for dead does nothing more."""
        holder = pools.get(tx, pool=self.pool).owner
        if holder != self.found.asked.owner:
            raise LockHeld(
                f"Cannot go on with pool '{self.pool}': another run has taken it over",
                hint=f"vmm pool show {self.pool}",
                details={"pool": self.pool, "holder": holder},
            )

    def _give_back(self, vm: str, *, action: str) -> None:
        """Let a VM be claimed again that was clean when it was reserved."""
        with self.context.store.transaction() as tx:
            now = self.context.clock.now()
            with vm_change(tx, self.context, vm, action=f"pool.{action}", now=now) as result:
                kept = pools.release(tx, vm=vm)
                if kept:
                    vms.mark_clean(tx, vm=vm, reason=f"pool '{self.pool}': {action} done", now=now)
                result |= {"status": "ok" if kept else "made anew meanwhile", "pool": self.pool}

    def _fail(self, vm: str, failure: VmmError) -> None:
        self.failed[vm] = failure
        note_failure(self.context, self.pool, vm=vm, failure=failure)

    def _member(self, vm: str) -> Member:
        return next(member for member in self.found.members if member.vm == vm)

    def _never_ready(self, vm: str) -> Timeout:
        deadline_s = self.found.definition.ready_deadline_s
        return Timeout(f"VM '{vm}' was not ready within {deadline_s} s", details={"vm": vm})


def _batches(steps: Sequence[Step], size: int) -> Iterator[Sequence[Step]]:
    for first in range(0, len(steps), size):
        yield steps[first : first + size]
