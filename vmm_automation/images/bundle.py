"""One generation as one file, ``.vmmimage``: a tar, compressed by zstd, that needs none of our code to open.

Its members, in this order, and no others::

    manifest.json   the manifest, as ``schema/manifest.json`` describes it
    signature       JSON: SHA-256 and size of both other members, and an HMAC-SHA256 over them
    data.tar        the user's data, byte for byte as it was captured

The HMAC's key is derived from the key of the image store, so that a file counts as good only where it was
made with that key. It proves origin, it hides nothing: whoever has the file can read the user's data, unless
it was encrypted by ``age`` for recipients of the caller's.

Atomicity: a file is there under its name completely or not at all, and never in the place of another.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import json
import os
import secrets
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

from vmm_automation.adapters.process import run
from vmm_automation.errors import ArtifactInvalid, Conflict, DiskFull, NotFound, PreflightFailed
from vmm_automation.images.age import decrypt, encrypt, is_encrypted
from vmm_automation.images.archive import ArchivePolicy
from vmm_automation.images.manifest import verify
from vmm_automation.model.image import Manifest
from vmm_automation.schema import schema

FORMAT: Final = "vmm-automation user image 1"
_MEMBERS: Final = ("manifest.json", "signature", "data.tar")
_BLOCK: Final = 512
_COPIED_BYTES: Final = 1 << 20
_MANIFEST_BYTES: Final = 256 << 20
_SIGNATURE_BYTES: Final = 4096
#: what tarfile lets through when headers are nonsense, besides its own TarError
_MALFORMED: Final = (tarfile.TarError, ArithmeticError, EOFError, LookupError, RecursionError, ValueError)
_DECOMPRESS: Final = 'ulimit -f "$1" && exec zstd -q -d -c -- "$2" > "$3"'


def write(
    target: Path,
    *,
    tar: Path,
    manifest: Manifest,
    key_file: Path,
    spool: Path,
    recipients: Path | None = None,
) -> None:
    """Write a generation, read and proven, as a new file with mode 0600; ``spool`` is the caller's own.

    With ``recipients``, a file of age recipients, it is encrypted for them.

    Raises:
        Conflict: there is something of that name.
        NotFound: the directory does not exist.
        ToolMissing, DiskFull, PreflightFailed: zstd or age is not installed, there is no space, or no key.
        UsageError: ``recipients`` is no such file.
    """
    require_free(target)
    document = json.dumps(manifest.to_document(), sort_keys=True, indent=1).encode()
    (spool / _MEMBERS[0]).write_bytes(document)
    (spool / _MEMBERS[1]).write_bytes(_signature(spool / _MEMBERS[0], tar, key=_key(key_file)))
    packed = spool / "packed.tar"
    with _space(spool), tarfile.open(packed, "w", format=tarfile.PAX_FORMAT) as outer:
        for name, path in zip(_MEMBERS, (spool / _MEMBERS[0], spool / _MEMBERS[1], tar), strict=True):
            with path.open("rb") as content:
                outer.addfile(_header(name, path.stat().st_size), content)
    fresh = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}")
    try:
        with _space(target.parent):
            os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            plain = spool / "packed.zst" if recipients else fresh
            run(["zstd", "-q", "-f", "-3", "--check", "-o", plain, packed])
            if recipients:
                encrypt(plain, recipients=recipients, into=fresh)
            fresh.chmod(0o600)
            _sync(fresh)
            target.hardlink_to(fresh)
    except FileExistsError as taken:
        raise _exists(target) from taken
    except PermissionError as refused:
        raise PreflightFailed(
            f"Cannot write '{target}': it is not allowed, or its file system has no hard links",
            hint=f"ls -ld {target.parent}",
            details={"path": str(target)},
        ) from refused
    finally:
        fresh.unlink(missing_ok=True)
    _sync(target.parent)


def read(
    source: Path,
    *,
    key_file: Path,
    spool: Path,
    identity: Path | None = None,
    policy: ArchivePolicy | None = None,
) -> tuple[Path, Manifest]:
    """Unpack a file into ``spool``, which is the caller's own, and prove all of it.

    ``identity`` is the file with the age identity that an encrypted one is for.

    Returns the tar's path below ``spool`` and the manifest.

    Raises:
        NotFound: there is no such file.
        ArtifactInvalid: it is no such file, was cut, altered, or made with the key of another store.
        ToolMissing, DiskFull, PreflightFailed: as for :func:`write`.
    """
    policy = policy or ArchivePolicy()
    if not source.is_file():
        raise NotFound(f"User image file '{source}' does not exist", hint=f"ls -l {source.parent}")
    key = _key(key_file)
    plain = spool / "plain.zst" if is_encrypted(source) else source
    if plain is not source:
        decrypt(source, identity=identity, into=plain)
    packed = _decompressed(plain, source=source, spool=spool, limit=2 * policy.max_bytes + _MANIFEST_BYTES)
    manifest_file, signature_file, tar = (spool / name for name in _MEMBERS)
    _unpack(packed, into=spool, source=source)
    packed.unlink()
    _check_signature(source, signature_file, manifest_file, tar, key=key)
    manifest = _manifest(manifest_file, source=source)
    verify(tar, manifest, policy=policy)
    return tar, manifest


def _decompressed(plain: Path, *, source: Path, spool: Path, limit: int) -> Path:
    packed = spool / "packed.tar"
    words = ["sh", "-c", _DECOMPRESS, "sh", str(limit // _BLOCK + 1), str(plain.absolute()), str(packed)]
    done = run(words, check=False)
    if done.status == 127:  # what a shell says of a program that is not there
        run(["zstd", "--version"])
    if os.strerror(errno.ENOSPC) in done.error_tail:
        raise _full(spool)
    if done.status != 0:
        _refuse(source, "it is no zstd file, was cut, or its content is damaged")
    return packed


def _unpack(packed: Path, *, into: Path, source: Path) -> None:
    """Take exactly our three members out, and refuse anything that our own tar would not have."""
    limits = (_MANIFEST_BYTES, _SIGNATURE_BYTES, packed.stat().st_size)
    try:
        with packed.open("rb") as file:
            for name, limit in zip(_MEMBERS, limits, strict=True):
                header = file.read(_BLOCK)
                member = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
                if header != _header(name, member.size).tobuf(tarfile.PAX_FORMAT) or member.size > limit:
                    _refuse(source, f"it has something else where '{name}' should be")
                _copy(file, into / name, size=member.size)
                if any(file.read(-member.size % _BLOCK)):
                    _refuse(source, f"there is something behind '{name}'")
            end = file.read(_COPIED_BYTES)
    except _MALFORMED as malformed:
        raise _invalid(source, f"it is no user image: {malformed}") from malformed
    rest = range(2 * _BLOCK, 2 * _BLOCK + tarfile.RECORDSIZE)
    if any(end) or len(end) not in rest or packed.stat().st_size % tarfile.RECORDSIZE:
        _refuse(source, "its end is not where it should be")


def _copy(file: Any, target: Path, *, size: int) -> None:
    with _space(target.parent), target.open("xb") as copy:
        while size:
            piece = file.read(min(size, _COPIED_BYTES))
            if not piece:
                raise EOFError("it ends too early")
            copy.write(piece)
            size -= len(piece)


def _check_signature(source: Path, signature: Path, manifest: Path, tar: Path, *, key: bytes) -> None:
    """Ours is one text for given content, so that it is compared as a whole."""
    wanted, found = _signature(manifest, tar, key=key), signature.read_bytes()
    if hmac.compare_digest(wanted, found):
        return
    try:
        sums = [{name: json.loads(text).get(name) for name in _MEMBERS} for text in (wanted, found)]
    except (ValueError, AttributeError, RecursionError):
        _refuse(source, "its signature is none")
    if sums[0] != sums[1]:
        _refuse(source, "it was altered after it was written")
    _refuse(source, "it was not made with the key of this image store")


def _signature(manifest: Path, tar: Path, *, key: bytes) -> bytes:
    members: dict[str, Any] = {}
    for name, path in ((_MEMBERS[0], manifest), (_MEMBERS[2], tar)):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        members[name] = {"sha256": digest, "size": path.stat().st_size}
    signed = {"format": FORMAT, **members}
    text = json.dumps(signed, sort_keys=True).encode()
    signed["hmac_sha256"] = hmac.new(key, text, "sha256").hexdigest()
    return json.dumps(signed, sort_keys=True, indent=1).encode() + b"\n"


def _manifest(path: Path, *, source: Path) -> Manifest:
    from jsonschema import Draft202012Validator

    document = json.loads(path.read_bytes())
    wrong = next(Draft202012Validator(schema("manifest")).iter_errors(document), None)
    if wrong:
        _refuse(source, f"its manifest is none: {wrong.message[:200]}")
    manifest = Manifest.from_document(document)
    if manifest.root_digest != document["root_digest"]:
        _refuse(source, "its root digest is not that of its entries")
    return manifest


def _key(key_file: Path) -> bytes:
    """Not the store's key itself: what signs cannot decrypt."""
    try:
        secret = key_file.read_bytes().strip()
    except OSError as failed:
        raise PreflightFailed(
            f"Key '{key_file}' of the image store cannot be read: {failed.strerror}",
            hint=f"restore '{key_file}' from your backup",
        ) from failed
    return hmac.new(secret, FORMAT.encode(), "sha256").digest()


def _header(name: str, size: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size, header.mode = size, 0o600
    return header


def require_free(target: Path) -> None:
    """Find out before the work is done whether :func:`write` can give a file this name.

    Raises:
        Conflict, NotFound: as :func:`write`.
    """
    if not target.parent.is_dir():
        raise NotFound(f"Directory '{target.parent}' does not exist", hint=f"mkdir -p {target.parent}")
    if os.path.lexists(target):
        raise _exists(target)


def _exists(target: Path) -> Conflict:
    return Conflict(
        f"Cannot write '{target}': it exists already",
        hint=f"ls -l {target}",
        details={"path": str(target)},
    )


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _space(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as full:
        if full.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _full(directory) from full


def _full(directory: Path) -> DiskFull:
    return DiskFull(
        f"Cannot work on a user image file: no space left below '{directory}'",
        hint=f"df -h '{directory}'",
        details={"directory": str(directory)},
    )


def _refuse(source: Path, why: str) -> NoReturn:
    raise _invalid(source, why)


def _invalid(source: Path, why: str) -> ArtifactInvalid:
    return ArtifactInvalid(
        f"User image file '{source}' is refused: {why}",
        hint="export it again where it was made",
        details={"path": str(source), "why": why},
    )
