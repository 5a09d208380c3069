"""What a VM is asked to be (profile) and what libvirt says it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from vmm_automation.model.pool import Warmth


class VmState(StrEnum):
    """The states of a domain that an operator can tell apart; *parked*: off, its memory saved on disk."""

    RUNNING = "running"
    PAUSED = "paused"
    PARKED = "parked"
    STOPPED = "stopped"
    CRASHED = "crashed"


class VmCondition(StrEnum):
    """Whether a user's data may be left on a VM: *dirty* until it is proven clean."""

    CLEAN = "clean"
    DIRTY = "dirty"


@dataclass(frozen=True)
class Offers:
    """What a VM's profile says that it carries towards the terminal; what is not stated (None) is unknown."""

    video_encoders: tuple[str, ...] | None = None
    audio_encoders: tuple[str, ...] | None = None
    max_width_px: int | None = None
    max_height_px: int | None = None
    max_frame_rate_hz: int | None = None
    region: str = ""


@dataclass(frozen=True)
class VmProfile:
    """What VMs of one kind look like: ``inventories/<site>/profiles/<name>.yml``."""

    name: str
    base_image: str
    vcpus: int
    memory_mib: int
    features: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ("http",)
    offers: Offers = Offers()


@dataclass(frozen=True)
class Vm:
    """One VM of the site as its domain and the domain's metadata describe it."""

    name: str
    domain: str
    uuid: str
    state: VmState
    profile: str
    base_digest: str
    vcpus: int
    memory_mib: int
    ssh_port: int
    host_key: str
    features: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    created_at: str = ""
    ready: bool = False


_WARMTH = {VmState.RUNNING: Warmth.READY, VmState.PARKED: Warmth.PARKED, VmState.STOPPED: Warmth.COLD}


@dataclass(frozen=True)
class VmFacts:
    """What selection and listings know of a VM beyond its domain: from the state store and its profile.

    ``pool`` is '' for a VM of none; ``drained``: its pool gives out no VM. ``held``: who works on the VM, so
    that no session is given it; '' where nobody does. ``kept_for`` is the request that waits for longer and
    gets the VM next.
    """

    vm: Vm
    condition: VmCondition = VmCondition.CLEAN
    session: str | None = None
    active_uas: dict[str, str] = field(default_factory=dict)
    offers: Offers = Offers()
    pool: str = ""
    drained: bool = False
    held: str = ""
    kept_for: str | None = None

    @property
    def serves(self) -> bool:
        """Whether a session can be on it, or is: it runs or can be started for one, and was ready once."""
        return self.vm.ready and (self.session is not None or self.warmth is not None)

    @property
    def free(self) -> bool:
        """Whether nobody has it and it is given out; whether it fits is for the filters to say."""
        taken = self.session or self.held or self.drained
        return self.condition is VmCondition.CLEAN and not taken

    @property
    def warmth(self) -> Warmth | None:
        """How soon a session could run on it; None for a VM that could not be started for one."""
        if self.vm.state is VmState.STOPPED and not self.pool:
            return None  # whoever switched it off had a reason
        return _WARMTH.get(self.vm.state)
