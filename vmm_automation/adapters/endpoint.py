"""Whether a UA answers at its endpoint, seen from where its user is: outside the guest."""

from __future__ import annotations

import http.client
import socket

from vmm_automation.errors import Timeout
from vmm_automation.model.ua import Endpoint
from vmm_automation.ports import Clock

_LOOPBACK = "127.0.0.1"
_ATTEMPT_S = 10.0
_PAUSE_S = 0.3
_FIRST_SERVER_ERROR = 500


def url(endpoint: Endpoint, *, port: int) -> str:
    """Where the user's terminal finds the endpoint: ``http://127.0.0.1:PORT/``."""
    return f"{endpoint.protocol}://{_LOOPBACK}:{port}{endpoint.health if endpoint.protocol == 'http' else ''}"


def wait_until_healthy(endpoint: Endpoint, *, port: int, clock: Clock, deadline_s: float) -> float:
    """Wait until the endpoint answers; returns the seconds it took.

    Raises:
        Timeout: it did not within ``deadline_s`` seconds; the last reason is in the message.
    """
    started = clock.now()
    while True:
        reason = failure(endpoint, port=port)
        waited = (clock.now() - started).total_seconds()
        if not reason:
            return waited
        if waited > deadline_s:
            raise Timeout(
                f"Endpoint '{endpoint.name}' did not answer within {deadline_s:g} s: {reason}",
                hint="vmm session list",
                details={"endpoint": endpoint.name, "port": port},
            )
        clock.sleep(_PAUSE_S)


def failure(endpoint: Endpoint, *, port: int, timeout_s: float = _ATTEMPT_S) -> str:
    """Why the endpoint does not answer now, or an empty text if it does.

    An HTTP endpoint is healthy below status 500: one that asks for a login answers. Of another TCP
    protocol it is only known that the connection is not closed again at once.
    """
    try:
        if endpoint.protocol == "http":
            return _http_failure(endpoint, port=port, timeout_s=timeout_s)
        return _tcp_failure(port=port)
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__


def _http_failure(endpoint: Endpoint, *, port: int, timeout_s: float) -> str:
    connection = http.client.HTTPConnection(_LOOPBACK, port, timeout=timeout_s)
    try:
        connection.request("GET", endpoint.health)
        status = connection.getresponse().status
    finally:
        connection.close()
    return f"HTTP status {status}" if status >= _FIRST_SERVER_ERROR else ""


def _tcp_failure(*, port: int) -> str:
    with socket.create_connection((_LOOPBACK, port), timeout=_ATTEMPT_S) as connection:
        connection.settimeout(1.0)
        try:
            return "" if connection.recv(1) else "the connection was closed at once"
        except TimeoutError:
            return ""  # it waits for the client to speak
