"""Finds out where the state lives, and opens it there; an engine is imported only where it is used.

The first that says so wins: ``VMM_STATE_URL``; the file that ``VMM_STATE_URL_FILE`` names; ``state: url:``
of the site's ``site.yml``; else it is the SQLite file of :class:`~vmm_automation.places.Places`. Reading
``site.yml`` as YAML costs more than all else that a quick command does, and a broken site shall not hide
who holds a session: so the file is parsed only if the word ``state`` stands in it outside of comments.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from vmm_automation.errors import ToolMissing, UsageError

if TYPE_CHECKING:
    from vmm_automation.model.state_url import StateUrl
    from vmm_automation.places import Places
    from vmm_automation.state.postgres import PostgresStore
    from vmm_automation.state.store import Engine

_OTHERS = 0o007


def find_url(site: Path) -> StateUrl | None:
    """Where the state of a site directory lives; None: in the controller's own SQLite file.

    Raises:
        UsageError: a variable of the environment does not hold, or name a file with, a usable URL.
        SiteInvalid: ``site.yml`` says where, and it is wrong.
    """
    if named := os.environ.get("VMM_STATE_URL"):
        return _parsed(named, source="VMM_STATE_URL", secret_allowed=False)
    if file := os.environ.get("VMM_STATE_URL_FILE"):
        return _parsed(_content(Path(file)), source=f"File '{file}'", secret_allowed=True)
    if not mentions(site / "site.yml", b"state"):
        return None
    from vmm_automation.site import Site

    text = Site.load(site).state_url
    return _parsed(text, source="site.yml", secret_allowed=False) if text else None


def mentions(file: Path, word: bytes, *, unreadable: bool = False) -> bool:
    """Whether a key may stand in a YAML file: its word is there outside of comments.

    False if there is no file, and ``unreadable`` if it cannot be read: a site that is wrong is told by the
    commands that need one.
    """
    try:
        content = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return unreadable
    lines = (line for line in content.splitlines() if not line.lstrip().startswith(b"#"))
    return any(word in line or b"\\" in line for line in lines)  # YAML can spell it with escapes


def open_store(places: Places, url: StateUrl | None = None, *, site: str = "") -> Engine:
    """Open the state, creating it or bringing an older one up to this version's schema.

    With ``site`` a database is that site's from then on (a controller's home is marked by itself).

    Raises:
        Conflict: the database holds the state of another site.
        StateUnusable, DiskFull, Timeout: see the engine's ``open``.
        ToolMissing: PostgreSQL's driver is not installed.
    """
    if url is not None and url.engine == "postgresql":
        store = _postgres().open(url)
        if site:
            store.reserve_for(site)
        return store
    from vmm_automation.state.sqlite import SqliteStore

    return SqliteStore.open(_file(places, url))


def schema_version(places: Places, url: StateUrl | None = None) -> int:
    """The schema version of the state, which stays as it is; 0 if there is no state yet.

    Raises:
        StateUnusable, ToolMissing: see :func:`open_store`.
    """
    if url is not None and url.engine == "postgresql":
        return _postgres().version_of(url)
    from vmm_automation.state.sqlite import SqliteStore

    return SqliteStore.version_of(_file(places, url))


def _file(places: Places, url: StateUrl | None) -> Path:
    return Path(url.options["path"]) if url else places.state_file


def _postgres() -> type[PostgresStore]:
    try:
        from vmm_automation.state.postgres import PostgresStore
    except ImportError as missing:
        if (missing.name or "").partition(".")[0] not in ("psycopg", "psycopg_binary"):
            raise
        raise ToolMissing(
            "The state is in PostgreSQL and its driver 'psycopg' is not installed on the controller",
            hint="pip install 'vmm-automation[postgres]'",
            details={"package": "psycopg[binary]"},
        ) from missing
    return PostgresStore


def _content(file: Path) -> str:
    try:
        if file.stat().st_mode & _OTHERS:
            raise UsageError(
                f"Cannot take the state's URL from '{file}': other users may read or write it",
                hint=f"chmod 600 {file}",
            )
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as failed:
        why = failed.strerror if isinstance(failed, OSError) else "it is not UTF-8 text"
        raise UsageError(
            f"Cannot take the state's URL from '{file}' (VMM_STATE_URL_FILE): {why}", hint=f"ls -l {file}"
        ) from failed


def _parsed(text: str, *, source: str, secret_allowed: bool) -> StateUrl:
    from vmm_automation.model.state_url import parse_state_url

    try:
        url = parse_state_url(text)
    except ValueError as wrong:
        raise UsageError(
            f"{source} does not say where the state is: the URL {wrong}",
            hint="export VMM_STATE_URL=postgresql://vmm@db.example.org/vmm",
        ) from wrong
    if url.has_secret and not secret_allowed:
        raise UsageError(
            f"{source} has a password in the state's URL, where others can see it",
            hint="chmod 600 ~/.pgpass; export PGPASSFILE=~/.pgpass",
        )
    return url
