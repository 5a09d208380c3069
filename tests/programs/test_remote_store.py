"""The image store on another host: a real sshd on a loopback port, which lets nothing but borg serve run."""

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

_SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
pytestmark = [
    pytest.mark.skipif(_SSHD is None, reason="sshd is not installed (apt-get install openssh-server)"),
    pytest.mark.skipif(os.geteuid() != 0, reason="an account for sshd needs root"),
]
_CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {place}/host
AuthorizedKeysFile {place}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
"""
#: the account that sshd wants, and its empty directory, in a mount namespace of its own
_START = """set -e
cat /etc/passwd >{place}/passwd
grep -q ^sshd: {place}/passwd || echo sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin >>{place}/passwd
mount --bind {place}/passwd /etc/passwd
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -m 0755 /run/sshd
exec {sshd} -D -e -f {place}/sshd_config
"""


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[RemoteStore]:
    """Another host, with a place for a repository; its key is known."""
    place, port = tmp_path / "host", free_port()
    place.mkdir()
    for name in ("host", "client"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place / name], check=True)
    borg = Path(sys.executable).with_name("borg")
    allowed = f'command="{borg} serve --restrict-to-path {place}/images",restrict'
    (place / "authorized_keys").write_text(f"{allowed} {(place / 'client.pub').read_text()}")
    known = (place / "host.pub").read_text().split()[:2]
    (place / "known_hosts").write_text(f"[127.0.0.1]:{port} {' '.join(known)}\n")
    (place / "sshd_config").write_text(_CONFIG.format(port=port, place=place))
    script = _START.format(place=place, sshd=_SSHD)
    server = subprocess.Popen(["unshare", "--mount", "sh", "-c", script], stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    said = []
    while "Server listening" not in (line := server.stderr.readline()):
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
