"""From a checked YAML mapping to the definition of a pool."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from vmm_automation.model.pool import Levels, PoolDefinition, Warmth
from vmm_automation.schema import errors_of, located

_LEVELS: Final = tuple(str(warmth) for warmth in Warmth)
_BOUNDS: Final = {"min": "least", "max": "most"}


def pool_from_mapping(
    name: str, document: Mapping[str, Any], *, where: str
) -> tuple[PoolDefinition | None, list[str]]:
    """A pool, or None and every error."""
    errors = errors_of("pool", document, where=where)
    errors = errors or [located(where, path, text) for path, text in _bound_errors(document)]
    if errors:
        return None, errors
    levels = Levels(**{key: document[key] for key in _LEVELS if key in document})
    stated = {_BOUNDS.get(key, key): value for key, value in document.items() if key not in _LEVELS}
    return PoolDefinition(name=name, levels=levels, **{"most": levels.total, **stated}), []


def _bound_errors(document: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    total = sum(document.get(level, 0) for level in _LEVELS)
    least, most = document.get("min", 0), document.get("max", total)
    if total == 0 and "max" not in document:
        yield ("max",), "is missing: the levels ask for no VM, so that nothing says how many there may be"
    if least > most:
        yield ("min",), f"{least} is more than max, {most}"
    if total > most:
        yield ("max",), f"{most} is less than ready, parked and cold together, {total}"
    if total < least:
        yield ("min",), f"{least} is more than ready, parked and cold together, {total}"
