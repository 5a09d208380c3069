"""The terminal profile: what the user's terminal can show, decode, input and carry.

The components (hardware, software, network) follow the spirit of OMA UAProf and W3C CC/PP.
A value that a profile does not state is *unknown* (``None`` or empty), never assumed.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TerminalProfile:
    """``inventories/<site>/terminals/<name>.yml``, or one given in the request."""

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
