"""What a UA needs of the terminal: each filter compares what is needed with what the terminal states.

A filter never guesses: a terminal that does not state a value fails a requirement on it as *unknown*.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vmm_automation.model.terminal import TerminalProfile
from vmm_automation.model.ua import Requirements
from vmm_automation.selection.negotiation import frame_rates, resolutions
from vmm_automation.selection.question import UNKNOWN, Miss, listed

TerminalFilter = Callable[[Requirements, TerminalProfile], Miss | None]


def _any_of(what: str, needed: Sequence[object], found: Sequence[object] | None) -> Miss | None:
    if not needed or any(each in needed for each in found or ()):
        return None
    wanted = " or ".join(map(str, needed))
    return Miss(wanted, listed(found), f"{what} are {listed(found)}, {wanted} needed")


def _protocols(needs: Requirements, terminal: TerminalProfile) -> Miss | None:
    if not needs.protocols:  # the schema does not let a UA have none
        return Miss("none", listed(terminal.protocols), "protocols are of no use to a UA without any")
    return _any_of("protocols", needs.protocols, terminal.protocols)


def _inputs(needs: Requirements, terminal: TerminalProfile) -> Miss | None:
    needed, found = listed(needs.inputs), terminal.inputs
    missing = [each for each in needs.inputs if each not in (found or ())]
    if not missing:
        return None
    if found is None:
        return Miss(needed, UNKNOWN, f"inputs are unknown, {needed} needed")
    return Miss(needed, listed(found), f"inputs are {listed(found)}, {listed(missing)} needed too")


def _resolution(needs: Requirements, terminal: TerminalProfile) -> Miss | None:
    width, height = terminal.screen_width_px, terminal.screen_height_px
    if not needs.resolutions or resolutions(needs, width, height):
        return None
    found = UNKNOWN if width is None or height is None else f"{width}x{height}"
    wanted = " or ".join(needs.resolutions)
    return Miss(wanted, found, f"screen is {found}, {wanted} needed")


def _frame_rate(needs: Requirements, terminal: TerminalProfile) -> Miss | None:
    if not needs.frame_rates or frame_rates(needs, terminal.max_frame_rate_hz):
        return None
    return _least("frame rate", min(needs.frame_rates), terminal.max_frame_rate_hz, "frames/s")


def _latency(needs: Requirements, terminal: TerminalProfile) -> Miss | None:
    most, found = needs.max_latency_ms, terminal.latency_ms
    if not most or (found is not None and found <= most):
        return None
    said = UNKNOWN if found is None else f"{found} ms"
    return Miss(f"at most {most} ms", said, f"latency is {said}, at most {most} ms allowed")


def _has(what: str, needed: bool, found: bool | None) -> Miss | None:
    if not needed or found is True:
        return None
    said = UNKNOWN if found is None else "absent"
    return Miss(what, said, f"{what} is {said}, and needed")


def _least(what: str, needed: int, found: int | None, unit: str) -> Miss | None:
    if not needed or (found is not None and found >= needed):
        return None
    if found is None:
        return Miss(f"{needed} {unit}", UNKNOWN, f"{what} is unknown, {needed} {unit} needed")
    return Miss(f"{needed} {unit}", f"{found} {unit}", f"{what} is {found} {unit}, {needed} {unit} needed")


def _one_of(what: str, needed: Sequence[str], found: str | None) -> Miss | None:
    if not needed or found in needed:
        return None
    wanted, said = " or ".join(needed), found or UNKNOWN
    return Miss(wanted, said, f"{what} is {said}, {wanted} needed")


#: all that fail are reported, once for all VMs
TERMINAL_FILTERS: tuple[tuple[str, TerminalFilter], ...] = (
    ("terminal_protocols", _protocols),
    (
        "screen_width",
        lambda needs, t: _least("screen width", needs.min_screen_width_px, t.screen_width_px, "px"),
    ),
    (
        "screen_height",
        lambda needs, t: _least("screen height", needs.min_screen_height_px, t.screen_height_px, "px"),
    ),
    (
        "colour_depth",
        lambda needs, t: _least("colour depth", needs.min_colour_depth_bits, t.colour_depth_bits, "bits"),
    ),
    ("resolution", _resolution),
    ("frame_rate", _frame_rate),
    ("inputs", _inputs),
    ("video_codecs", lambda needs, t: _any_of("video codecs", needs.video_codecs, t.video_codecs)),
    ("audio_codecs", lambda needs, t: _any_of("audio codecs", needs.audio_codecs, t.audio_codecs)),
    ("image_types", lambda needs, t: _any_of("image types", needs.image_types, t.image_types)),
    ("audio_out", lambda needs, t: _has("audio output", needs.audio_out, t.audio_out)),
    ("audio_in", lambda needs, t: _has("audio input", needs.audio_in, t.audio_in)),
    ("camera", lambda needs, t: _has("camera", needs.camera, t.camera)),
    (
        "bandwidth",
        lambda needs, t: _least("bandwidth", needs.min_bandwidth_kbit_s, t.bandwidth_kbit_s, "kbit/s"),
    ),
    ("latency", _latency),
    ("bearer", lambda needs, t: _one_of("bearer", needs.bearers, t.bearer)),
    ("os", lambda needs, t: _one_of("operating system", needs.operating_systems, t.os)),
)
