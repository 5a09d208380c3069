"""What is to be done for a pool of VMs: decided from what is wanted and what was found, without doing it.

Never touched is a VM that a session holds. A VM that serves (clean, with some version of the UA active) is
taken away for a change only within ``max_unavailable``, and never the last one; what is more than wanted goes
at once. Done again and again the plan comes to an end, and is then empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from vmm_automation.model.pool import Levels, Warmth
from vmm_automation.state.pools import Drain


class Act(StrEnum):
    """One thing that is done for one VM, in the order in which a run does them."""

    DELETE = "delete"
    CREATE = "create"
    START = "start"
    PREPARE = "prepare"
    PARK = "park"
    STOP = "stop"


@dataclass(frozen=True)
class Member:
    """A VM of the pool as it was found.

    ``warmth`` None: neither running, saved nor off, or not there (``there``). ``made``: it has answered once.
    ``current``: the wanted version of the UA is active; ``serving``: a session could run on it. ``outdated``:
    its profile or base image is another by now. ``late``: not ready by its deadline.
    """

    vm: str
    warmth: Warmth | None = Warmth.READY
    there: bool = True
    made: bool = True
    busy: bool = False
    clean: bool = True
    current: bool = True
    serving: bool = True
    outdated: bool = False
    late: bool = False
    leaving: bool = False

    @property
    def stale(self) -> bool:
        """Whether it is to be changed although it serves."""
        return self.outdated or not self.current


@dataclass(frozen=True)
class Wanted:
    """What a pool is to be; ``most`` bounds all members, those in sessions too."""

    levels: Levels
    most: int
    max_unavailable: int = 1
    drain: Drain = Drain.NO


@dataclass(frozen=True)
class Step:
    """One step; ``vm`` is '' for one that is to be made, ``warmth`` what it is to be in the end."""

    act: Act
    vm: str
    reason: str = ""
    warmth: Warmth = Warmth.READY

    def to_document(self) -> dict[str, Any]:
        """As in result documents."""
        return {
            "action": str(self.act),
            "vm": self.vm or None,
            "reason": self.reason,
            "warmth": str(self.warmth),
        }


@dataclass(frozen=True)
class Plan:
    """The steps, and the VMs whose change has to wait for another run."""

    steps: tuple[Step, ...]
    waiting: tuple[str, ...] = ()

    def of(self, *acts: Act) -> list[Step]:
        """The steps of some kinds."""
        return [step for step in self.steps if step.act in acts]


@dataclass
class _Assigned:
    """Which member is to be what; what is left over, and what is missing."""

    targets: dict[str, Warmth] = field(default_factory=dict)
    surplus: list[Member] = field(default_factory=list)
    missing: list[Warmth] = field(default_factory=list)


def plan(wanted: Wanted, found: Iterable[Member]) -> Plan:
    """The steps that bring a pool nearer to what is wanted; none if it is that."""
    members = sorted(found, key=lambda member: member.vm)
    idle = [member for member in members if not member.busy]
    gone = {member.vm: why for member in idle if (why := _goes(member, wanted.drain))}
    steps = [Step(Act.DELETE, vm, why) for vm, why in gone.items()]
    if wanted.drain is not Drain.NO:
        return Plan(tuple(steps))
    kept = [member for member in idle if member.vm not in gone]
    busy = len(members) - len(idle)
    assigned = _assign(_within(wanted.levels, wanted.most - busy), kept)
    staying = [member for member in kept if member.vm in assigned.targets]
    surplus = _not_the_last(assigned.surplus, staying)
    steps += [Step(Act.DELETE, member.vm, "more than wanted") for member in surplus]
    total = len(members) - len(steps)
    steps += [Step(Act.CREATE, "", "missing", warmth) for warmth in assigned.missing]
    changing, waiting = _to_change(wanted, staying, missing=len(assigned.missing))
    if waiting and not changing and not assigned.missing and total < wanted.most and _all_serve(staying):
        warmth = assigned.targets[waiting[0].vm]
        steps.append(Step(Act.CREATE, "", f"takes over from '{waiting[0].vm}'", warmth))
    for member in staying:
        steps += _steps_of(member, assigned.targets[member.vm], change=member in changing)
    steps.sort(key=lambda step: list(Act).index(step.act))
    return Plan(tuple(steps), tuple(member.vm for member in waiting))


def _goes(member: Member, drain: Drain) -> str:
    """Why a member is removed whatever is wanted; '' if it is not."""
    if member.leaving:
        return "its removal was cut off"
    if not member.there:
        return "it does not exist any more"
    if member.late:
        return "never ready by its deadline"
    return "the pool is drained" if drain is Drain.DELETE else ""


def _within(levels: Levels, room: int) -> Levels:
    """As much of the levels as there is room for, the warmest first."""
    ready = max(0, min(levels.ready, room))
    parked = max(0, min(levels.parked, room - ready))
    return Levels(ready, parked, max(0, min(levels.cold, room - ready - parked)))


def _assign(levels: Levels, kept: Sequence[Member]) -> _Assigned:
    """First to each level what is there already, then what is left of other levels; the best ones first."""
    left = sorted(kept, key=lambda member: (not member.serving, member.stale, member.vm))
    found = _Assigned()
    lacking = {warmth: levels.of(warmth) for warmth in Warmth}
    for same in (True, False):
        for warmth in Warmth:
            fitting = [member for member in left if not same or member.warmth is warmth]
            for member in fitting[: lacking[warmth]]:
                found.targets[member.vm] = warmth
                lacking[warmth] -= 1
            left = [member for member in left if member.vm not in found.targets]
    found.surplus = left
    found.missing = [warmth for warmth in Warmth for _each in range(lacking[warmth])]
    return found


def _not_the_last(surplus: Sequence[Member], staying: Sequence[Member]) -> list[Member]:
    """What goes at once of the surplus: all, but one that serves until one of those that stay does."""
    if not staying or any(member.serving for member in staying):
        return list(surplus)
    spared = next((member for member in surplus if member.serving), None)
    return [member for member in surplus if member is not spared]


def _to_change(
    wanted: Wanted, staying: Sequence[Member], *, missing: int
) -> tuple[list[Member], list[Member]]:
    """Who is changed now, and who has to wait; those that do not serve need no permission.

    What is missing is unavailable, too: where nothing can be made, nothing more is taken away.
    """
    serving = [member for member in staying if member.serving]
    stale = [member for member in serving if member.stale]
    unavailable = missing + len(staying) - len(serving)
    allowed = max(0, min(wanted.max_unavailable - unavailable, len(serving) - 1))
    silent = [member for member in staying if not member.serving]
    return [*silent, *stale[:allowed]], stale[allowed:]


def _all_serve(staying: Sequence[Member]) -> bool:
    return all(member.serving for member in staying)


def _steps_of(member: Member, target: Warmth, *, change: bool) -> Iterator[Step]:
    if change and member.outdated:
        yield Step(Act.DELETE, member.vm, "its profile or base image has changed")
        yield Step(Act.CREATE, "", f"takes the place of '{member.vm}'", target)
        return
    prepare = change and not (member.current and member.clean)
    awake = member.warmth is Warmth.READY and member.made
    if not awake and (prepare or target is not member.warmth):
        yield Step(Act.START, member.vm, "" if member.made else "was never ready", target)
    if prepare:
        why = "another version of its UA is wanted" if member.serving else "its UA is not active"
        yield Step(Act.PREPARE, member.vm, why if member.clean else "not proven clean", target)
    if target is not Warmth.READY and (prepare or target is not member.warmth):
        act = Act.PARK if target is Warmth.PARKED else Act.STOP
        yield Step(act, member.vm, f"is to be {target}", target)
