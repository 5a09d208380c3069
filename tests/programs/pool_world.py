"""A pool whose VMs are entries of a dictionary, and whose guests are directories with real shells in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.programs.sandbox_guest import SandboxGuest
from vmm_automation.errors import NotFound, TaskFailed, VmmError
from vmm_automation.model.vm import Vm, VmState
from vmm_automation.operations.context import Context
from vmm_automation.operations.pool_listing import description
from vmm_automation.operations.pool_refill import installed, refilled, settled
from vmm_automation.site import Site
from vmm_automation.state import ledger, pools, sessions, vms


class CutOff(BaseException):
    """Ends a run as a kill would: nothing catches it."""


@dataclass
class FakeVms:
    """Implements ``ports.PoolHands`` and of ``ports.Hypervisor`` what tells which VMs there are.

    ``broken``: so many creations fail, and with ``leaves_broken`` the VM is there all the same. ``stuck``:
    one that cannot be deleted. ``cut``: the call after which the run ends. ``looked``, ``meanwhile``: what
    happens after the next look at all VMs, after the next call.
    """

    context: Context
    there: dict[str, Vm] = field(default_factory=dict)
    broken: int = 0
    leaves_broken: bool = False
    stuck: str = ""
    cut: str = ""
    calls: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None
    looked: Callable[[], None] = lambda: None

    def vms(self) -> list[Vm]:
        """All of them."""
        found = [self.there[name] for name in sorted(self.there)]
        looked, self.looked = self.looked, lambda: None
        looked()
        return found

    def vm(self, name: str) -> Vm:
        """One."""
        if name not in self.there:
            raise NotFound(f"VM '{name}' does not exist", hint="vmm vm list")
        return self.there[name]

    def forwards(self, name: str) -> dict[int, int] | None:
        """None."""
        del name
        return {}

    def create(self, names: Sequence[str], *, profile: str) -> dict[str, VmmError]:
        """As real VMs are: clean when they answer, and nothing is left of one that does not."""
        failures: dict[str, VmmError] = {}
        wanted = self.context.site.profile(profile)
        for name in names:
            if self.broken:
                self.broken -= 1
                failures[name] = TaskFailed(f"VM '{name}' burns")
                if not self.leaves_broken:
                    continue
            self.there[name] = Vm(
                name=name,
                domain=name,
                uuid=name,
                state=VmState.RUNNING,
                profile=profile,
                base_digest=self.context.site.base_image(wanted.base_image).digest,
                vcpus=wanted.vcpus,
                memory_mib=wanted.memory_mib,
                ssh_port=1,
                host_key="",
                features=wanted.features,
                protocols=wanted.protocols,
                ready=True,
            )
            with self.context.store.transaction() as tx:
                vms.mark_clean(tx, vm=name, now=self.context.clock.now())
        return self._called("create", names) or failures

    def start(self, names: Sequence[str]) -> dict[str, VmmError]:
        """They run."""
        return self._all("start", names, VmState.RUNNING)

    def park(self, names: Sequence[str]) -> dict[str, VmmError]:
        """They are saved."""
        return self._all("park", names, VmState.PARKED)

    def stop(self, names: Sequence[str]) -> dict[str, VmmError]:
        """They are off."""
        return self._all("stop", names, VmState.STOPPED)

    def delete(self, names: Sequence[str]) -> dict[str, VmmError]:
        """They are gone, with what the state knew of them."""
        failures: dict[str, VmmError] = {}
        for name in names:
            if name == self.stuck:
                failures[name] = TaskFailed(f"VM '{name}' stays")
                continue
            self.there.pop(name, None)
            with self.context.store.transaction() as tx:
                ledger.forget_vm(tx, vm=name)
                vms.forget(tx, vm=name)
        return self._called("delete", names) or failures

    def _all(self, call: str, names: Sequence[str], state: VmState) -> dict[str, VmmError]:
        for name in names:
            self.there[name] = replace(self.there[name], state=state, ready=True)
        return self._called(call, names)

    def _called(self, call: str, names: Sequence[str]) -> dict[str, VmmError]:
        if names:
            self.calls.append((call, tuple(names)))
            meanwhile, self.meanwhile = self.meanwhile, lambda: None
            meanwhile()
            if self.cut == call:
                self.cut = ""
                raise CutOff
        return {}


@dataclass
class PoolWorld:
    """Pool ``p`` of UA ``demo`` on a site of the test's own."""

    context: Context
    directory: Path

    def __post_init__(self) -> None:
        self.fake = FakeVms(self.context)
        self.context.__dict__["hypervisor"] = self.fake

    def define(self, **keys: Any) -> None:
        """Write the pool's file, and read the site again."""
        file = self.context.site.directory / "pools" / "p.yml"
        file.parent.mkdir(exist_ok=True)
        stated = {"profile": "small", "ua": "demo", **keys}
        file.write_text("".join(f"{key}: {value}\n" for key, value in stated.items()))
        self.read_again()

    def read_again(self) -> None:
        """The site as its files are now."""
        opened = {key: self.context.__dict__[key] for key in ("store", "hypervisor")}
        self.context = replace(self.context, site=Site.load(self.context.site.directory))
        self.context.__dict__.update(opened)
        self.fake.context = self.context

    def refill(self, **options: Any) -> dict[str, Any]:
        """All that the playbook does."""
        told = refilled(self.context, hands=self.fake, **options)
        for name in told["prepare"]:
            installed(self.context, SandboxGuest(self.directory / name, name=name))
        done = settled(self.context, done=told, hands=self.fake)
        return {**told, "changed": told["changed"] or done["changed"]}

    def show(self) -> dict[str, Any]:
        """The pool as people see it."""
        return description(self.context, "p")

    def counts(self) -> dict[str, int]:
        """Where its VMs are, of places with any."""
        return {place: count for place, count in self.show()["found"].items() if count}

    def names(self) -> list[str]:
        """Its members."""
        with self.context.store.reading() as tx:
            return [member.vm for member in pools.members(tx, pool="p")]

    def claim(self, vm: str, user: str = "ann") -> None:
        """A session on a VM, as anybody may open one at any time."""
        with self.context.store.transaction() as tx:
            sessions.claim(
                tx,
                session_id=f"s-{user}",
                user=user,
                ua="demo",
                version="3.0",
                vm=vm,
                terminal="phone",
                explanation={},
                owner="",
                now=self.context.clock.now(),
            )
