"""What a site decides once for all of its VMs and sessions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Acceleration(StrEnum):
    """How guests run; *auto* is kvm where the hypervisor has it, else tcg."""

    AUTO = "auto"
    KVM = "kvm"
    TCG = "tcg"


class UnknownKeys(StrEnum):
    """What is done with keys of a terminal profile that the vocabulary lacks."""

    REFUSE = "refuse"
    KEEP = "keep"


class Placement(StrEnum):
    """Between VMs that fit alike: first the region with most VMs free, or the fullest."""

    SPREAD = "spread"
    PACK = "pack"


class Cleanliness(StrEnum):
    """How a VM is proven clean after a session: gone back to before it, cleared of the user, or made anew."""

    SNAPSHOT = "snapshot"
    SCRUB = "scrub"
    REBUILD = "rebuild"


class Tier(StrEnum):
    """How a session gets its user's data: as files into the VM's own disk, or on a disk that is attached."""

    PORTABLE = "portable"
    VOLUME = "volume"


class SecondSession(StrEnum):
    """What a session is that is opened beside a live one of the same user and UA; *exclusive*: there is none.

    The others are the :class:`~vmm_automation.model.session.SessionMode` that it has.
    """

    EXCLUSIVE = "exclusive"
    READ_ONLY = "read-only"
    BRANCH = "branch"


class RefusedEntries(StrEnum):
    """What a path that an image may not hold does to a capture: fails it, or is left out and named."""

    STRICT = "strict"
    SKIP = "skip"


@dataclass(frozen=True)
class Policies:
    """What holds for the whole site; ``…_s`` are seconds, 0 of a session's limits is none."""

    suspend_lease_s: int = 300
    ssh_deadline_s: int = 300
    acceleration: Acceleration = Acceleration.AUTO
    resume_on_lease_end: bool = False
    resume_grace_s: int = 0
    session_idle_s: int = 0
    session_max_s: int = 0
    sessions_per_user: int = 0
    claim_deadline_s: int = 900
    terminal_unknown_keys: UnknownKeys = UnknownKeys.REFUSE
    placement: Placement = Placement.SPREAD
    seats_from: int = 1000
    cleanliness: Cleanliness = Cleanliness.SNAPSHOT
    user_data_tier: Tier = Tier.PORTABLE
    second_session: SecondSession = SecondSession.EXCLUSIVE


#: policies that are one of some words
CHOICES: dict[str, type[StrEnum]] = {
    "acceleration": Acceleration,
    "terminal_unknown_keys": UnknownKeys,
    "placement": Placement,
    "cleanliness": Cleanliness,
    "user_data_tier": Tier,
    "second_session": SecondSession,
}
