"""Reads a YAML file as a mapping, strictly, because what an operator or a request sends is not trusted.

YAML forgives too much: of two equal keys the last wins silently, the version ``3.10`` is the number 3.1,
aliases can make a kilobyte stand for a gigabyte. Each of these is an error here, with its file and path.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from vmm_automation.schema import located, shown

MAX_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 32
_TEXT_TAG: Final = "tag:yaml.org,2002:str"

Document = dict[str, Any]


def read_mapping(path: Path, *, where: str) -> tuple[Document | None, list[str]]:
    """The mapping that a file holds, or None and every error found.

    A file of more than 1 MiB, one that is not a regular file and one that is not UTF-8 is an error.

    Raises:
        FileNotFoundError: there is no such file.
    """
    try:
        # A FIFO or a device would block for ever or never end.
        if not stat.S_ISREG(path.stat().st_mode):
            return None, [f"{where}: is not a regular file"]
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        if path.is_symlink():
            return None, [f"{where}: is a link to a file that is not there"]
        raise
    except OSError as failure:
        return None, [f"{where}: cannot be read: {failure.strerror}"]
    return decode_mapping(content, where=where)


def decode_mapping(content: bytes, *, where: str) -> tuple[Document | None, list[str]]:
    """The mapping that at most :data:`MAX_BYTES` of UTF-8 hold, or None and every error found."""
    if len(content) > MAX_BYTES:
        return None, [f"{where}: is larger than 1 MiB"]
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        return None, [f"{where}: is not UTF-8 text (byte 0x{content[failure.start]:02x} at {failure.start})"]
    return parse_mapping(text, where=where)


def parse_mapping(text: str, *, where: str) -> tuple[Document | None, list[str]]:
    """The mapping that a YAML text holds, or None and every error found."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        errors = list(_structure_errors(yaml.parse(text, Loader=loader)))
        node = None if errors else yaml.compose(text, Loader=loader)
        if node is not None:
            errors = [located(where, path, error) for path, error in _key_errors(node, ())]
        else:
            errors = [f"{where}: {error}" for error in errors]
        document = None if errors else yaml.load(text, Loader=loader)  # noqa: S506 - a safe loader
    except yaml.MarkedYAMLError as failure:
        mark = failure.problem_mark or failure.context_mark
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        return None, [f"{where}: is not YAML: {failure.problem or failure.context}{place}"]
    except (yaml.YAMLError, ValueError, OverflowError) as failure:
        # e.g. a NUL, the 13th month in a date, a number of more digits than Python reads
        return None, [f"{where}: is not YAML: {_first_line(failure)}"]
    if errors:
        return None, errors
    if not isinstance(document, dict):
        return None, [f"{where}: {'is empty' if document is None else shown(document)}: a mapping is needed"]
    return document, []


def _structure_errors(events: Iterator[Any]) -> Iterator[str]:
    """What must not be there before the text may be turned into objects."""
    import yaml

    depth = documents = 0
    for event in events:
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        documents += isinstance(event, yaml.DocumentStartEvent)
        line = event.start_mark.line + 1
        if depth > MAX_DEPTH:
            yield f"line {line}: is nested more than {MAX_DEPTH} levels deep"
            return
        if isinstance(event, yaml.AliasEvent):
            yield f"line {line}: alias '*{event.anchor}' is not supported: write the value out"
        if isinstance(event, yaml.DocumentStartEvent) and documents == 2:
            yield f"line {line}: a second document begins: one is allowed"


def _key_errors(node: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Keys that come twice, and keys that are not text (YAML reads 3.10 as 3.1 and no as false)."""
    import yaml

    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _key_errors(item, (*path, index))
    elif isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or key.tag != _TEXT_TAG:
                name = f"key {key.value}" if isinstance(key, yaml.ScalarNode) else "a key"
                yield path, f"{name} (line {line}) is not text: write it in quotes"
                continue
            if key.value in lines:
                yield (*path, key.value), f"duplicate key (lines {lines[key.value]} and {line})"
            lines.setdefault(key.value, line)
            yield from _key_errors(value, (*path, key.value))


def _first_line(failure: Exception) -> str:
    return next(iter(str(failure).splitlines()), type(failure).__name__)
