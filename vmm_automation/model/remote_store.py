"""Where the store of User Images lies on another host, and what the controller needs to get there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RemoteStore:
    """``url`` is ``ssh://USER@HOST[:PORT]/PATH``; the others are files of the controller."""

    url: str
    ssh_key: str
    known_hosts: str


def remote_store_from(document: Mapping[str, Any]) -> RemoteStore | None:
    """What ``user_images`` of a site says, if it says where; its form was checked before."""
    return RemoteStore(**document) if document else None
