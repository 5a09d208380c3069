"""The audit chain read, verified and exported; an export is verified without any state.

An export is JSON lines: ``{"format": "vmm-audit", "version": 1, "head": {...}}``, then one entry a line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vmm_automation.errors import ArtifactInvalid, AuditBroken, Conflict, DiskFull, NotFound, UsageError
from vmm_automation.state import audit, audit_chain
from vmm_automation.state.audit_chain import Document, Head, canonical
from vmm_automation.state.store import Store

_FORMAT = "vmm-audit"
_VERSION = 1
_KEYS = frozenset(
    ("seq", "at", "actor", "from", "action", "object", "before", "after", "result", "previous", "hash")
)
_HASH_LETTERS = 64


def read(store: Store, *, object_name: str = "", limit: int = 0) -> Document:
    """The newest ``limit`` entries (0: all), oldest first, of one object or of all."""
    with store.reading() as tx:
        return {"events": audit.log(tx, object_name=object_name, limit=limit), "head": head(tx)}


def head(tx: Any) -> Document:
    """The end of the chain: kept elsewhere, it proves later that nothing before it was changed."""
    return audit.head(tx).to_document()


def verify(store: Store, *, anchor: str = "") -> Document:
    """Verify the whole chain in the state; ``anchor`` is a hash that was its end once.

    Raises:
        AuditBroken: ``details`` has the findings, each with its place.
        UsageError: the anchor is no hash.
    """
    _check_anchor(anchor)
    with store.reading() as tx:
        found = audit_chain.verify(audit.pages(tx), head=audit.head(tx), anchor=anchor)
    return _judged(found, where="in the state")


def verify_file(path: Path, *, anchor: str = "") -> Document:
    """The same for an export.

    Raises:
        NotFound, ArtifactInvalid: there is no such file, or it is no export.
        AuditBroken, UsageError: see :func:`verify`.
    """
    _check_anchor(anchor)
    lines = _lines(path)
    first = next(lines, {})
    noted = first.get("head")
    if (first.get("format"), first.get("version")) != (_FORMAT, _VERSION) or not isinstance(noted, dict):
        raise ArtifactInvalid(
            f"File '{path}' is no export of an audit chain",
            hint="vmm audit export FILE",
            details={"file": str(path)},
        )
    end = Head(seq=int(noted["seq"]), hash=str(noted["hash"]))
    found = audit_chain.verify(_entries(lines, path), head=end, anchor=anchor)
    return _judged(found, where=f"in file '{path}'")


def export(store: Store, path: Path) -> Document:
    """Write the chain into a new file that only its owner reads.

    Raises:
        Conflict: the file exists.
        NotFound: its directory does not.
        DiskFull: no space is left there.
    """
    count = 0
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as there:
        raise Conflict(f"File '{path}' exists", hint="name a new file") from there
    except OSError as failed:
        raise NotFound(f"Cannot write '{path}': {failed.strerror}", hint=f"ls -ld {path.parent}") from failed
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file, store.reading() as tx:
            end = head(tx)
            file.write(canonical({"format": _FORMAT, "version": _VERSION, "head": end}) + "\n")
            for event in audit.pages(tx):
                file.write(canonical(event) + "\n")
                count += 1
            file.flush()
            os.fsync(file.fileno())
    except OSError as failed:
        path.unlink(missing_ok=True)  # half an export would look like a chain that was cut off
        raise DiskFull(f"Cannot write '{path}': {failed.strerror}", hint=f"df -h {path.parent}") from failed
    return {"file": str(path), "events": count, "head": end}


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(file, start=1):
                yield _parsed(line, number=number, path=path)
    except OSError as failed:
        raise NotFound(f"Cannot read '{path}': {failed.strerror}", hint=f"ls -l {path}") from failed


def _parsed(line: str, *, number: int, path: Path) -> dict[str, Any]:
    try:
        document = json.loads(line)
    except ValueError:
        document = None
    if isinstance(document, dict):
        return document
    raise AuditBroken(
        f"Line {number} of '{path}' is no JSON object: it was changed or cut off",
        hint="vmm audit export FILE",
        details={"file": str(path), "line": number},
    )


def _entries(lines: Iterator[dict[str, Any]], path: Path) -> Iterator[Document]:
    for number, event in enumerate(lines, start=2):
        if event.keys() != _KEYS or type(event["seq"]) is not int:
            raise AuditBroken(
                f"Line {number} of '{path}' is no entry of an audit chain: it was changed",
                hint="vmm audit export FILE",
                details={"file": str(path), "line": number},
            )
        yield event


def _check_anchor(anchor: str) -> None:
    if anchor and (len(anchor) != _HASH_LETTERS or not set(anchor) <= set("0123456789abcdef")):
        raise UsageError("A hash of the audit chain is 64 of 0-9 and a-f", hint="vmm audit verify --help")


def _judged(found: Document, *, where: str) -> Document:
    if found["valid"]:
        return found
    first = found["findings"][0]
    raise AuditBroken(
        f"The audit chain {where} is broken in {found['wrong']} places; first: {first['why']}",
        hint="vmm audit log",
        details=found,
    )
