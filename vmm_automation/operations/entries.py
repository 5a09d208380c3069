"""Entries of the audit chain for the changes that operations make, each in the transaction of its change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from vmm_automation.errors import VmmError
from vmm_automation.operations.context import Context
from vmm_automation.state import audit, audit_objects
from vmm_automation.state.audit_objects import Reader
from vmm_automation.state.store import Tx


@contextmanager
def session_change(
    tx: Tx, context: Context, session_id: str, *, action: str, now: datetime
) -> Iterator[dict[str, Any]]:
    """A block that changes a session, and fills the document that tells of it."""
    read = audit_objects.session(session_id)
    with change(tx, context, action=action, object_name=session_id, read=read, now=now) as result:
        yield result


@contextmanager
def queue_change(
    tx: Tx, context: Context, request: str, *, action: str, now: datetime
) -> Iterator[dict[str, Any]]:
    """A block that puts a request into the queue or takes it out."""
    read = audit_objects.waiting_request(request)
    with change(tx, context, action=action, object_name=request, read=read, now=now) as result:
        yield result


@contextmanager
def vm_change(
    tx: Tx, context: Context, vm: str, *, action: str, now: datetime, part: str = ""
) -> Iterator[dict[str, Any]]:
    """A block that changes what is known of a VM; ``part``: a UA on it, delivered again without an entry."""
    name, read = f"{vm}/{part}" if part else vm, audit_objects.vm(vm)
    with change(
        tx, context, action=action, object_name=name, read=read, now=now, only_if_changed=bool(part)
    ) as result:
        yield result


@contextmanager
def image_change(
    tx: Tx, context: Context, *, user: str, ua: str, action: str, now: datetime
) -> Iterator[dict[str, Any]]:
    """A block that adds or deploys a generation of a user's data."""
    read = audit_objects.image(user, ua)
    with change(tx, context, action=action, object_name=f"{user}/{ua}", read=read, now=now) as result:
        yield result


def note_vm(context: Context, vm: str, *, action: str, failure: VmmError | None = None) -> None:
    """An entry for what changed a VM but nothing in the state: it was started, or could not be made.

    Of a failure only the class is kept: its message may quote what a program in the guest printed.
    """
    with context.store.transaction() as tx:
        now = context.clock.now()
        with vm_change(tx, context, vm, action=action, now=now) as result:
            result["status"] = "failed" if failure else "ok"
            result["error"] = type(failure).__name__ if failure else None


@contextmanager
def pool_change(
    tx: Tx, context: Context, pool: str, *, action: str, now: datetime
) -> Iterator[dict[str, Any]]:
    """A block that changes what is known of a pool."""
    read = audit_objects.pool(pool)
    with change(tx, context, action=f"pool.{action}", object_name=pool, read=read, now=now) as result:
        yield result


@contextmanager
def ua_change(
    tx: Tx, context: Context, ua_id: str, *, action: str, now: datetime
) -> Iterator[dict[str, Any]]:
    """A block that changes what of a UA is offered."""
    read = audit_objects.ua(ua_id)
    with change(tx, context, action=action, object_name=f"ua:{ua_id}", read=read, now=now) as result:
        yield result


@contextmanager
def change(
    tx: Tx,
    context: Context,
    *,
    action: str,
    object_name: str,
    read: Reader,
    now: datetime,
    only_if_changed: bool = False,
) -> Iterator[dict[str, Any]]:
    """A block that changes what ``read`` reads, by whoever acts; it fills the document that tells of it."""
    with audit.change(
        tx,
        author=context.author,
        action=action,
        object_name=object_name,
        read=read,
        now=now,
        only_if_changed=only_if_changed,
    ) as entry:
        yield entry.result
