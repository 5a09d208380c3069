"""What a UA definition says of its data: hooks, converters, and the way from one data version to another."""

from __future__ import annotations

from typing import Any

import pytest

from vmm_automation.model.ua import Converter, Hook, UaDefinition, UaVersion
from vmm_automation.operations.user_image_hooks import converters_between
from vmm_automation.schema.definitions import ua_from_mapping

_VERSIONS = {"1.0": {"kind": "deb", "packages": ["cal"]}}


def errors_of(**stated: Any) -> list[str]:
    return ua_from_mapping("cal", {"versions": _VERSIONS, **stated}, where="cal.yml")[1]


def test_what_is_stated_is_read() -> None:
    """Hooks have a minute unless they say otherwise; a UA that says nothing is frozen for half a minute."""
    command = ["sh", "-c", "x"]
    definition, errors = ua_from_mapping(
        "cal",
        {
            "versions": _VERSIONS,
            "capture": {"freeze_s": 0, "dump": {"command": command, "deadline_s": 5}},
            "converters": [{"from": 1, "to": 3, "command": command}],
            "command": ["serve"],
            "stop": ["serve", "--end"],
            "run_as": "www-data",
        },
        where="cal.yml",
    )
    assert errors == []
    assert definition
    assert definition.capture.freeze_s == 0
    assert definition.capture.dump == Hook(("sh", "-c", "x"), 5)
    assert definition.converters == (Converter(1, 3, Hook(("sh", "-c", "x"), 60)),)
    assert (definition.stop, definition.run_as) == (("serve", "--end"), "www-data")
    plain, _ = ua_from_mapping("cal", {"versions": _VERSIONS}, where="cal.yml")
    assert plain
    assert plain.capture.freeze_s == 30
    assert (plain.stop, plain.run_as) == ((), "session")


@pytest.mark.parametrize(
    ("stated", "error"),
    [
        ({"capture": {"dump": {}}}, "cal.yml: capture.dump.command: is missing"),
        ({"capture": {"dump": {"command": "x"}}}, "cal.yml: capture.dump.command: 'x' is not a list"),
        (
            {"capture": {"thaw": {"command": ["x"]}}},
            "cal.yml: capture.freeze: is missing, and 'thaw' needs it",
        ),
        ({"capture": {"freeze_s": 601}}, "cal.yml: capture.freeze_s: 601 is more than 600"),
        (
            {"capture": {"stop": {"command": ["{hone}/quit"]}}},
            "cal.yml: capture.stop.command[0]: unknown placeholder '{hone}'; did you mean 'home'?",
        ),
        (
            {"converters": [{"from": 2, "to": 2, "command": ["x"]}]},
            "cal.yml: converters[0].to: 2 is not greater than 2",
        ),
        (
            {"converters": [{"from": 1, "to": 2, "command": ["{version}/x"]}]},
            "cal.yml: converters[0].command[0]: unknown placeholder '{version}'",
        ),
        ({"stop": ["x"]}, "cal.yml: stop: there is no 'command'"),
        ({"run_as": "www-data"}, "cal.yml: run_as: there is no 'command'"),
        (
            {"command": ["x"], "run_as": "www data"},
            "cal.yml: run_as: 'www data' is not the name of an account",
        ),
        ({"unit": "cron"}, "cal.yml: unit: 'cron' is not the name of a systemd service"),
        ({"unit": "a.service", "command": ["x"]}, "cal.yml: command: is not for a UA whose packages bring"),
        ({"unit": "a.service", "stop": ["x"]}, "cal.yml: stop: there is no 'command'"),
        ({"unit": "a.service", "user_data": {"settings": ["a"]}}, "cal.yml: user_data: is the session"),
        ({"command": ["x"], "stop": ["{hom}/x"]}, "cal.yml: stop[0]: unknown placeholder '{hom}'"),
        (
            {"command": ["x"], "run_as": "www-data", "user_data": {"settings": ["a"]}},
            "cal.yml: user_data: is the session account's, and the UA runs as 'www-data'",
        ),
    ],
)
def test_what_is_wrong_is_named(stated: dict[str, Any], error: str) -> None:
    """No command, text for a list, thaw alone, too long, unknown placeholders, a way that leads nowhere,
    data of an account that has none, a unit that is none or that something else is said beside.
    """
    assert any(found.startswith(error) for found in errors_of(**stated)), errors_of(**stated)


@pytest.mark.parametrize(
    ("steps", "older", "newer", "way"),
    [
        ([], 2, 2, []),
        ([], 1, 2, None),
        ([(1, 2), (2, 3)], 1, 3, [(1, 2), (2, 3)]),
        ([(1, 2), (2, 3), (1, 3)], 1, 3, [(1, 3)]),
        ([(1, 4), (1, 2), (2, 3)], 1, 3, [(1, 2), (2, 3)]),
        ([(1, 2), (3, 4)], 1, 4, None),
        ([(1, 2)], 2, 1, None),
    ],
)
def test_way_has_the_fewest_steps_and_never_leads_back(
    steps: list[tuple[int, int]], older: int, newer: int, way: list[tuple[int, int]] | None
) -> None:
    """None needed, one missing, after each other, a short cut, one too far, a gap, backwards."""
    ua = UaDefinition(
        id="cal",
        display_name="Cal",
        versions=(UaVersion("1.0", "deb"),),
        converters=tuple(Converter(*step, Hook(("x",))) for step in steps),
    )
    found = converters_between(ua, older=older, newer=newer)
    assert (None if found is None else [(each.older, each.newer) for each in found]) == way
