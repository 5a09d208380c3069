"""Catalogue entries that nobody would write: every one is a definition, or a list of errors with places."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from vmm_automation.schema.definitions import ua_from_mapping

UAS = Path(__file__).parents[2] / "inventories" / "local" / "uas"
SHIPPED = [yaml.safe_load(path.read_text()) for path in sorted(UAS.glob("*.yml"))]
KINDS = ["pip", "deb", "apt", "rpm", "archive", "role"]

TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["", "..", "../x", "/etc/passwd", "{version_dir}", "{nothing}", "-x", "$(reboot)", "\x00", "a\nb"]
    ),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.sampled_from(KINDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def places(part: Any, *path: str | int) -> list[tuple[str | int, ...]]:
    """Every place in a document."""
    entries = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    return [path, *[place for key, value in entries for place in places(value, *path, key)]]


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    """A shipped definition in which some values are others, or are gone."""
    document: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(SHIPPED)))
    for _ in range(draw(st.integers(1, 3))):
        *path, last = draw(st.sampled_from(places(document)[1:]))
        part: Any = document
        for key in path:
            part = part[key]
        if draw(st.booleans()) and isinstance(part, dict):
            del part[last]
        else:
            part[last] = draw(VALUES)
        if not places(document)[1:]:
            break
    return document


@settings(max_examples=150)
@given(damaged() | st.dictionaries(TEXTS, VALUES, max_size=4))
def test_any_document_is_a_definition_or_errors_with_places(document: dict[str, Any]) -> None:
    """Nothing is raised, nothing is half read, and each error names the file."""
    definition, errors = ua_from_mapping("demo", document, where="uas/demo.yml")
    assert (definition is None) == bool(errors)
    assert all(error.startswith("uas/demo.yml") and error.isprintable() for error in errors)
    if definition:
        assert definition.newest in definition.versions
