"""The published JSON Schemas (draft 2020-12) of what an operator writes and of a user image's manifest, and
readable errors from them.

The schema files lie beside this module and travel in the wheel. A person who has made five mistakes
is told all five, each with its file and path, in words rather than in schema keywords.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

KINDS: Final = ("site", "profile", "terminal", "ua", "manifest")

_TYPES: Final = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}
_SHOWN_CHARACTERS: Final = 60
#: comparing names is slow; a file with more unknown keys than this is another kind of file altogether
_SUGGESTIONS: Final = 20

Path = tuple[str | int, ...]


@cache
def schema(kind: str) -> dict[str, Any]:
    """The JSON Schema of one of :data:`KINDS`, as loaded from its file."""
    text = resources.files(__name__).joinpath(f"{kind}.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def errors_of(kind: str, document: Any, *, where: str) -> list[str]:
    """Every way in which a document departs from the schema of its kind, sorted by path.

    ``where`` begins each error: ``uas/radicale.yml: versions.1.0.kind: 'rpm' is not one of …``.
    Mappings in the document must have text as keys (:mod:`vmm_automation.schema.yaml_text` sees to it).
    """
    found = {
        (path, text) for error in _validator(kind).iter_errors(document) for path, text in _readable(error)
    }
    return [located(where, path, text) for path, text in sorted(found, key=_order)]


def located(where: str, path: Iterable[str | int], text: str) -> str:
    """``where: a.b[0]: text``; without a path, ``where: text``."""
    dotted = ""
    for part in path:
        dotted += f"[{part}]" if isinstance(part, int) else f".{_escaped(part)}"
    return f"{where}: {dotted.removeprefix('.')}: {text}" if dotted else f"{where}: {text}"


def shown(value: object) -> str:
    """A value as an error shows it: at most 60 characters, control characters escaped."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return f"'{_escaped(value)}'" if isinstance(value, str) else _escaped(str(value))


def suggestion(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` where a known word is close, else nothing."""
    close = difflib.get_close_matches(word[:_SHOWN_CHARACTERS], list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


@cache
def _validator(kind: str) -> Any:
    # Importing jsonschema costs more than the rest of a command that needs no file of the site.
    from jsonschema import Draft202012Validator, validators

    types = Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    ).redefine("number", lambda _, value: _is_finite(value))
    extended: Any = validators.extend(  # type: ignore[no-untyped-call]  # its stub lacks annotations
        Draft202012Validator, {"pattern": _pattern}, type_checker=types
    )
    return extended(schema(kind))


def _is_finite(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # an int may be too large for math.isfinite, and is finite
    return number and (isinstance(value, int) or math.isfinite(value))  # type: ignore[arg-type]  # a float


def _pattern(_validator: Any, pattern: str, instance: object, _schema: Any) -> Iterator[ValidationError]:
    """JSON Schema's ``$`` is the very end of the text; Python's also matches before a final newline."""
    from jsonschema.exceptions import ValidationError

    if isinstance(instance, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), instance):
        yield ValidationError("does not match")


def _readable(error: ValidationError) -> Iterator[tuple[Path, str]]:
    """One or several (path, text) for one error of jsonschema."""
    path: Path = tuple(error.absolute_path)
    asked: Any = error.validator_value
    value: Any = error.instance
    rules: Mapping[str, Any] = error.schema if isinstance(error.schema, Mapping) else {}
    if error.validator == "additionalProperties":
        known = rules.get("properties", {})
        for count, key in enumerate(key for key in value if key not in known):
            close = suggestion(key, known) if count < _SUGGESTIONS else ""
            yield (*path, key), f"unknown key{close}"
    elif error.validator == "required":
        for key in asked:
            if key not in value:
                yield (*path, key), "is missing"
    else:
        yield path, _text(str(error.validator), asked, value, rules)


def _text(keyword: str, asked: Any, value: Any, rules: Mapping[str, Any]) -> str:
    texts: dict[str, Callable[[], str]] = {
        "type": lambda: f"{shown(value)} is not {_type_names(asked)}{_quotes(asked, value)}",
        "enum": lambda: f"{shown(value)} is not one of {_choices(asked)}",
        "pattern": lambda: f"{shown(value)} is not {rules.get('title', 'of the form ' + str(asked))}",
        "minimum": lambda: f"{shown(value)} is less than {asked}",
        "maximum": lambda: f"{shown(value)} is more than {asked}",
        "minLength": lambda: "is empty" if asked == 1 else f"is shorter than {asked} characters",
        "maxLength": lambda: f"is longer than {asked} characters",
        "minItems": lambda: "is empty" if asked == 1 else f"has fewer than {asked} items",
        "maxItems": lambda: "must be empty for this kind" if asked == 0 else f"has more than {asked} items",
        "minProperties": lambda: "is empty" if asked == 1 else f"has fewer than {asked} keys",
        "uniqueItems": lambda: "has the same item twice",
    }
    return texts[keyword]() if keyword in texts else f"{shown(value)} is not allowed here"


def _choices(asked: Iterable[Any]) -> str:
    return ", ".join("null" if each is None else str(each) for each in asked)


def _type_names(asked: str | list[str]) -> str:
    names = [asked] if isinstance(asked, str) else asked
    return " or ".join(_TYPES[name] for name in names)


def _quotes(asked: str | list[str], value: object) -> str:
    text_wanted = "string" in ([asked] if isinstance(asked, str) else asked)
    scalar = value is not None and not isinstance(value, Mapping | list | tuple)
    return ": write it in quotes" if text_wanted and scalar else ""


def _order(found: tuple[Path, str]) -> tuple[list[tuple[bool, int, str]], str]:
    path, text = found
    return [(False, part, "") if isinstance(part, int) else (True, 0, part) for part in path], text


def _escaped(text: str) -> str:
    whole = text[: _SHOWN_CHARACTERS + 1]
    printable = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in whole)
    if len(text) > _SHOWN_CHARACTERS:
        return f"{printable[:_SHOWN_CHARACTERS]}… ({len(text)} characters)"
    return printable
