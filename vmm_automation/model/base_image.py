"""What a base image is made from, and what a finished one consists of; no file is touched here."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vmm_automation.errors import InvalidName
from vmm_automation.model.names import check_name

#: Raised whenever the builder or one of its guest files changes what an image contains: images made before
#: are built anew.
BUILDER_REVISION = 2

Kind = Literal["debian", "qcow2"]

_SUITE = re.compile(r"[a-z][a-z0-9-]*")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_UNIT = re.compile(r"[A-Za-z0-9:_.@\\-]+\.(service|socket|target|timer|mount|automount|path|slice|swap)")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MIRROR = re.compile(r"(https?|file|copy)://\S+|/\S+")
_ONE_LINE = re.compile(r"[^\n\0]*")
_DISK_GIB = range(2, 1025)


@dataclass(frozen=True)
class BaseImageDefinition:
    """One file of ``base_images/``.

    ``debian``: built from packages of ``suite``, which come from ``mirror`` or, where that is empty, from
    the controller's own apt sources; ``disk_gib`` is the virtual size in GiB; ``masked_units`` are
    systemd units that must not start. ``qcow2``: the file at ``path``, which must have the digest
    ``sha256``; ``kernel`` and ``initrd`` are files for direct boot, empty where the image boots by its
    own loader. ``kernel_arguments`` count only where there is a kernel.
    """

    name: str
    kind: Kind
    kernel_arguments: str = ""
    suite: str = ""
    packages: tuple[str, ...] = ()
    masked_units: tuple[str, ...] = ()
    disk_gib: int = 8
    mirror: str = ""
    path: str = ""
    sha256: str = ""
    kernel: str = ""
    initrd: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 (hexadecimal) of everything that decides what the finished image contains.

        The name and, for ``qcow2``, the place of the source file do not count.
        """
        matters = dataclasses.asdict(self)
        del matters["name"], matters["path"]
        matters["builder_revision"] = BUILDER_REVISION
        canonical = json.dumps(matters, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(frozen=True)
class BaseImage:
    """A finished, read-only base image; its files never change.

    With a ``kernel``, guests boot it directly with ``initrd`` and ``kernel_arguments``; ``probe_initrd``
    is the guest of the acceleration probe. All three are None for an image that boots by its own loader.
    """

    name: str
    digest: str
    disk: Path
    kernel: Path | None
    initrd: Path | None
    kernel_arguments: str
    probe_initrd: Path | None = None


@dataclass(frozen=True)
class AccelerationVerdict:
    """Whether guests run on the processor itself (``kvm``) or on an emulated one (``tcg``), and why.

    ``reason`` is one clause for a person; ``seconds`` is what the probe took (zero when nothing had to be
    booted); ``cached`` is true when it was known before; ``cpu`` is the QEMU processor model that was
    found to work, empty where the verdict was not probed.
    """

    kind: str
    reason: str
    seconds: float
    cached: bool
    cpu: str = ""


@dataclass(frozen=True)
class _Key:
    """One key of the YAML mapping: where it may stand, and how its value (or each item of its list) must
    look.
    """

    kinds: tuple[Kind, ...]
    type: type[str] | type[int] | type[list[str]]
    pattern: re.Pattern[str] = _ONE_LINE
    required: bool = False


_BOTH: tuple[Kind, ...] = ("debian", "qcow2")
_KEYS: Mapping[str, _Key] = {
    "kernel_arguments": _Key(_BOTH, str),
    "suite": _Key(("debian",), str, _SUITE, required=True),
    "packages": _Key(("debian",), list, _PACKAGE, required=True),
    "masked_units": _Key(("debian",), list, _UNIT),
    "disk_gib": _Key(("debian",), int),
    "mirror": _Key(("debian",), str, re.compile(f"|{_MIRROR.pattern}")),
    "path": _Key(("qcow2",), str, re.compile(r"[^\n\0]+"), required=True),
    "sha256": _Key(("qcow2",), str, _SHA256, required=True),
    "kernel": _Key(("qcow2",), str),
    "initrd": _Key(("qcow2",), str),
}


def base_image_from_mapping(name: str, mapping: object) -> tuple[BaseImageDefinition | None, list[str]]:
    """The definition that a YAML file holds, or None and every error found, each with its file and key.

    Unknown keys, and keys of the other kind, are errors: a misspelt key must not be silently without effect.
    """
    where = f"base_images/{name}.yml"
    try:
        check_name("base image", name)
    except InvalidName as refused:
        return None, [f"{where}: {refused.message}"]
    if not isinstance(mapping, Mapping):
        return None, [f"{where}: must be a mapping"]
    kind = mapping.get("kind")
    if kind not in _BOTH:
        return None, [f"{where}: kind: must be 'debian' or 'qcow2'"]
    errors = [f"{where}: {error}" for error in _errors(kind, mapping)]
    if errors:
        return None, errors
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in mapping.items()
    }
    return BaseImageDefinition(name=name, **values), []


def _errors(kind: Kind, mapping: Mapping[Any, Any]) -> list[str]:
    errors: list[str] = []
    for key, value in mapping.items():
        if key == "kind":
            continue
        known = _KEYS.get(key) if isinstance(key, str) else None
        if known is None:
            errors.append(f"{key}: unknown key")
        elif kind not in known.kinds:
            errors.append(f"{key}: has no meaning for kind '{kind}'")
        else:
            errors += _value_errors(str(key), value, known)
    errors += [
        f"{key}: is required for kind '{kind}'"
        for key, known in _KEYS.items()
        if known.required and kind in known.kinds and key not in mapping
    ]
    if mapping.get("initrd") and not mapping.get("kernel"):
        errors.append("initrd: needs a kernel")
    return errors


def _value_errors(key: str, value: object, known: _Key) -> list[str]:
    if known.type is int:
        if isinstance(value, int) and not isinstance(value, bool) and value in _DISK_GIB:
            return []
        return [f"{key}: must be a whole number from {_DISK_GIB[0]} to {_DISK_GIB[-1]}"]
    if known.type is str:
        return _text_errors(key, value, known.pattern)
    if not isinstance(value, list):
        return [f"{key}: must be a list of strings"]
    return [
        error
        for index, item in enumerate(value)
        for error in _text_errors(f"{key}[{index}]", item, known.pattern)
    ]


def _text_errors(where: str, value: object, pattern: re.Pattern[str]) -> list[str]:
    if not isinstance(value, str):
        return [f"{where}: must be a string"]
    if not pattern.fullmatch(value):
        return [
            f"{where}: '{value}' does not look like a {where.split('[')[0].rstrip('s').replace('_', ' ')}"
        ]
    return []
