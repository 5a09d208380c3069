"""What a rollout would do, on which VM and in which batch: pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vmm_automation.errors import UsageError
from vmm_automation.model.session import Session

_BATCHES = re.compile(r"[1-9][0-9]{0,5}%?(,[1-9][0-9]{0,5}%?)*")


@dataclass(frozen=True)
class Terms:
    """How a rollout goes about it: ``batch`` as ``1,10%,50%``, ``drain_s`` how long it waits for a session.

    ``update`` works only where a version is active; ``limit`` has said which VMs are meant.
    """

    version: str = ""
    update: bool = False
    batch: str = ""
    order: str = "name"
    max_failures: int = 0
    force: bool = False
    drain_s: int = 0

    @property
    def plain(self) -> bool:
        """Whether nothing of this was asked for: then a failure is the run's, as with every other verb."""
        return self == Terms(version=self.version, update=self.update)


@dataclass(frozen=True)
class Step:
    """What is to be done on one VM: *install*, *update*, *nothing*, *wait*, *skip* or *fail*."""

    vm: str
    batch: int
    active: str
    version: str
    does: str
    why: str = ""

    def to_document(self) -> dict[str, Any]:
        """As in result documents."""
        return asdict(self)


def batch_sizes(count: int, batch: str) -> list[int]:
    """How many VMs at a time: the last number again and again until all have had their turn; pure.

    Raises:
        UsageError: ``batch`` is no numbers of VMs.
    """
    if batch and not _BATCHES.fullmatch(batch):
        raise UsageError(f"'{batch}' does not say how many VMs at a time", hint="--batch 1,10%,50%")
    words = batch.split(",") if batch else ["100%"]
    sizes: list[int] = []
    while (left := count - sum(sizes)) > 0:
        word = words[min(len(sizes), len(words) - 1)]
        wanted = count * int(word[:-1]) // 100 if word.endswith("%") else int(word)
        sizes.append(min(max(wanted, 1), left))
    return sizes


def plan_rollout(
    names: Sequence[str],
    *,
    terms: Terms,
    ua_id: str,
    active: Mapping[str, str],
    live: Mapping[str, Session],
) -> list[Step]:
    """One step for each VM, in the order of ``names``; ``active`` and ``live`` are by VM."""
    sizes = batch_sizes(len(names), terms.batch)
    numbers = [number for number, size in enumerate(sizes, start=1) for _vm in range(size)]
    steps = []
    for name, number in zip(names, numbers, strict=True):
        found = active.get(name, "")
        does, why = _does(found, live.get(name), terms=terms, ua_id=ua_id)
        steps.append(Step(name, number, found, terms.version, does, why))
    return steps


def is_in_the_way(session: Session | None, *, ua_id: str, force: bool) -> bool:
    """Whether a VM's session keeps a rollout from it; one of the same UA does even where that is forced."""
    return session is not None and (not force or session.ua == ua_id)


def _does(found: str, session: Session | None, *, terms: Terms, ua_id: str) -> tuple[str, str]:
    if session and terms.drain_s:
        return "wait", f"up to {terms.drain_s} s for session '{session.id}'"
    if session and is_in_the_way(session, ua_id=ua_id, force=terms.force or terms.plain):
        return ("fail" if terms.plain else "skip"), f"busy: session '{session.id}'"
    if found == terms.version:
        return "nothing", "it is active there, unless its content is another"
    if terms.update and not found:
        return "fail", "no version is active there"
    return ("update" if found else "install"), ""
