"""Where the state lives, as one URL: ``postgresql://…`` or ``sqlite:///absolute/path``.

A URL is taken apart here and never put together again with its password, so that no library's message
about it, and none of ours, can tell the password.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

SQLITE: Final = "sqlite"
POSTGRESQL: Final = "postgresql"
_SCHEMES: Final = {"sqlite": SQLITE, "postgresql": POSTGRESQL, "postgres": POSTGRESQL}
_SECRETS: Final = ("password", "sslpassword")


@dataclass(frozen=True)
class StateUrl:
    """A URL taken apart; ``options`` are connection options of libpq, or the ``path`` of a SQLite file."""

    engine: str
    options: Mapping[str, str] = field(repr=False)  # may hold a password

    @property
    def location(self) -> str:
        """The URL as people may see it: no password, no further options."""
        options = self.options
        if self.engine == SQLITE:
            return f"sqlite://{options['path']}"
        user = f"{options['user']}@" if "user" in options else ""
        ports = options.get("port", "").split(",")
        hosts = options.get("host", "").split(",")
        ports += [""] * (len(hosts) - len(ports))
        shown = [
            f"{f'[{host}]' if ':' in host else quote(host, safe='')}{port and f':{port}'}"
            for host, port in zip(hosts, ports, strict=False)
        ]
        return f"{POSTGRESQL}://{user}{','.join(shown)}/{options.get('dbname', '')}"

    @property
    def has_secret(self) -> bool:
        """Whether it holds a password."""
        return any(name in self.options for name in _SECRETS)

    def masked(self, text: str) -> str:
        """A text about it, without its passwords."""
        for name in _SECRETS:
            if self.options.get(name):
                text = text.replace(self.options[name], "***")
        return text


def parse_state_url(text: str) -> StateUrl:
    """Take a URL apart.

    Raises:
        ValueError: it is none; the message does not quote it, because it may hold a password.
    """
    if any(ord(character) <= 0x20 for character in text.strip()):
        raise ValueError("has a blank in it")
    parts = urlsplit(text.strip())
    engine = _SCHEMES.get(parts.scheme)
    if engine is None or not text.strip().startswith(f"{parts.scheme}://"):
        raise ValueError("is not of the form postgresql://[USER@]HOST[:PORT]/DATABASE or sqlite:///PATH")
    if engine == SQLITE:
        if parts.netloc or not parts.path.strip("/") or parts.query:
            raise ValueError("is not of the form sqlite:///ABSOLUTE/PATH")
        return StateUrl(SQLITE, {"path": unquote(parts.path)})
    if parts.fragment:
        raise ValueError("has a '#' that is not written as %23")
    return StateUrl(POSTGRESQL, _libpq_options(parts.netloc, parts.path, parts.query))


def _libpq_options(netloc: str, path: str, query: str) -> dict[str, str]:
    login, _, place = netloc.rpartition("@")
    user, _, password = login.partition(":")
    hosts, ports = [], []
    for one in place.split(","):
        host, _, port = one.rpartition(":") if ":" in one and not one.endswith("]") else (one, "", "")
        if port and not port.isdigit():
            raise ValueError("has a port that is not a number")
        hosts.append(unquote(host.removeprefix("[").removesuffix("]")))
        ports.append(port)
    given = {
        "user": unquote(user),
        "password": unquote(password),
        "host": ",".join(hosts).strip(","),
        "port": ",".join(ports) if any(ports) else "",
        "dbname": unquote(path.removeprefix("/")),
        **dict(parse_qsl(query)),
    }
    return {name: value for name, value in given.items() if value}
