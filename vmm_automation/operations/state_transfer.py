"""Saves the state to a file, and brings it from a file into an empty state of either engine."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmm_automation.errors import Conflict, DiskFull, UsageError
from vmm_automation.state import schema, transfer
from vmm_automation.state.open import open_store, schema_version
from vmm_automation.trace import point

if TYPE_CHECKING:
    from vmm_automation.model.state_url import StateUrl
    from vmm_automation.places import Places
    from vmm_automation.state.store import Engine, SchemaTx


def export_state(store: Engine, *, path: Path) -> dict[str, Any]:
    """Write all rows, as they are at one moment, to a new file that either engine can be filled from.

    Raises:
        Conflict: there is a file of that name.
        UsageError: it cannot be created there.
        DiskFull: there is no space for it.
    """
    with _new_file(path) as partial:
        written = _export(store, partial)
    return _saved(store, path, form="export", rows=written.rows, sha256=written.sha256)


def back_up(store: Engine, *, path: Path) -> dict[str, Any]:
    """Save the state in the engine's own form, or as an export where it has none.

    Raises:
        Conflict, UsageError, DiskFull: as :func:`export_state`.
        StateUnusable: the copy is damaged, as the state must be.
    """
    with _new_file(path) as partial:
        own = store.copy_to(partial)
        if not own:
            _export(store, partial)
    return _saved(store, path, form=store.name if own else "export")


def import_state(store: Engine, *, path: Path, check: bool = False) -> dict[str, Any]:
    """Fill an empty state from an export: every row as it was, ids, fences and history included.

    Raises:
        ArtifactInvalid: the file is not an export, was cut or altered, or its rows do not fit.
        StateUnusable: it was written by a newer version.
        Conflict: the state is not empty, or the file's rows break a rule of the schema.
    """
    file = transfer.examine(path)
    with store.transaction(keep=not check) as tx:
        _refuse_unless_empty(tx, store=store)
        transfer.replace_all(tx, file)
        point("state.import.replaced")
    return {**_place(store), "path": str(path), "rows": file.rows, "sha256": file.sha256}


def migrate(places: Places, url: StateUrl | None, *, check: bool = False) -> dict[str, Any]:
    """Bring the tables up to this version's schema, as opening the state does; tell what they were before.

    Raises:
        StateUnusable, DiskFull, Timeout: see :func:`vmm_automation.state.open.open_store`.
    """
    before = schema_version(places, url)
    found = {"from": before, "to": schema.VERSION}
    if check:
        return found
    with open_store(places, url) as store:
        return {**_place(store), **found}


def _export(store: Engine, path: Path) -> transfer.ExportFile:
    with store.reading() as tx, path.open("wb") as file:
        for line in transfer.lines(tx):
            file.write(line)
    return transfer.examine(path)  # what is on the disk is what was meant


def _refuse_unless_empty(tx: SchemaTx, *, store: Engine) -> None:
    present = transfer.sha256(tx)
    transfer.make_tables(tx)
    if transfer.sha256(tx) != present:
        raise Conflict(
            f"Cannot import into state '{store.location}': it is not empty",
            hint="vmm state export state.jsonl",
            details={"state": store.location},
        )


def _saved(store: Engine, path: Path, **more: Any) -> dict[str, Any]:
    return {**_place(store), "path": str(path), "bytes": path.stat().st_size, **more}


def _place(store: Engine) -> dict[str, Any]:
    return {"engine": store.name, "state": store.location, "schema": schema.VERSION}


@contextmanager
def _new_file(path: Path) -> Iterator[Path]:
    """A file (0600) to fill; it has its name only once all of it is on the disk."""
    path = path.absolute()
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    if path.exists() or path.is_symlink():
        raise Conflict(f"Cannot write '{path}': it exists already", hint=f"ls -l {path}")
    try:
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        try:
            yield partial
            _to_disk(partial)
            point("state.file.written")
            partial.rename(path)
            point("state.file.named")
            _to_disk(path.parent)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as failed:
        if failed.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"Cannot write '{path}': no space left", hint=f"df -h {path.parent}") from failed
        raise UsageError(
            f"Cannot write '{path}': {failed.strerror}", hint=f"ls -ld {path.parent}"
        ) from failed


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
