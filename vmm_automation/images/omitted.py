"""What of a user's data is not in an image, and why: named, so that nobody looks for it in vain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from vmm_automation.errors import ArtifactInvalid
from vmm_automation.images.printable import shown

#: so many are named in a document, which a hostile guest could make as long as it likes otherwise
NAMED: Final = 100
_IN_SENTENCE: Final = 10


@dataclass(frozen=True)
class Omitted:
    """A path, as it is in the guest, and why it is not in an image."""

    path: str
    why: str

    def to_document(self) -> dict[str, str]:
        """As it may be printed."""
        return {"path": shown(self.path), "why": self.why}


def documents(omitted: Sequence[Omitted]) -> list[dict[str, str]]:
    """The first :data:`NAMED` of them."""
    return [each.to_document() for each in omitted[:NAMED]]


def sentence(entries: Sequence[dict[str, str]], *, unnamed: int = 0) -> str:
    """Documents of :class:`Omitted` in words."""
    told = [f"path '{entry['path']}': {entry['why']}" for entry in entries[:_IN_SENTENCE]]
    more = len(entries) - len(told) + unnamed
    return "; ".join([*told, *([f"and {more} more"] if more else ())])


def refusal(refused: Sequence[Omitted]) -> ArtifactInvalid:
    """The failure of an archive that has such entries."""
    named = documents(refused)
    return ArtifactInvalid(
        f"User image refused: {sentence(named, unnamed=len(refused) - len(named))}",
        hint="exclude the path under user_data.exclude in the UA definition, or remove it in the guest",
        details={"path": named[0]["path"], "refused_entries": named},
    )
