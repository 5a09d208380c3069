"""A UA (an application offered as a service): its definition, versions and deployments."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from vmm_automation.errors import Conflict, NotFound
from vmm_automation.model.policies import RefusedEntries, SecondSession, Tier

#: the account of guests whose home is the user's
SESSION_ACCOUNT = "session"


class DeploymentState(StrEnum):
    """Where a version stands on a VM, in the order OMA SCOMO gives software components."""

    DELIVERED = "delivered"
    ACTIVE = "active"
    INACTIVE = "inactive"
    REMOVED = "removed"
    FAILED = "failed"


@dataclass(frozen=True)
class Endpoint:
    """Where a UA answers: a TCP port inside the guest, and an HTTP path that is healthy at 2xx-4xx."""

    name: str
    port: int
    protocol: str = "http"
    health: str = "/"


@dataclass(frozen=True)
class Artifact:
    """One file that a version is delivered from.

    ``source`` is a path (relative to the UA definition's directory), a ``file:`` URL, or for kind
    *pip* a pinned requirement such as ``radicale==3.2.3``; ``sha256`` is hexadecimal.
    """

    source: str
    sha256: str


@dataclass(frozen=True)
class UaVersion:
    """One version of a UA and what it is delivered from; ``changes`` is what its users read.

    ``withdrawn`` is not in the site's file: the state says whether the version is still offered.
    ``role`` and ``variables`` are of kind *role*: a role of the site, and what it is given.
    """

    version: str
    kind: str
    artifacts: tuple[Artifact, ...] = ()
    packages: tuple[str, ...] = ()
    data_version: int = 1
    requirements: Requirements | None = None
    licence: str = ""
    changes: tuple[str, ...] = ()
    withdrawn: bool = False
    role: str = ""
    variables: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Requirements:
    """What a UA needs of the terminal and of the VM; 0, False and empty need nothing.

    ``video_codecs``, ``audio_codecs``, ``image_types``, ``resolutions``, ``frame_rates``, ``bearers`` and
    ``operating_systems``: any of them, best first; ``inputs``, ``features`` and ``encoders``: all of them.
    """

    protocols: tuple[str, ...] = ("http",)
    min_screen_width_px: int = 0
    min_screen_height_px: int = 0
    inputs: tuple[str, ...] = ()
    audio_out: bool = False
    min_bandwidth_kbit_s: int = 0
    vcpus: int = 1
    memory_mib: int = 0
    features: tuple[str, ...] = ()
    min_colour_depth_bits: int = 0
    max_latency_ms: int = 0
    audio_in: bool = False
    camera: bool = False
    video_codecs: tuple[str, ...] = ()
    audio_codecs: tuple[str, ...] = ()
    image_types: tuple[str, ...] = ()
    resolutions: tuple[str, ...] = ()
    frame_rates: tuple[int, ...] = ()
    bearers: tuple[str, ...] = ()
    operating_systems: tuple[str, ...] = ()
    encoders: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()


@dataclass(frozen=True)
class UserData:
    """Paths below the session account's home, by layer, and patterns that are left out.

    ``tier`` is how sessions get them, None for as the site says; ``volume_mib`` how large a volume may grow;
    ``second_session`` what another session of the same user is, None for as the site says. An image has at
    most ``max_mib`` of content, holes counted, in ``max_paths`` files, directories and links;
    ``refused_entries`` is what becomes of others.
    """

    settings: tuple[str, ...] = ()
    exceptions: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    tier: Tier | None = None
    volume_mib: int = 10240
    second_session: SecondSession | None = None
    max_mib: int = 4096
    max_paths: int = 100_000
    refused_entries: RefusedEntries = RefusedEntries.STRICT

    @property
    def max_bytes(self) -> int:
        """``max_mib`` in bytes."""
        return self.max_mib << 20


@dataclass(frozen=True)
class Probe:
    """What must hold after an activation: within ``deadline_s``, and then for ``stable_for_s`` at a stretch.

    ``kind`` is *command* (ends with status 0), *http* (``port`` answers ``path`` with 200 to 399), *tcp*
    (``port`` is listened on) or *unit* (the service runs).
    """

    kind: str
    command: tuple[str, ...] = ()
    port: int = 0
    path: str = "/"
    deadline_s: int = 60
    stable_for_s: int = 0


@dataclass(frozen=True)
class Hook:
    """A command that a UA brings: run in the guest as the session account, ``deadline_s`` seconds at most."""

    command: tuple[str, ...]
    deadline_s: int = 60


@dataclass(frozen=True)
class CaptureRules:
    """What makes a UA's data whole while they are captured.

    ``dump`` writes what files alone do not say, while the UA runs; ``stop`` asks the UA to end before its
    service is stopped. While a session goes on, the account's processes stand still for ``freeze_s`` seconds
    at most (0: they do not), or ``freeze`` and ``thaw`` do so in the UA's own way. ``every_s`` is after how
    many seconds a running session is due to be captured again, 0 for never.
    """

    freeze_s: int = 30
    every_s: int = 0
    dump: Hook | None = None
    stop: Hook | None = None
    freeze: Hook | None = None
    thaw: Hook | None = None


@dataclass(frozen=True)
class Converter:
    """Makes user data of data version ``older`` those of ``newer``, in place, in its working directory."""

    older: int
    newer: int
    hook: Hook


@dataclass(frozen=True)
class UaDefinition:
    """``inventories/<site>/uas/<id>.yml``; ``versions`` is oldest first."""

    id: str
    display_name: str
    versions: tuple[UaVersion, ...]
    command: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    endpoints: tuple[Endpoint, ...] = ()
    user_data: UserData = UserData()
    requirements: Requirements = Requirements()
    start_deadline_s: int = 120
    probe: Probe | None = None
    capture: CaptureRules = CaptureRules()
    converters: tuple[Converter, ...] = ()
    session_idle_s: int | None = None
    session_max_s: int | None = None
    stop: tuple[str, ...] = ()
    run_as: str = SESSION_ACCOUNT
    unit: str = ""

    @property
    def has_service(self) -> bool:
        """Whether a session starts something: a command of its own, or a unit that its packages bring."""
        return bool(self.command or self.unit)

    def version(self, wanted: str | None = None) -> UaVersion:
        """The wanted version, or the newest that is offered.

        Raises:
            NotFound: the definition has no such version.
        """
        if wanted is None:
            return self.newest
        for version in self.versions:
            if version.version == wanted:
                return version
        known = ", ".join(version.version for version in self.versions)
        raise NotFound(
            f"UA '{self.id}' has no version '{wanted}': the site defines {known}",
            hint="vmm ua list",
            details={"ua": self.id, "version": wanted},
        )

    @property
    def newest(self) -> UaVersion:
        """The newest version that was not withdrawn; the newest of all where every one was."""
        offered = [version for version in self.versions if not version.withdrawn]
        return (offered or self.versions)[-1]

    def offered(self, wanted: str | None = None) -> UaVersion:
        """The same as :meth:`version`, for whoever is about to bring it to a VM or into a session.

        Raises:
            NotFound: the definition has no such version.
            Conflict: it was withdrawn.
        """
        version = self.version(wanted)
        if version.withdrawn:
            raise Conflict(
                f"UA '{self.id}' {version.version} is not offered any more: it was withdrawn",
                hint=f"vmm ua show {self.id}",
                details={"ua": self.id, "version": version.version},
            )
        return version

    def needs(self, version: str | None) -> Requirements:
        """What one version requires: what it states itself, else what the UA states for all of them."""
        return self._stated.get(version) or self.requirements

    @cached_property
    def _stated(self) -> dict[str | None, Requirements | None]:
        """Kept, for selection asks about each VM many times."""
        return {each.version: each.requirements for each in self.versions}


@dataclass(frozen=True)
class Deployment:
    """One row of the ledger: a version of a UA on a VM."""

    vm: str
    ua: str
    version: str
    state: DeploymentState
    changed_at: str
    digest: str = ""
    reason: str = ""

    def to_document(self) -> dict[str, Any]:
        """As shown by ``vmm ua list`` and in result documents."""
        return {
            "vm": self.vm,
            "ua": self.ua,
            "version": self.version,
            "state": str(self.state),
            "changed_at": self.changed_at,
            "reason": self.reason,
        }
