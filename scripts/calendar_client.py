"""The few CalDAV requests of the main job, on the standard library: a calendar's name and colour."""

from __future__ import annotations

import base64
import http.client
import urllib.parse
import xml.etree.ElementTree as ET
from dataclasses import dataclass

_NAME, _COLOUR = "{DAV:}displayname", "{http://apple.com/ns/ical/}calendar-color"
_NAMESPACES = 'xmlns:D="DAV:" xmlns:A="http://apple.com/ns/ical/" xmlns:C="urn:ietf:params:xml:ns:caldav"'


class Refused(Exception):
    """The server did not do what it was asked."""


@dataclass(frozen=True)
class Answer:
    """What a server answered; ``status`` is 0 if it did not, ``timed_out`` says that it stayed silent."""

    status: int
    body: bytes = b""
    timed_out: bool = False


@dataclass(frozen=True)
class Settings:
    """What a user can set of a calendar."""

    name: str
    colour: str

    def __str__(self) -> str:
        """For people."""
        return f"name '{self.name}', colour {self.colour}"


def fetch(
    url: str, *, timeout_s: float, method: str = "GET", user: str = "", body: str = "", depth: str = ""
) -> Answer:
    """One HTTP request; ``timeout_s`` is in seconds and holds for connecting and for each read."""
    parts = urllib.parse.urlsplit(url)
    headers = {"Connection": "close"}
    if user:
        headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:".encode()).decode()
    if body:
        headers["Content-Type"] = "application/xml; charset=utf-8"
    if depth:
        headers["Depth"] = depth
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        connection.request(method, parts.path, body=body.encode() or None, headers=headers)
        response = connection.getresponse()
        return Answer(response.status, response.read())
    except TimeoutError:
        return Answer(0, timed_out=True)
    except (OSError, http.client.HTTPException):
        return Answer(0)
    finally:
        connection.close()


@dataclass(frozen=True)
class Calendar:
    """One user's calendar on the server at ``endpoint``."""

    endpoint: str
    user: str

    def settings(self) -> Settings | None:
        """Name and colour as the server says them, or None where there is no such calendar."""
        wanted = "<D:displayname/><A:calendar-color/>"
        answer = self._request(
            "PROPFIND", f"<D:propfind {_NAMESPACES}><D:prop>{wanted}</D:prop></D:propfind>"
        )
        if answer.status != 207:
            return None
        found = ET.fromstring(answer.body)
        return Settings(found.findtext(f".//{_NAME}") or "", found.findtext(f".//{_COLOUR}") or "")

    def change(self, settings: Settings) -> None:
        """Make the calendar where it is not there yet, then set its name and colour.

        Raises:
            Refused: the server did not do it.
        """
        if self.settings() is None:
            first = "<D:displayname>new</D:displayname>"
            self._changed(
                "MKCALENDAR",
                f"<C:mkcalendar {_NAMESPACES}><D:set><D:prop>{first}</D:prop></D:set></C:mkcalendar>",
            )
        properties = (
            f"<D:displayname>{settings.name}</D:displayname>"
            f"<A:calendar-color>{settings.colour}</A:calendar-color>"
        )
        update = f"<D:set><D:prop>{properties}</D:prop></D:set>"
        self._changed("PROPPATCH", f"<D:propertyupdate {_NAMESPACES}>{update}</D:propertyupdate>")

    def _changed(self, method: str, body: str) -> None:
        answer = self._request(method, body)
        if not 200 <= answer.status < 300:
            raise Refused(f"{method} of the calendar ended with HTTP status {answer.status}: {answer.body!r}")

    def _request(self, method: str, body: str) -> Answer:
        url = urllib.parse.urljoin(self.endpoint, f"/{self.user}/calendar/")
        document = f'<?xml version="1.0" encoding="utf-8"?>{body}'
        return fetch(url, timeout_s=30, method=method, user=self.user, body=document, depth="0")
