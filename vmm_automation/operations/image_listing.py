"""What there is of stored User Images and what a generation holds, read from the state: nothing is proven."""

from __future__ import annotations

from typing import Any

from vmm_automation.model.names import check_name
from vmm_automation.state import generations, orphans
from vmm_automation.state.store import Store


def listing(store: Store, *, user: str = "", ua: str = "", orphaned: bool = False) -> dict[str, Any]:
    """Generations by user, UA and number, or the saves that are kept aside; of one user, one UA, or all.

    Raises:
        InvalidName: the user or the UA can have no such name.
    """
    of = {"user": user and check_name("user", user), "ua": ua and check_name("UA", ua)}
    read = orphans.list_orphans if orphaned else generations.list_generations
    with store.reading() as tx:
        found = read(tx, user=of["user"] or None, ua=of["ua"] or None)
    return {"changed": False, "generations": [generation.to_document() for generation in found]}


def manifest(store: Store, *, user: str, ua: str, number: int = 0) -> dict[str, Any]:
    """The manifest of a generation; of the newest for 0.

    Raises:
        NotFound: there is no such generation.
        InvalidName: the user or the UA can have no such name.
    """
    of = {"user": check_name("user", user), "ua": check_name("UA", ua)}
    with store.reading() as tx:
        return {"changed": False, "manifest": generations.manifest_document(tx, **of, number=number or None)}
