"""Artifacts over HTTP from a real server: resumed where they were cut off, and taken only by their digest."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from vmm_automation.adapters.artifacts import fetch_artifacts
from vmm_automation.errors import ArtifactInvalid
from vmm_automation.model.ua import Artifact, UaVersion

CONTENT = b"".join(hashlib.sha256(bytes([number])).digest() for number in range(200)) * 40
#: how often the server looks whether it is to end
_POLL_S = 0.02
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Origin(ThreadingHTTPServer):
    """One file; ``cut`` bytes of each answer get through (0: all), ``ranges``: whether parts can be had."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.content = CONTENT
        self.cut = 0
        self.ranges = True
        self.asked: list[str] = []
        self.sent = 0

    @property
    def url(self) -> str:
        """Where the file is."""
        return f"http://127.0.0.1:{self.server_port}/files/tool.AppImage?x=1"


class _Answers(BaseHTTPRequestHandler):
    server: Origin

    def do_GET(self) -> None:
        """Answer with the file, or the part that is asked for."""
        origin = self.server
        asked = self.headers.get("Range", "")
        origin.asked.append(asked)
        start = int(re.sub(r"\D", "", asked)) if asked and origin.ranges else 0
        body = origin.content[start:]
        if self.path.startswith("/gone") or (start and not body):
            self.send_error(404 if self.path.startswith("/gone") else 416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        part = body[: origin.cut or None]
        origin.sent += len(part)
        self.wfile.write(part)

    def log_message(self, *_words: object) -> None:
        """Say nothing."""


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as server:
        thread = threading.Thread(target=server.serve_forever, args=[_POLL_S], daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fetch(tmp_path: Path, url: str, sha256: str = DIGEST) -> Path:
    version = UaVersion("1", "archive", artifacts=(Artifact(url, sha256),))
    (file,) = fetch_artifacts(version, definition_dir=tmp_path, directory=tmp_path / "cache")
    return file


def parts(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache").glob(".part-*") if path.suffix != ".lock"]


def test_artifact_is_downloaded_once_and_kept_by_its_digest(tmp_path: Path, origin: Origin) -> None:
    """The name is the URL's own; the second time nobody is asked; no half is left."""
    file = fetch(tmp_path, origin.url)
    assert (file.name, file.read_bytes()) == (f"{DIGEST}-tool.AppImage", CONTENT)
    assert fetch(tmp_path, origin.url) == file
    assert origin.asked == [""]
    assert parts(tmp_path) == []


def test_download_that_is_cut_off_again_and_again_goes_on(tmp_path: Path, origin: Origin) -> None:
    """Each byte is sent once, as long as something comes each time."""
    origin.cut = len(CONTENT) // 4 + 1
    assert fetch(tmp_path, origin.url).read_bytes() == CONTENT
    assert len(origin.asked) == 4
    assert origin.sent == len(CONTENT)


def test_download_of_a_killed_run_goes_on_with_the_next(tmp_path: Path, origin: Origin) -> None:
    """From where it ended; a server that knows no ranges sends it all again."""
    (tmp_path / "cache").mkdir()
    for ranges, sent in ((True, len(CONTENT) - 1000), (False, len(CONTENT))):
        (tmp_path / "cache" / f".part-{DIGEST}").write_bytes(CONTENT[:1000])
        origin.ranges, origin.sent = ranges, 0
        fetch(tmp_path, origin.url).unlink()
        assert origin.sent == sent


@pytest.mark.parametrize("left", [b"x" * 1000, b"x" * len(CONTENT), CONTENT + b"more"])
def test_half_of_another_file_is_not_built_upon(tmp_path: Path, origin: Origin, left: bytes) -> None:
    """It is dropped, and all is fetched once more."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / f".part-{DIGEST}").write_bytes(left)
    assert fetch(tmp_path, origin.url).read_bytes() == CONTENT


def test_download_with_another_digest_is_refused_with_both(tmp_path: Path, origin: Origin) -> None:
    """And not kept: the next time it may be right."""
    origin.content = b"something else"
    with pytest.raises(ArtifactInvalid, match="is not what its definition says") as refused:
        fetch(tmp_path, origin.url)
    assert refused.value.details["actual"] == hashlib.sha256(b"something else").hexdigest()
    assert parts(tmp_path) == []
    origin.content = CONTENT
    fetch(tmp_path, origin.url)


def test_artifact_that_cannot_be_had_is_absent(tmp_path: Path, origin: Origin) -> None:
    """The status, or why there is no connection, is in the message."""
    with pytest.raises(ArtifactInvalid, match="404"):
        fetch(tmp_path, origin.url.replace("/files", "/gone"))
    with pytest.raises(ArtifactInvalid, match=r"could not be downloaded: .*refused"):
        fetch(tmp_path, "http://127.0.0.1:1/x")
