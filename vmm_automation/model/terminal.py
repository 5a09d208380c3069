"""The terminal profile: what the user's terminal can show, decode, input and carry.

The components (hardware, software, network, locale) and the rules by which a difference is merged into a
profile follow the spirit of OMA UAProf and W3C CC/PP.
A value that a profile does not state is *unknown* (``None``), never assumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final


class MergeRule(StrEnum):
    """What becomes of an attribute that both a base profile and the difference from it state.

    *locked*: the base's value stays, another one is an error. *override*: the difference's value, and null
    makes it unknown. *append*: the base's list, then what is new in the difference's.
    """

    LOCKED = "locked"
    OVERRIDE = "override"
    APPEND = "append"


@dataclass(frozen=True)
class Attribute:
    """One word of the vocabulary: the component that it belongs to, and how it is merged by default."""

    component: str
    rule: MergeRule

    def path(self, name: str) -> str:
        """``hardware.screen_width_px``; the locale is a component by itself."""
        return f"{self.component}.{name}" if self.component else name


_HARDWARE: Final = Attribute("hardware", MergeRule.OVERRIDE)
_NETWORK: Final = Attribute("network", MergeRule.OVERRIDE)
_SYSTEM: Final = Attribute("software", MergeRule.LOCKED)
_LIST: Final = Attribute("software", MergeRule.APPEND)

#: attribute to component and rule; what the terminal's system is, is locked: another one is another terminal
VOCABULARY: Final[Mapping[str, Attribute]] = {
    "screen_width_px": _HARDWARE,
    "screen_height_px": _HARDWARE,
    "colour_depth_bits": _HARDWARE,
    "pixel_ratio": _HARDWARE,
    "max_frame_rate_hz": _HARDWARE,
    "inputs": Attribute("hardware", MergeRule.APPEND),
    "audio_out": _HARDWARE,
    "audio_in": _HARDWARE,
    "camera": _HARDWARE,
    "os": _SYSTEM,
    "os_version": Attribute("software", MergeRule.OVERRIDE),
    "protocols": _LIST,
    "video_codecs": _LIST,
    "audio_codecs": _LIST,
    "image_types": _LIST,
    "bearer": _NETWORK,
    "bandwidth_kbit_s": _NETWORK,
    "latency_ms": _NETWORK,
    "nat": _NETWORK,
    "locale": Attribute("", MergeRule.OVERRIDE),
}
COMPONENTS: Final = ("hardware", "software", "network")


@dataclass(frozen=True)
class TerminalProfile:
    """``inventories/<site>/terminals/<name>.yml``, or one given in the request, with its bases merged in.

    ``kept`` are values that the vocabulary does not know, by path, where the site keeps them; nothing
    is decided by them.
    """

    name: str
    screen_width_px: int | None = None
    screen_height_px: int | None = None
    colour_depth_bits: int | None = None
    inputs: tuple[str, ...] | None = None
    audio_out: bool | None = None
    protocols: tuple[str, ...] | None = None
    video_codecs: tuple[str, ...] | None = None
    audio_codecs: tuple[str, ...] | None = None
    bearer: str | None = None
    bandwidth_kbit_s: int | None = None
    latency_ms: int | None = None
    locale: str | None = None
    pixel_ratio: float | None = None
    max_frame_rate_hz: int | None = None
    audio_in: bool | None = None
    camera: bool | None = None
    os: str | None = None
    os_version: str | None = None
    image_types: tuple[str, ...] | None = None
    nat: str | None = None
    kept: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def to_document(self) -> dict[str, Any]:
        """By component, with null for what is unknown; as stored with a session's explanation."""
        document: dict[str, Any] = {"name": self.name, **{component: {} for component in COMPONENTS}}
        for name, attribute in VOCABULARY.items():
            value = getattr(self, name)
            place = document[attribute.component] if attribute.component else document
            place[name] = list(value) if isinstance(value, tuple) else value
        return {**document, "kept": dict(self.kept)} if self.kept else document
