"""Kind *rpm*: RPM packages, each an artifact with its digest, installed offline in guests that have rpm."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from vmm_automation.adapters.bundle_members import PACKAGES_FILE, Member
from vmm_automation.adapters.kinds import Kind, plain_name
from vmm_automation.adapters.kinds.archive import fetch_files
from vmm_automation.errors import ArtifactInvalid
from vmm_automation.model.ua import UaVersion

_LEAD_BYTES = 96
_LEAD_MAGIC, _HEADER_MAGIC = b"\xed\xab\xee\xdb", b"\x8e\xad\xe8\x01"
_NAME, _VERSION, _RELEASE = 1000, 1001, 1002
_INSTALL = """\
say step packages
list_packages >"$installed"
if lacks_packages; then
    note_packages
    say step rpm
    rpm --upgrade --oldpackage --replacepkgs "$target"/packages/*.rpm >&2
    say did install_packages
fi
rm -f "$installed"
"""


def package_of(rpm: Path) -> tuple[str, str]:
    """Name, and version with release, as the package says of itself.

    Raises:
        ArtifactInvalid: it is no RPM package.
    """
    content = rpm.read_bytes()
    try:
        if content[:4] != _LEAD_MAGIC:
            raise ValueError("it does not begin as one")
        _tags, signature_end = _header(content, _LEAD_BYTES)
        tags, _end = _header(content, (signature_end + 7) // 8 * 8)
        return tags[_NAME], f"{tags[_VERSION]}-{tags[_RELEASE]}"
    except (ValueError, KeyError, struct.error) as wrong:
        raise ArtifactInvalid(
            f"File '{rpm.name}' is no RPM package: {wrong}", hint=f"file {rpm}", details={"path": str(rpm)}
        ) from wrong


def _header(content: bytes, start: int) -> tuple[dict[int, str], int]:
    """The texts of a header that begins at ``start``, by tag, and where it ends."""
    if content[start : start + 4] != _HEADER_MAGIC:
        raise ValueError("it has no header")
    count, size = struct.unpack_from(">II", content, start + 8)
    store = start + 16 + 16 * count
    texts = {}
    for number in range(count):
        tag, _type, offset, _count = struct.unpack_from(">IIII", content, start + 16 + 16 * number)
        if tag in (_NAME, _VERSION, _RELEASE):
            begin = store + offset
            texts[tag] = content[begin : content.index(b"\0", begin)].decode()
    return texts, store + size


def _members(version: UaVersion, files: Sequence[Path]) -> Iterator[Member]:
    del version
    for path in files:
        yield Member(f"packages/{plain_name(path)}", path.read_bytes())
    lines = sorted(" ".join(package_of(path)) + "\n" for path in files)
    yield Member(PACKAGES_FILE, "".join(lines).encode())


KIND = Kind(
    fetch=fetch_files,
    members=_members,
    hooks={"install": _INSTALL},
    activation=("install_packages",),
    would_install="would_install() { lacks_packages; }\n",
    packed=True,
    local=True,
)
