"""What a VM is asked to be (profile) and what libvirt says it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class VmState(StrEnum):
    """The states of a domain that an operator can tell apart."""

    RUNNING = "running"
    PAUSED = "paused"
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


@dataclass(frozen=True)
class VmFacts:
    """What selection and listings know of a VM beyond its domain: from the state store and its profile."""

    vm: Vm
    condition: VmCondition = VmCondition.CLEAN
    session: str | None = None
    active_uas: dict[str, str] = field(default_factory=dict)
    offers: Offers = Offers()
