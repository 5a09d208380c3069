"""The published schemas are closed, described, agree with the code, and give printable errors."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from vmm_automation import schema
from vmm_automation.adapters.ua_unit import fill_placeholders
from vmm_automation.errors import InvalidName
from vmm_automation.model.names import check_name
from vmm_automation.schema.definitions import PLACEHOLDERS

BAD_NAMES = ["a/../b", "../x", "..", "a..b", "a/b", "/etc/passwd", "a b", " ", "", "-rf", "--help", "a\n"]
BAD_NAMES += ["a\tb", "a\x00b", "\x1b[31m", "x" * 300, "käse", "\uff41", "A", ".hidden", "a.", "a-"]


@pytest.mark.parametrize("kind", schema.KINDS)
def test_schema_is_valid_closed_and_described(kind: str) -> None:
    """Each published schema is draft 2020-12, allows no unknown key, and describes every property."""
    document = schema.schema(kind)
    Draft202012Validator.check_schema(document)

    def check(part: Any, path: str) -> None:
        if isinstance(part, list):
            for item in part:
                check(item, path)
        elif isinstance(part, dict):
            if part.get("type") == "object":
                assert part.get("additionalProperties") is not None, path
                assert part["additionalProperties"] is not True, path
            for name, value in part.get("properties", {}).items():
                conditional = path.endswith(("if", "then", "else"))
                assert conditional or value.get("description", "").endswith("."), f"{path}.{name}"
            for key, value in part.items():
                check(value, f"{path}.{key}")

    check(document, kind)


def test_schema_units_are_in_descriptions() -> None:
    """A property whose name carries a unit says it in words."""
    units = {
        "_px": "pixels",
        "_s": "seconds",
        "_mib": "MiB",
        "_ms": "milliseconds",
        "_kbit_s": "kbit/s",
        "_bits": "bits",
    }

    def check(part: Any) -> None:
        if isinstance(part, dict):
            for name, value in part.get("properties", {}).items():
                unit = max((end for end in units if name.endswith(end)), key=len, default=None)
                assert unit is None or units[unit] in value["description"], name
            for value in part.values():
                check(value)

    for kind in schema.KINDS:
        check(schema.schema(kind))


def test_schemas_agree_on_shared_vocabulary() -> None:
    """What a UA may require of inputs is what a terminal may state."""
    needs = schema.schema("ua")["properties"]["requirements"]["properties"]["terminal"]["properties"]
    offers = schema.schema("terminal")["properties"]
    assert needs["inputs"]["items"] == offers["inputs"]["items"]


@pytest.mark.parametrize(
    "name", [*BAD_NAMES, "a", "a-b", "a.b", "a_b", "1", "x" * 63, "x" * 64, "3.2.3", "1~rc1+b"]
)
def test_names_in_schemas_follow_the_naming_rules(name: str) -> None:
    """The published patterns and the naming rules of the code accept the same names."""
    digest = {"kind": "deb", "packages": ["xx"]}
    for kind, rule, document in (
        ("site", "site", {"name": name}),
        ("profile", "base image", {"base_image": name, "vcpus": 1, "memory_mib": 64}),
        ("ua", "version", {"versions": {name: digest}}),
    ):
        try:
            check_name(rule, name)
            valid = True
        except InvalidName:
            valid = False
        assert (schema.errors_of(kind, document, where="x") == []) is valid, (kind, name)


def test_errors_are_safe_to_print() -> None:
    """Control characters of a hostile file never reach a person's terminal, nor does a long value."""
    errors = schema.errors_of(
        "terminal", {"\x1b[2J": 1, "locale": "\x1b" * 9, "bearer": "x" * 9999}, where="t"
    )
    assert len(errors) == 3
    assert all(error.isprintable() and len(error) < 250 for error in errors)


def test_placeholders_that_validate_are_filled_in() -> None:
    """Every placeholder that a UA file may use is one that the unit writer replaces, and is documented."""
    documented = json.dumps(schema.schema("ua"))
    for placeholder in PLACEHOLDERS:
        assert fill_placeholders(f"{{{placeholder}}}", ua="x").startswith("/")
        assert f"{{{placeholder}}}" in documented
