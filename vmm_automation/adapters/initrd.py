"""Builds initial RAM disks: a static busybox, a few kernel modules in loading order, and one script.

The distribution's own initramfs costs seconds under software emulation. Everything here is pure: bytes
in, bytes out, and the same input gives the same bytes.
"""

from __future__ import annotations

import gzip
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

_PROGRAMS = (
    "cat", "dd", "echo", "insmod", "ip", "mount", "poweroff", "sh", "sleep", "switch_root", "tar",
    "umount", "usleep",
)  # fmt: skip
_BLOCK = 512


@dataclass(frozen=True)
class Entry:
    """One member of the archive; ``mode`` is the whole st_mode, file type included."""

    name: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


def newc_archive(entries: Iterable[Entry]) -> bytes:
    """A cpio archive in the format that the Linux kernel unpacks ("newc"), owned by 0:0, times zero."""
    out = bytearray()
    for number, entry in enumerate([*entries, Entry("TRAILER!!!", 0)], start=1):
        name = entry.name.encode() + b"\0"
        fields = (
            number, entry.mode, 0, 0, 1, 0, len(entry.content), 0, 0, *entry.device, len(name), 0,
        )  # fmt: skip
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + name
        out += b"\0" * (-len(out) % 4)
        out += entry.content
        out += b"\0" * (-len(out) % 4)
    return bytes(out) + b"\0" * (-len(out) % _BLOCK)


def module_order(modules_dep: str, names: Iterable[str]) -> tuple[str, ...]:
    """Paths of the named modules and all they need, in the order in which insmod must load them.

    ``modules_dep`` is the text of ``modules.dep``. A name that it does not list is built into the kernel
    and needs no file.
    """
    needs: dict[str, list[str]] = {}
    for line in modules_dep.splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
    by_name = {PurePosixPath(path).name.split(".")[0].replace("-", "_"): path for path in needs}
    ordered: list[str] = []

    def visit(path: str) -> None:
        if path in ordered:
            return
        for needed in needs.get(path, []):
            visit(needed)
        ordered.append(path)

    for name in names:
        found = by_name.get(name.replace("-", "_"))
        if found:
            visit(found)
    return tuple(ordered)


def root_initrd(*, busybox: bytes, script: bytes, modules: Mapping[str, bytes]) -> bytes:
    """The initrd that starts a guest: loads ``modules`` (file name -> content, in loading order) and runs
    ``script``.
    """
    order = "".join(f"{name}\n" for name in modules).encode()
    return _compressed(
        [
            *_skeleton(busybox, script),
            _directory("modules"),
            _file("modules/order", order),
            *(_file(f"modules/{name}", content) for name, content in modules.items()),
        ]
    )


def probe_initrd(*, busybox: bytes, script: bytes) -> bytes:
    """The initrd of the acceleration probe: no modules, only ``script``."""
    return _compressed(_skeleton(busybox, script))


def _skeleton(busybox: bytes, script: bytes) -> list[Entry]:
    return [
        *(_directory(name) for name in ("bin", "dev", "proc", "sys", "root")),
        Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)),
        Entry("dev/null", stat.S_IFCHR | 0o666, device=(1, 3)),
        _file("bin/busybox", busybox, executable=True),
        *(Entry(f"bin/{name}", stat.S_IFLNK | 0o777, b"busybox") for name in _PROGRAMS),
        _file("init", script, executable=True),
    ]


def _directory(name: str) -> Entry:
    return Entry(name, stat.S_IFDIR | 0o755)


def _file(name: str, content: bytes, *, executable: bool = False) -> Entry:
    return Entry(name, stat.S_IFREG | (0o755 if executable else 0o644), content)


def _compressed(entries: Iterable[Entry]) -> bytes:
    return gzip.compress(newc_archive(entries), compresslevel=6, mtime=0)
