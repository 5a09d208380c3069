"""The image store on another host: a real SSH server on a loopback port that runs nothing but borg serve."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from vmm_automation.errors import ArtifactInvalid, PreflightFailed
from vmm_automation.images.borg import BorgStore
from vmm_automation.model.image import Manifest
from vmm_automation.model.remote_store import RemoteStore

from ..fake_clock import FakeClock
from .stored_images import make_tar, manifest_of

_SERVER = shutil.which("dropbear", path=f"{os.environ['PATH']}:/usr/sbin")
pytestmark = [
    pytest.mark.skipif(_SERVER is None, reason="dropbear is not installed (apt-get install dropbear-bin)"),
    pytest.mark.skipif(os.geteuid() != 0, reason="a home of root's own needs root"),
]
#: root's home is the test's own, in a mount namespace of the server
_START = """set -e
sed 's|^\\(root:.*\\):/root:|\\1:{place}/root:|' /etc/passwd >{place}/passwd
mount --bind {place}/passwd /etc/passwd
exec {server} -F -E -s -p 127.0.0.1:{port} -r {place}/host.dropbear
"""


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[RemoteStore]:
    """Another host, with a place for a repository; its key is known."""
    place, port = tmp_path / "host", free_port()
    (place / "root" / ".ssh").mkdir(mode=0o700, parents=True)
    for name in ("host", "client"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place / name], check=True)
    borg = Path(sys.executable).with_name("borg")
    allowed = f'command="{borg} serve --restrict-to-path {place}/images",restrict'
    keys = place / "root" / ".ssh" / "authorized_keys"
    keys.write_text(f"{allowed} {(place / 'client.pub').read_text()}")
    keys.chmod(0o600)
    theirs = [place / "host", place / "host.dropbear"]
    subprocess.run(["dropbearconvert", "openssh", "dropbear", *theirs], check=True, capture_output=True)
    known = (place / "host.pub").read_text().split()[:2]
    (place / "known_hosts").write_text(f"[127.0.0.1]:{port} {' '.join(known)}\n")
    script = _START.format(place=place, port=port, server=_SERVER)
    server = subprocess.Popen(["unshare", "--mount", "sh", "-c", script], stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    said = []
    while "Not backgrounding" not in (line := server.stderr.readline()):
        said.append(line)
        assert line, said
    url = f"ssh://root@127.0.0.1:{port}{place}/images/repository"
    yield RemoteStore(url, str(place / "client"), str(place / "known_hosts"))
    server.kill()
    server.wait()


@pytest.fixture
def store(tmp_path: Path, remote: RemoteStore) -> BorgStore:
    home = tmp_path / "home"
    return BorgStore(home / "repository", key_file=home / "key", remote=remote)


def saved(store: BorgStore, place: Path) -> tuple[Path, Manifest]:
    tar = make_tar(place / "user.tar", {"s/a": b"1" * 9000})
    manifest = manifest_of(tar, number=1, clock=FakeClock())
    store.write("g1", tar=tar, manifest=manifest)
    return tar, manifest


def test_images_go_to_another_host_and_come_back(
    store: BorgStore, remote: RemoteStore, tmp_path: Path
) -> None:
    """Nothing of them stays on the controller; a second controller with the key finds them; they can go."""
    assert store.archives() == ()
    tar, manifest = saved(store, tmp_path)
    home = tmp_path / "home"
    assert not (home / "repository").exists()
    second = tmp_path / "second"
    second.mkdir()
    shutil.copy(home / "key", second)
    other = BorgStore(second / "repository", key_file=second / "key", remote=remote)
    found, read = other.read("g1", into=tmp_path / "read")
    assert (found.read_bytes(), read, other.archives()) == (tar.read_bytes(), manifest, ("g1",))
    store.delete("g1")
    store.compact()
    with pytest.raises(ArtifactInvalid):
        other.read("g1", into=tmp_path / "again")


def test_host_that_is_not_known_gets_nothing(store: BorgStore, remote: RemoteStore, tmp_path: Path) -> None:
    """Another host key, or a place that borg serve may not touch: refused, without a question."""
    saved(store, tmp_path)
    other = (tmp_path / "host" / "client.pub").read_text().split()[:2]
    hosts = tmp_path / "other_hosts"
    address = Path(remote.known_hosts).read_text().split()[0]
    hosts.write_text(f"{address} {' '.join(other)}\n")
    home = tmp_path / "home"
    for wrong in (
        replace(remote, known_hosts=str(hosts)),
        replace(remote, ssh_key=str(tmp_path / "host" / "host")),
        replace(remote, url=remote.url.replace("/images/", "/elsewhere/")),
    ):
        refused = BorgStore(home / "repository", key_file=home / "key", remote=wrong)
        with pytest.raises(PreflightFailed):
            refused.archives()
        with pytest.raises(PreflightFailed):
            refused.read("g1", into=tmp_path / "read")
    assert not (tmp_path / "host" / "elsewhere").exists()
