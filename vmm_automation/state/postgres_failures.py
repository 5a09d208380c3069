"""PostgreSQL's failures told in our words; a password that a message might quote is masked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NoReturn

import psycopg

from vmm_automation.errors import DiskFull, RuleBroken, StateUnusable, Timeout, VmmError

if TYPE_CHECKING:
    from vmm_automation.model.state_url import StateUrl

LOCK_NOT_AVAILABLE: Final = "55P03"
DISK_FULL: Final = "53100"
#: SQLSTATE, or its class of two letters -> what to type
_HINTS: Final[Mapping[str, str]] = {
    "42501": "psql {location} --command 'GRANT CREATE, USAGE ON SCHEMA public TO {user}'",
    "25006": "psql {location} --command 'SELECT pg_is_in_recovery()'",
    "XX": "pg_amcheck {location}",
}
#: a refused connection carries no SQLSTATE, only its text (in the server's language: then the usual hint)
_REFUSALS: Final = (
    (re.compile('database ".*" does not exist'), "createdb --encoding UTF8 --template template0 {dbname}"),
    (re.compile("no password supplied|password authentication"), "chmod 600 ~/.pgpass; psql {location}"),
    (re.compile("too many"), "psql {location} --command 'TABLE pg_stat_activity'"),
)
_WHY: Final[Mapping[str, str]] = {
    "25006": "the server only reads: it is a standby",
    "25P03": "this program did nothing for a minute within a transaction, and the server ended it",
    "XX": "it is damaged",
}
#: classes (and codes) that a person can mend; others are mistakes in our own SQL
_MENDABLE: Final = ("08", "25006", "25P03", "25P04", "28", "3D", "3F", "42501", "53", "57", "58", "XX")
_SERIALIZATION: Final = ("40001", "40P01")


@contextmanager
def in_our_words(url: StateUrl) -> Iterator[None]:
    """Raise DiskFull, RuleBroken, Timeout and StateUnusable for psycopg's errors; pass our mistakes on."""
    try:
        yield
    except psycopg.Error as failed:
        tell(failed, url)


def tell(failed: psycopg.Error, url: StateUrl) -> NoReturn:
    """Raise a failure in our words; called where an exception is handled."""
    known = _translated(failed, url)
    if known is None:
        raise failed
    # `from None` where the original might quote a password in a traceback
    raise known from (None if url.has_secret else failed)


def _translated(failed: psycopg.Error, url: StateUrl) -> VmmError | None:
    code = failed.sqlstate or ""
    said = _first_line(url.masked(str(failed)))
    details = {"state": url.location, "sqlstate": code, "postgresql": said}
    if isinstance(failed, psycopg.IntegrityError):
        return RuleBroken(f"Cannot write state '{url.location}': {said}", details=details)
    if code == DISK_FULL:
        return DiskFull(
            f"Cannot write state '{url.location}': no space left on the database server",
            hint=f"psql {url.location} --command 'SHOW data_directory'",
            details=details,
        )
    if code == LOCK_NOT_AVAILABLE or code in _SERIALIZATION:
        return Timeout(
            f"Cannot write state '{url.location}': another process kept it locked ({said})",
            hint=f"psql {url.location} --command 'TABLE pg_stat_activity'",
            details=details,
        )
    lost = not code and isinstance(failed, psycopg.OperationalError | psycopg.InterfaceError)
    if lost or code.startswith(_MENDABLE):
        why = _of(_WHY, code)
        return StateUnusable(
            f"Cannot use state '{url.location}': {f'{why} ({said})' if why else said}",
            hint=_hint(url, code, said),
            details=details,
        )
    if isinstance(failed, psycopg.ProgrammingError) and not code:  # an option that libpq does not know
        return StateUnusable(
            f"Cannot use state '{url.location}': {said}", hint="$EDITOR site.yml", details=details
        )
    return None


def _hint(url: StateUrl, code: str, said: str) -> str:
    refused = (hint for found, hint in _REFUSALS if not code and found.search(said))
    hint = _of(_HINTS, code) or next(refused, "pg_isready --dbname {location}")
    names = {"dbname": url.options.get("dbname", ""), "user": url.options.get("user", "")}
    return hint.format(location=url.location, **names)


def _of(texts: Mapping[str, str], code: str) -> str:
    return texts.get(code) or texts.get(code[:2], "")


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "the connection was lost")
