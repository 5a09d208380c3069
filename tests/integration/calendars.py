"""What a user does with Radicale: calendars made, named and coloured over CalDAV, as any client would."""

from __future__ import annotations

import base64
import http.client
from urllib.parse import urlsplit
from xml.etree import ElementTree as Xml

_PROPERTIES = """<?xml version="1.0"?>
<D:propertyupdate xmlns:D="DAV:" xmlns:I="http://apple.com/ns/ical/"><D:set><D:prop>
<D:displayname>{name}</D:displayname><I:calendar-color>{colour}</I:calendar-color>
</D:prop></D:set></D:propertyupdate>"""
_QUESTION = """<?xml version="1.0"?>
<D:propfind xmlns:D="DAV:" xmlns:I="http://apple.com/ns/ical/"><D:prop>
<D:displayname/><I:calendar-color/></D:prop></D:propfind>"""
_CREATED, _MULTISTATUS, _NOT_FOUND = 201, 207, 404


def make_calendar(endpoint: str, *, user: str, name: str, colour: str) -> None:
    """Make calendar ``work`` and set its name and colour."""
    assert _ask(endpoint, "MKCALENDAR", user=user)[0] == _CREATED
    set_calendar(endpoint, user=user, name=name, colour=colour)


def keep_calendar(endpoint: str, *, user: str, colour: str) -> None:
    """Have calendar ``work`` with the user's name and this colour, made if it is not there."""
    change = set_calendar if calendar(endpoint, user=user) else make_calendar
    change(endpoint, user=user, name=user, colour=colour)


def set_calendar(endpoint: str, *, user: str, name: str, colour: str) -> None:
    """Change name and colour of calendar ``work``."""
    status, answer = _ask(endpoint, "PROPPATCH", user=user, body=_PROPERTIES.format(name=name, colour=colour))
    assert status == _MULTISTATUS, answer


def calendar(endpoint: str, *, user: str) -> tuple[str, str] | None:
    """Name and colour of calendar ``work``; None where there is none."""
    status, answer = _ask(endpoint, "PROPFIND", user=user, body=_QUESTION)
    if status == _NOT_FOUND:
        return None
    assert status == _MULTISTATUS, answer
    found = Xml.fromstring(answer)
    name = found.findtext(".//{DAV:}displayname")
    colour = found.findtext(".//{http://apple.com/ns/ical/}calendar-color")
    return str(name), str(colour)


def answers(endpoint: str, *, within_s: float = 3) -> bool:
    """Whether the endpoint answers a request at all."""
    address = urlsplit(endpoint)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=within_s)
    try:
        connection.request("GET", "/.web/")
        connection.getresponse()
    except OSError:
        return False
    finally:
        connection.close()
    return True


def _ask(endpoint: str, method: str, *, user: str, body: str = "") -> tuple[int, str]:
    address = urlsplit(endpoint)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
    login = base64.b64encode(f"{user}:".encode()).decode()
    headers = {"Authorization": f"Basic {login}", "Content-Type": "application/xml", "Depth": "0"}
    try:
        connection.request(method, f"/{user}/work/", body=body.encode(), headers=headers)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()
