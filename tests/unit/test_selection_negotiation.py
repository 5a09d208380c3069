"""What a UA needs of terminals, what VMs offer, and what a session uses of what all of them carry."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from vmm_automation.model.terminal import TerminalProfile
from vmm_automation.model.vm import Offers

from .selection_cases import NEEDS, PHONE, RICH, a_ua, a_vm, choose, refused


@pytest.mark.parametrize(("terminal", "needs", "name", "needed", "found"), [
    ({"screen_width_px": 240}, {"min_screen_width_px": 320}, "screen_width", "320 px", "240 px"),
    ({"screen_height_px": 240}, {"min_screen_height_px": 320}, "screen_height", "320 px", "240 px"),
    ({"bandwidth_kbit_s": 64}, {"min_bandwidth_kbit_s": 500}, "bandwidth", "500 kbit/s", "64 kbit/s"),
    ({"inputs": ("touch",)}, {"inputs": ("keyboard", "touch")}, "inputs", "keyboard, touch", "touch"),
    ({"audio_out": False}, {"audio_out": True}, "audio_out", "audio output", "absent"),
    ({"protocols": ("vnc",)}, {}, "terminal_protocols", "http", "vnc"),
    ({"screen_width_px": None}, {"min_screen_width_px": 320}, "screen_width", "320 px", "unknown"),
    ({"screen_height_px": None}, {"min_screen_height_px": 1}, "screen_height", "1 px", "unknown"),
    ({"bandwidth_kbit_s": None}, {"min_bandwidth_kbit_s": 500}, "bandwidth", "500 kbit/s", "unknown"),
    ({"inputs": None}, {"inputs": ("touch",)}, "inputs", "touch", "unknown"),
    ({"audio_out": None}, {"audio_out": True}, "audio_out", "audio output", "unknown"),
    ({"protocols": None}, {}, "terminal_protocols", "http", "unknown"),
    ({"colour_depth_bits": 8}, {"min_colour_depth_bits": 24}, "colour_depth", "24 bits", "8 bits"),
    ({}, {"min_colour_depth_bits": 24}, "colour_depth", "24 bits", "unknown"),
    ({"latency_ms": 90}, {"max_latency_ms": 50}, "latency", "at most 50 ms", "90 ms"),
    ({}, {"max_latency_ms": 50}, "latency", "at most 50 ms", "unknown"),
    ({"camera": False}, {"camera": True}, "camera", "camera", "absent"),
    ({}, {"audio_in": True}, "audio_in", "audio input", "unknown"),
    ({"video_codecs": ("vp8",)}, {"video_codecs": ("av1", "h264")}, "video_codecs", "av1 or h264", "vp8"),
    ({}, {"video_codecs": ("av1",)}, "video_codecs", "av1", "unknown"),
    ({"audio_codecs": ()}, {"audio_codecs": ("opus",)}, "audio_codecs", "opus", "none"),
    ({}, {"image_types": ("png",)}, "image_types", "png", "unknown"),
    ({"bearer": "gprs"}, {"bearers": ("wifi", "lte")}, "bearer", "wifi or lte", "gprs"),
    ({}, {"operating_systems": ("android",)}, "os", "android", "unknown"),
    ({}, {"resolutions": ("1280x720",)}, "resolution", "1280x720", "390x844"),
    ({"max_frame_rate_hz": 24}, {"frame_rates": (60, 30)}, "frame_rate", "30 frames/s", "24 frames/s"),
    ({}, {"frame_rates": (60, 30)}, "frame_rate", "30 frames/s", "unknown"),
])  # fmt: skip
def test_unfit_terminal_is_reported_once(
    terminal: dict[str, Any], needs: dict[str, Any], name: str, needed: str, found: str
) -> None:
    """What the terminal lacks or does not state is said once, not once for each VM, with both values."""
    error = refused([a_vm("vm-1"), a_vm("vm-2")], terminal=replace(PHONE, **terminal), ua=a_ua(**needs))
    [lack] = error.details["terminal"]
    assert (lack["vm"], lack["filter"], lack["needed"], lack["found"]) == (None, name, needed, found)
    assert error.message == f"No VM fits UA 'radicale' for terminal 'phone': {lack['sentence']}"
    assert lack["sentence"].startswith("terminal 'phone': ")
    assert ("unknown" in lack["sentence"]) is (found == "unknown")
    assert [each["filter"] for each in error.details["rejected"]] == ["terminal", "terminal"]


def test_best_of_each_kind_that_all_three_carry_is_negotiated() -> None:
    """Protocol, codecs, resolution and frame rate: the UA's best that terminal and VM carry, too."""
    ua = a_ua(
        protocols=("webrtc", "http"), video_codecs=("av1", "h264"), audio_codecs=("aac", "opus"),
        resolutions=("1280x720", "300x600", "100x100"), frame_rates=(60, 30, 10),
    )  # fmt: skip
    offers = Offers(("h264", "vp8"), ("opus",), 1920, 700, 30)
    uses = choose([a_vm(offers=offers)], ua=ua, terminal=RICH).best.uses
    assert uses.to_document() == {
        "protocol": "http",
        "video_codec": "h264",
        "audio_codec": "opus",
        "resolution": "300x600",
        "frame_rate_hz": 30,
    }


def test_picture_nobody_asked_for_is_what_terminal_and_vm_carry() -> None:
    """Where the UA asks for none, codecs are not needed and the picture is the largest known."""
    uses = choose([a_vm(offers=Offers(("h264",), max_width_px=300))], terminal=RICH).best.uses
    assert (uses.video_codec, uses.resolution, uses.frame_rate_hz) == (None, "300x844", 60)
    uses = choose([a_vm()], terminal=TerminalProfile("t", protocols=("http",))).best.uses
    assert (uses.resolution, uses.frame_rate_hz) == (None, None)


def test_requirements_of_a_version_decide_on_the_vms_that_have_it() -> None:
    """A terminal that is too small for the newest version gets a VM with an older one."""
    old, middle, newest = a_ua().versions
    needy = replace(newest, requirements=replace(NEEDS, min_screen_width_px=1000))
    ua = replace(a_ua(), versions=(old, middle, needy))
    facts = [a_vm("vm-1"), a_vm("vm-2", active_uas={"radicale": "3.10.0"})]
    found = choose(facts, ua=ua)
    assert [choice.vm for choice in found.ranked] == ["vm-2"]
    assert [(each.vm, each.filter) for each in found.rejected] == [("vm-1", "terminal")]
    assert "screen width is 390 px, 1000 px needed" in found.rejected[0].sentence
    error = refused(facts, ua=ua, version="3.3.0")
    assert error.details["terminal"][0]["filter"] == "screen_width"


@pytest.mark.parametrize(("pack", "best", "points"), [(False, "vm-3", 12), (True, "vm-2", 16)])
def test_placement_follows_the_load_of_regions(pack: bool, best: str, points: int) -> None:
    """Spread begins where most VMs are free, pack where fewest are; the term tells both numbers."""
    north, south = Offers(region="north"), Offers(region="south")
    facts = [
        a_vm("vm-1", offers=north, session="s-1"), a_vm("vm-2", offers=north), a_vm("vm-2b", offers=north),
        a_vm("vm-3", offers=south), a_vm("vm-4", offers=south),
    ]  # fmt: skip
    found = choose(facts, pack=pack).best
    assert (found.vm, found.terms["placement"].points) == (best, points)
    assert "VMs held" in found.terms["placement"].phrase
