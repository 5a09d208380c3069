"""The audit chain as values: one entry's form, its hash, and the search for what does not fit.

An entry's hash is SHA-256 over its canonical JSON (sorted keys, no spaces, ASCII) without the hash itself;
it holds the hash of the entry before it. So whoever changes, moves or removes an entry must write anew all
that follow, and then the end of the chain has another hash than the one that was told to others before.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

try:  # Python's own: hashlib loads OpenSSL first, which is a twentieth of a short command's time
    from _sha2 import sha256  # type: ignore[import-not-found,unused-ignore]  # since Python 3.12
except ImportError:
    try:
        from _sha256 import sha256  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        from hashlib import sha256

#: what the first entry names as the one before it
GENESIS: Final = "0" * 64
_CANONICAL: Final = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
)
_SHOWN: Final = 20
_SEARCHED: Final = 200
Document = dict[str, Any]


@dataclass(frozen=True)
class Head:
    """The end of the chain: the number of entries, and the hash of the last."""

    seq: int
    hash: str

    def to_document(self) -> Document:
        """As in result documents."""
        return {"seq": self.seq, "hash": self.hash}


def canonical(document: Any) -> str:
    """The one text form of a JSON document."""
    return _CANONICAL.encode(document)


def digest(document: Any) -> str:
    """SHA-256 of a document's canonical form; '' for None, an object that is not there."""
    return sha256(canonical(document).encode()).hexdigest() if document is not None else ""


def hash_of(event: Document) -> str:
    """The hash that an entry must have."""
    return digest({key: value for key, value in event.items() if key != "hash"})


def verify(events: Iterable[Document], *, head: Head | None = None, anchor: str = "") -> Document:
    """Read a chain from its beginning and say what does not fit, and where.

    ``head`` is the end as kept apart from the entries; ``anchor`` a hash that the chain had at its end at
    some time, as told in a result document then: it must still be in it.

    Each finding has ``seq``, ``kind`` (*edited*, *reordered*, *missing*, *relinked*, *truncated*,
    *unanchored*) and a sentence. At most 20 are returned; ``wrong`` counts all.
    """
    walk = _Walk(anchor=anchor)
    for event in events:
        walk.take(event)
    findings = walk.end(head)
    document: Document = {
        "valid": not findings,
        "events": walk.count,
        "head": {"seq": walk.seq, "hash": walk.hash},
        "wrong": len(findings),
        "findings": findings[:_SHOWN],
    }
    return document


class _Walk:
    """The state of one reading: only wrong entries are kept, so that a long chain costs no memory."""

    def __init__(self, *, anchor: str) -> None:
        self.count, self.seq, self.hash = 0, 0, GENESIS
        self.findings: list[Document] = []
        self._altered: list[Document] = []
        self._anchor = anchor
        self._anchored = anchor in ("", GENESIS)

    def take(self, event: Document) -> None:
        """Compare the next entry with the one before."""
        self.count += 1
        seq, expected = event["seq"], self.seq + 1
        intact = event["hash"] == hash_of(event)
        if seq > expected:
            last = seq - 1
            which = f"{expected}" if last == expected else f"{expected} to {last}"
            self._find(expected, "missing", f"entry {which} is missing: {seq} follows {self.seq}")
        elif seq < expected:
            self._find(seq, "reordered", f"entry {seq} stands behind {self.seq}")
        elif event["previous"] != self.hash and intact:
            self._find(seq, "relinked", f"entry {seq} follows another one than {self.seq}: that was replaced")
        if not intact:
            self._altered.append(event)
        self._anchored = self._anchored or event["hash"] == self._anchor
        self.seq, self.hash = max(seq, self.seq), event["hash"]

    def end(self, head: Head | None) -> list[Document]:
        """All findings, by place."""
        places = [event["seq"] for event in self._altered]
        for event in self._altered:
            seq = event["seq"]
            home = next(
                (
                    place
                    for place in places[:_SEARCHED]
                    if place != seq and hash_of({**event, "seq": place}) == event["hash"]
                ),
                None,
            )
            if home is None:
                self._find(seq, "edited", f"entry {seq} was changed after it was written")
            else:
                self._find(seq, "reordered", f"entry {seq} was written as entry {home}")
        if head is not None:
            self._compare(head)
        if not self._anchored:
            why = f"no entry has the hash {self._anchor}: it was cut off at the end, or all was written anew"
            self._find(self.seq, "unanchored", why)
        return sorted(self.findings, key=lambda finding: int(finding["seq"]))

    def _compare(self, head: Head) -> None:
        if head.seq > self.seq:
            why = f"entries {self.seq + 1} to {head.seq} are cut off at the end"
            self._find(self.seq + 1, "truncated", why)
        elif (head.seq, head.hash) != (self.seq, self.hash):
            self._find(self.seq, "relinked", f"the chain does not end in entry {head.seq} as noted")

    def _find(self, seq: int, kind: str, why: str) -> None:
        self.findings.append({"seq": seq, "kind": kind, "why": why})
