"""Debian packages for guests that have no network: resolved on the controller against the base image's
package list.

apt does the work with its own signed metadata, in a private directory (``<directory>/apt``), so that it needs
no root and leaves the controller's own packages alone; a signature that does not verify is refused as
everywhere else. ``<directory>/<key>.json`` locks what a list of names meant: names, versions and digests of
every file. While the lock is there apt is not asked again: the same names on the same base image give the
same files, offline.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vmm_automation.adapters import process
from vmm_automation.adapters.apt_sources import controller_sources
from vmm_automation.adapters.cached_files import cached_file, keep_file, sha256_of
from vmm_automation.errors import ArtifactInvalid

#: the Debian release of the guests
GUEST_RELEASE = "bookworm"
_LOCK_SCHEMA = 1
_APT_TIMEOUT_S = 900
#: a Debian package name, or name=version
_WANTED = re.compile(r"[a-z0-9][a-z0-9+.-]+(=[A-Za-z0-9.+:~-]+)?")


def resolve_packages(
    names: Sequence[str], *, status: Path, directory: Path, progress: Callable[[str], None]
) -> tuple[Path, ...]:
    """The .deb files of ``names`` and of all that they need beyond the packages in ``status``, by file name.

    They come from the controller's own sources for the guests' release, and from no others.

    Raises:
        ArtifactInvalid: no such package, its dependencies cannot be met, it would replace a package of the
            base image, or
            a kept file is absent or was altered.
        ToolMissing: apt-get or dpkg-deb is not installed.
        PreflightFailed: the controller has no source for the guests' release.
        Timeout: apt did not end within 15 minutes.
    """
    for name in names:
        if not _WANTED.fullmatch(name):
            raise ArtifactInvalid(
                f"Package '{name}' cannot be fetched: that is not a Debian package name",
                hint="apt-cache search WORD",
                details={"package": name},
            )
    lock = directory / f"{_lock_key(names, status)}.json"
    if not lock.is_file():
        progress(f"resolve Debian packages with apt: {', '.join(names)}")
        _write_lock(lock, _fetch(names, status=status, directory=directory))
    return tuple(_locked(entry, lock=lock) for entry in _read_lock(lock))


def _lock_key(names: Sequence[str], status: Path) -> str:
    installed = sorted(installed_packages(status.read_text(errors="replace")).items())
    inputs = {"schema": _LOCK_SCHEMA, "packages": sorted(names), "installed": installed}
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def installed_packages(status: str) -> dict[str, str]:
    """Name -> version of what a ``dpkg/status`` text says is installed."""
    found: dict[str, str] = {}
    for stanza in status.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Status|Version): (.*)$", stanza, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            found[fields["Package"]] = fields.get("Version", "")
    return found


def _fetch(names: Sequence[str], *, status: Path, directory: Path) -> list[dict[str, str]]:
    with tempfile.TemporaryDirectory(dir=directory, prefix=".apt-") as scratch:
        archives = Path(scratch) / "archives"
        sources = Path(scratch) / "sources.list"
        sources.write_text("".join(f"{source.line}\n" for source in controller_sources(GUEST_RELEASE)))
        options = _apt_options(directory / "apt", status=status, archives=archives, sources=sources)
        update = process.run(["apt-get", *options, "update"], timeout=_APT_TIMEOUT_S, check=False)
        # A mirror of updates may fail without harm; whether the wanted packages can be had decides.
        fetched = process.run(
            ["apt-get", *options, "--yes", "--download-only", "install", *names],
            timeout=_APT_TIMEOUT_S,
            check=False,
        )
        if fetched.status != 0:
            raise _apt_failure(names, fetched, update)
        installed = installed_packages(status.read_text(errors="replace"))
        return [
            _keep(deb, installed=installed, directory=directory) for deb in sorted(archives.glob("*.deb"))
        ]


def _apt_options(private: Path, *, status: Path, archives: Path, sources: Path) -> list[str]:
    for place in (private / "state/lists/partial", private / "cache", archives / "partial"):
        place.mkdir(parents=True, exist_ok=True)
    settings = {
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "-",
        "Dir::State": private / "state",
        "Dir::State::status": status.absolute(),
        "Dir::Cache": private / "cache",
        "Dir::Cache::archives": archives,
        "Debug::NoLocking": "1",
        "APT::Install-Recommends": "false",
        "APT::Get::AllowUnauthenticated": "false",
        "Acquire::AllowInsecureRepositories": "false",
    }
    if os.geteuid() == 0:
        # The unprivileged account of apt may not be able to reach a private directory.
        settings["APT::Sandbox::User"] = "root"
    words = ["--quiet"]
    for key, value in settings.items():
        words += ["--option", f"{key}={value}"]
    return words


def _keep(deb: Path, *, installed: dict[str, str], directory: Path) -> dict[str, str]:
    shown = process.run(["dpkg-deb", "--show", "--showformat=${Package} ${Version}", deb]).text
    name, version = shown.split()
    if name in installed:
        raise ArtifactInvalid(
            f"Package '{name}' {version} would replace version {installed[name]} of the base image, "
            "and removing the UA could not bring that back",
            hint="build the base image again: it then has the newer package",
            details={"package": name, "version": version, "installed": installed[name]},
        )
    digest = sha256_of(deb)
    file = keep_file(deb, directory=directory, sha256=digest)
    return {"name": name, "version": version, "sha256": digest, "file": file.name}


def _apt_failure(
    names: Sequence[str], fetched: process.Completed, update: process.Completed
) -> ArtifactInvalid:
    said = [line[2:].strip() for line in fetched.error_tail.splitlines() if line.startswith("E:")]
    why = said[0] if said else process.last_line(fetched.error_tail)
    if update.status != 0:
        why += f" (apt-get update failed too: {process.last_line(update.error_tail)})"
    return ArtifactInvalid(
        f"Debian packages {', '.join(repr(name) for name in names)} are absent: {why}",
        hint=f"apt-cache policy {names[0].partition('=')[0]}",
        details={"packages": list(names), "stderr": fetched.error_tail},
    )


def _write_lock(lock: Path, entries: list[dict[str, str]]) -> None:
    document = {"schema": _LOCK_SCHEMA, "files": entries}
    with tempfile.NamedTemporaryFile("w", dir=lock.parent, prefix=f".{lock.name}.", delete=False) as file:
        json.dump(document, file, indent=1)
    Path(file.name).replace(lock)


def _read_lock(lock: Path) -> list[dict[str, str]]:
    try:
        document: dict[str, Any] = json.loads(lock.read_text())
        entries = [
            {key: str(entry[key]) for key in ("file", "name", "sha256", "version")}
            for entry in document["files"]
        ]
    except (ValueError, KeyError, TypeError) as damaged:
        raise ArtifactInvalid(
            f"Package lock '{lock.name}' cannot be read: {damaged}",
            hint=f"rm {lock}",
            details={"path": str(lock)},
        ) from damaged
    return entries


def _locked(entry: dict[str, str], *, lock: Path) -> Path:
    path = cached_file(lock.parent, entry["sha256"])
    if path is None:
        raise ArtifactInvalid(
            f"Package file '{entry['file']}' is absent, though the lock names it: "
            f"expected sha256 {entry['sha256']}, found none",
            hint=f"rm {lock}",
            details={"path": str(lock.parent / entry["file"]), "expected": entry["sha256"], "actual": None},
        )
    return path
