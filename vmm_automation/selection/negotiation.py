"""What a session would use: of each kind the best that terminal, UA and VM all carry.

The UA says what it can use, best first; where it asks for nothing of a kind, a codec is not needed and a
picture is as large and as frequent as terminal and VM are known to carry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vmm_automation.model.terminal import TerminalProfile
from vmm_automation.model.ua import Requirements
from vmm_automation.model.vm import Offers, VmFacts
from vmm_automation.selection.question import Question


@dataclass(frozen=True)
class Negotiated:
    """What the session would use on one VM; None where nothing was asked for or nothing is known."""

    protocol: str
    video_codec: str | None = None
    audio_codec: str | None = None
    resolution: str | None = None
    frame_rate_hz: int | None = None

    def to_document(self) -> dict[str, Any]:
        """As stored with the session."""
        return dict(vars(self))


def negotiated(question: Question, facts: VmFacts) -> Negotiated:
    """What would be used on a VM that passes all filters."""
    needs, terminal, offers = question.needs(facts), question.terminal, facts.offers
    return Negotiated(
        protocol=_first(protocols(needs, terminal), facts.vm.protocols) or "",
        video_codec=_first(video_codecs(needs, terminal), offers.video_encoders),
        audio_codec=_first(audio_codecs(needs, terminal), offers.audio_encoders),
        resolution=_resolution(needs, terminal, offers),
        frame_rate_hz=_frame_rate(needs, terminal, offers),
    )


def protocols(needs: Requirements, terminal: TerminalProfile) -> tuple[str, ...]:
    """The protocols that UA and terminal share, in the UA's order."""
    return _common(needs.protocols, terminal.protocols)


def video_codecs(needs: Requirements, terminal: TerminalProfile) -> tuple[str, ...]:
    """The video codecs that UA and terminal share, in the UA's order."""
    return _common(needs.video_codecs, terminal.video_codecs)


def audio_codecs(needs: Requirements, terminal: TerminalProfile) -> tuple[str, ...]:
    """The audio codecs that UA and terminal share, in the UA's order."""
    return _common(needs.audio_codecs, terminal.audio_codecs)


def resolutions(needs: Requirements, width_px: int | None, height_px: int | None) -> tuple[str, ...]:
    """The UA's resolutions that fit within a width and a height; none in what is unknown."""
    if width_px is None or height_px is None:
        return ()
    return tuple(each for each in needs.resolutions if _fits(each, width_px, height_px))


def frame_rates(needs: Requirements, most_hz: int | None) -> tuple[int, ...]:
    """The UA's frame rates up to a limit; none if that is unknown."""
    return tuple(each for each in needs.frame_rates if most_hz is not None and each <= most_hz)


def _resolution(needs: Requirements, terminal: TerminalProfile, offers: Offers) -> str | None:
    width = _least(terminal.screen_width_px, offers.max_width_px)
    height = _least(terminal.screen_height_px, offers.max_height_px)
    if needs.resolutions:
        return next(iter(resolutions(needs, width, height)), None)
    return f"{width}x{height}" if width and height else None


def _frame_rate(needs: Requirements, terminal: TerminalProfile, offers: Offers) -> int | None:
    most = _least(terminal.max_frame_rate_hz, offers.max_frame_rate_hz)
    return next(iter(frame_rates(needs, most)), None) if needs.frame_rates else most


def _fits(resolution: str, width_px: int, height_px: int) -> bool:
    width, height = resolution.split("x")
    return int(width) <= width_px and int(height) <= height_px


def _least(one: int | None, other: int | None) -> int | None:
    known = [each for each in (one, other) if each is not None]
    return min(known) if known else None


def _common(asked: Sequence[str], spoken: Sequence[str] | None) -> tuple[str, ...]:
    return tuple([each for each in asked if each in spoken]) if asked and spoken else ()


def _first(common: Sequence[str], offered: Sequence[str] | None) -> str | None:
    return next((each for each in common if each in offered), None) if common and offered else None
