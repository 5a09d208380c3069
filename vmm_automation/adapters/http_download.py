"""A file from http(s), on from where an earlier download ended; what it holds is for the caller to judge."""

from __future__ import annotations

from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from vmm_automation.errors import ArtifactInvalid

_CHUNK = 1 << 20
_TIMEOUT_S = 60
#: how often a connection that broke is made again, as long as something came each time
_TRIES = 5
_PARTIAL, _NO_SUCH_RANGE = 206, 416


def download(url: str, part: Path, *, progress: Callable[[str], None]) -> bool:
    """Bring ``part`` to the whole content of ``url``; true where some of it was there before.

    Raises:
        ArtifactInvalid: it cannot be had; what came of it so far is kept for the next time.
    """
    went_on = False
    failures = 0
    while True:
        size = part.stat().st_size if part.exists() else 0
        went_on |= size > 0
        progress(f"download {url}" + (f", on from {size >> 10} KiB" if size else ""))
        try:
            _receive(url, part, offset=size)
            return went_on
        except HTTPError as refused:
            if refused.code == _NO_SUCH_RANGE and size:  # it was whole already, or is another file now
                return True
            raise _absent(url, f"{refused.code} {refused.reason}") from refused
        except (URLError, HTTPException, OSError) as broken:
            came = part.exists() and part.stat().st_size > size
            failures = 0 if came else failures + 1
            if failures or isinstance(broken, URLError):
                raise _absent(url, str(getattr(broken, "reason", broken))) from broken


def _receive(url: str, part: Path, *, offset: int) -> None:
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    request = Request(url, headers={"Accept-Encoding": "identity", **headers})  # noqa: S310 - the schema allows http(s)
    with urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310
        goes_on = response.status == _PARTIAL
        with part.open("ab" if goes_on else "wb") as file:
            expected = response.length
            written = _copy(response, file.write)
    if expected is not None and written < expected:
        raise ConnectionError(f"the connection ended {expected - written} bytes early")


def _copy(response: HTTPResponse, write: Callable[[bytes], int]) -> int:
    written = 0
    while chunk := response.read(_CHUNK):
        written += write(chunk)
    return written


def _absent(url: str, why: str) -> ArtifactInvalid:
    return ArtifactInvalid(
        f"Artifact '{url}' is absent: it could not be downloaded: {why}",
        hint=f"curl -sIL {url}",
        details={"source": url, "actual": None},
    )
