"""What differs between the entries of two generations, by layer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from vmm_automation.images.layers import EXCEPTIONS, SETTINGS
from vmm_automation.images.printable import shown
from vmm_automation.model.image import FileEntry

Layers = dict[str, dict[str, list[str]]]


def compare(before: Iterable[FileEntry], after: Iterable[FileEntry]) -> Layers:
    """Paths ``added``, ``changed`` and ``removed`` of each layer, as they may be printed; times do not count.

    A path that moved to the other layer is removed from the one and added to the other.
    """
    old = {(entry.layer, entry.path): replace(entry, mtime_ns=0) for entry in before}
    new = {(entry.layer, entry.path): replace(entry, mtime_ns=0) for entry in after}
    changed = {key for key in old.keys() & new.keys() if old[key] != new[key]}
    found: Layers = {}
    for layer in (SETTINGS, EXCEPTIONS):
        kinds = {"added": new.keys() - old.keys(), "changed": changed, "removed": old.keys() - new.keys()}
        found[layer] = {
            kind: sorted(shown(path) for of, path in keys if of == layer) for kind, keys in kinds.items()
        }
    return found
