"""Terminal profiles: components, differences from a base, unknown keys, and any JSON at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmm_automation.errors import TerminalInvalid, VmmError
from vmm_automation.model.terminal import COMPONENTS, VOCABULARY, MergeRule, TerminalProfile
from vmm_automation.schema import schema
from vmm_automation.site import Site

BASE = """
hardware: {screen_width_px: 1920, inputs: [keyboard], audio_out: true}
software: {os: linux, protocols: [http], video_codecs: [h264]}
network: {bearer: ethernet, bandwidth_kbit_s: 1000}
locale: en-GB
merge: {bandwidth_kbit_s: locked, inputs: override}
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A site with one base profile."""
    (tmp_path / "site.yml").write_text("name: lab\n")
    (tmp_path / "terminals").mkdir()
    (tmp_path / "terminals/desk.yml").write_text(BASE)
    return tmp_path


def requested(directory: Path, **mapping: Any) -> TerminalProfile:
    """The profile of a request."""
    return Site.load(directory).terminal(mapping)


def errors(directory: Path, **mapping: Any) -> list[str]:
    """What is wrong with a request's profile."""
    with pytest.raises(TerminalInvalid) as raised:
        requested(directory, **mapping)
    found: list[str] = raised.value.details["errors"]
    return found


def test_components_and_flat_attributes_say_the_same(directory: Path) -> None:
    """An attribute may stand in its component or beside the components."""
    flat = requested(directory, screen_width_px=5, os="linux", nat="none", locale="no")
    assert flat == requested(
        directory,
        hardware={"screen_width_px": 5},
        software={"os": "linux"},
        network={"nat": "none"},
        locale="no",
    )


def test_attribute_stated_twice_is_refused(directory: Path) -> None:
    """Of two values in one profile none is preferred."""
    assert errors(directory, screen_width_px=5, hardware={"screen_width_px": 5}) == [
        "terminal: screen_width_px: is stated in component 'hardware', too"
    ]


def test_attribute_in_the_wrong_component_is_unknown(directory: Path) -> None:
    """The component is part of the word."""
    assert errors(directory, network={"screen_width_px": 5}) == [
        "terminal: network.screen_width_px: unknown key"
    ]


def test_difference_is_merged_by_the_rules(directory: Path) -> None:
    """Override replaces (null: makes unknown), append adds what is new, what is not stated stays."""
    found = requested(
        directory,
        base="desk",
        hardware={"screen_width_px": 800, "inputs": ["touch"], "audio_out": None},
        software={"video_codecs": ["av1", "h264"], "protocols": None},
    )
    assert (found.screen_width_px, found.inputs, found.audio_out) == (800, ("touch",), None)
    assert (found.video_codecs, found.protocols) == (("h264", "av1"), ("http",))
    assert (found.bearer, found.locale, found.os) == ("ethernet", "en-GB", "linux")


@pytest.mark.parametrize(
    ("difference", "error"),
    [
        (
            {"os": "android"},
            "terminal: software.os: 'android' differs from 'linux' of base 'desk', which locks it",
        ),
        (
            {"bandwidth_kbit_s": 9},
            "terminal: network.bandwidth_kbit_s: 9 differs from 1000 of base 'desk', which locks it",
        ),
        ({"os": None}, "terminal: software.os: null differs from 'linux' of base 'desk', which locks it"),
    ],
)
def test_locked_value_cannot_be_changed(directory: Path, difference: dict[str, Any], error: str) -> None:
    """By the vocabulary's rule or by the base's, with both values told."""
    assert errors(directory, base="desk", **difference) == [error]


def test_locked_value_may_be_repeated_or_filled_in(directory: Path) -> None:
    """What the base does not know cannot be locked, and the same value is no change."""
    assert requested(directory, base="desk", os="linux", bandwidth_kbit_s=1000).os == "linux"
    (directory / "terminals/bare.yml").write_text("{merge: {camera: locked}}\n")
    found = requested(directory, base="bare", os="ios", camera=True)
    assert (found.os, found.camera) == ("ios", True)


def test_what_is_locked_stays_locked_for_differences_of_differences(directory: Path) -> None:
    """A profile in between cannot unlock what its base locks."""
    (directory / "terminals/mid.yml").write_text("{base: desk, merge: {bandwidth_kbit_s: override}}\n")
    assert "of base 'mid', which locks it" in errors(directory, base="mid", bandwidth_kbit_s=5)[0]
    assert requested(directory, base="mid", latency_ms=5).bandwidth_kbit_s == 1000


def test_base_that_is_absent_wrong_or_itself_is_told(directory: Path) -> None:
    """Each names the chain or the file."""
    assert "No terminal 'desc'" in errors(directory, base="desc")[0]
    (directory / "terminals/one.yml").write_text("{base: two}\n")
    (directory / "terminals/two.yml").write_text("{base: one}\n")
    (directory / "terminals/bad.yml").write_text("{screen: 1}\n")
    assert errors(directory, base="one") == [
        "terminal: base: is a difference from itself: one → two → one"
    ]  # fmt: skip
    assert "base 'bad': terminals/bad.yml: screen: unknown key" in errors(directory, base="bad")[0]
    found = Site.load(directory).validate()
    assert "terminals/one.yml: base: is a difference from itself: one → two → one" in found
    assert errors(directory, base="../desk")


def test_long_chain_of_bases_is_refused(directory: Path) -> None:
    """A chain that nobody can read is not followed."""
    (directory / "terminals/t0.yml").write_text("{locale: no-NO}\n")
    for number in range(1, 12):
        (directory / f"terminals/t{number}.yml").write_text(f"{{base: t{number - 1}}}\n")
    assert requested(directory, base="t7").locale == "no-NO"
    assert "more than 8 bases" in errors(directory, base="t11")[0]


def test_unknown_keys_are_refused_or_kept_by_policy(directory: Path) -> None:
    """Kept ones are with the profile by path, decide nothing, and wrong values of known keys stay wrong."""
    wanted = {"hardware": {"foldable": True, "camera": True}, "vendor": {"x": [1]}}
    assert len(errors(directory, **wanted)) == 2
    (directory / "site.yml").write_text("name: lab\npolicies: {terminal_unknown_keys: keep}\n")
    found = requested(directory, **wanted)
    assert found.kept == {"hardware.foldable": True, "vendor": {"x": [1]}}
    assert found.camera is True
    assert found.to_document()["kept"] == found.kept
    assert errors(directory, vendor=1, latency_ms="5") == [
        "terminal: latency_ms: '5' is not a whole number or null"
    ]


def test_schema_publishes_the_vocabulary() -> None:
    """Each attribute is in its component and flat, with component and rule; lists alone can be appended."""
    properties = schema("terminal")["properties"]
    for name, attribute in VOCABULARY.items():
        assert properties[name].get("x-component", "") == attribute.component
        assert properties[name]["x-merge"] == attribute.rule
        is_list = "array" in properties[name].get("type", [])
        assert ("append" in properties["merge"]["properties"][name]["enum"]) is is_list
        assert attribute.rule is not MergeRule.APPEND or is_list
        if attribute.component:
            assert properties[attribute.component]["properties"][name]["$ref"] == f"#/properties/{name}"
    assert set(properties) == {*VOCABULARY, *COMPONENTS, "base", "merge"}
    fields = set(TerminalProfile.__dataclass_fields__)
    assert fields == {*VOCABULARY, "name", "kept"}


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
_KEYS = st.sampled_from([*VOCABULARY, *COMPONENTS, "base", "merge", "name"]) | st.text()
_WORDS = st.sampled_from(["desk", "locked", "append", "h264", "touch", "none", "en-GB", 5, True])
_VALUES = _JSON | _WORDS | st.lists(_WORDS, max_size=3) | st.dictionaries(_KEYS, _JSON | _WORDS, max_size=3)


@settings(max_examples=400, deadline=None)
@given(document=_JSON | st.dictionaries(_KEYS, _VALUES, max_size=6), keep=st.booleans())
def test_any_json_is_a_profile_or_a_clear_error(tmp_path_factory: Any, document: Any, keep: bool) -> None:
    """Whatever a request carries, the answer is a profile or a VmmError, by either policy."""
    directory = tmp_path_factory.getbasetemp() / f"fuzz-{keep}"
    if not directory.exists():
        (directory / "terminals").mkdir(parents=True)
        policy = "keep" if keep else "refuse"
        (directory / "site.yml").write_text(f"{{name: lab, policies: {{terminal_unknown_keys: {policy}}}}}\n")
        (directory / "terminals/desk.yml").write_text(BASE)
    try:
        profile = Site.load(directory).terminal(document)
    except VmmError as error:
        assert error.message.isprintable() or "\n" in error.message
        return
    assert isinstance(profile, TerminalProfile)


@pytest.mark.parametrize("policy", ["refuse", "keep"])
def test_profile_nested_without_end_is_refused(directory: Path, policy: str) -> None:
    """A request that is nested deeper than any file may be is told so."""
    (directory / "site.yml").write_text(f"name: lab\npolicies: {{terminal_unknown_keys: {policy}}}\n")
    deep: Any = 1
    for _ in range(50_000):
        deep = [deep]
    assert "nested more than 32 levels" in errors(directory, vendor=deep)[0]
