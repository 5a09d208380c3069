"""Volumes of users in layers, with the real qemu-img: what an overlay shows, what is kept, what goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vmm_automation.errors import ArtifactInvalid, NotFound
from vmm_automation.images.volume import DEPTH, VolumeStore

OF = {"session": "s-1", "vm": "vm-1"}
SIZE_MIB = 64
PACKAGE = Path(__file__).parents[2]


@pytest.fixture
def volumes(tmp_path: Path) -> VolumeStore:
    return VolumeStore(tmp_path / "volumes")


def io(file: Path, *commands: str) -> str:
    words = [word for command in commands for word in ("-c", command)]
    done = subprocess.run(
        ["qemu-io", "-f", "qcow2", *words, str(file)], capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def write(volumes: VolumeStore, *, value: int, at_mib: int) -> None:
    """What a guest of session s-1 writes."""
    said = io(volumes.session_file(**OF), f"write -P {value} {at_mib}M 64k")
    assert "wrote 65536/65536" in said, said


def holds(volumes: VolumeStore, *, value: int, at_mib: int) -> bool:
    return "verification failed" not in io(volumes.session_file(**OF), f"read -P {value} {at_mib}M 64k")


def generation(volumes: VolumeStore, number: int, *, onto: int = 0) -> None:
    """A session on generation ``onto`` (0: none) writes its number at a place of its own."""
    of_before = f"a.{onto}" if onto else ""
    assert volumes.open(**OF, archive=of_before, size_mib=SIZE_MIB) == bool(onto)
    write(volumes, value=number, at_mib=20 + number)
    volumes.commit(**OF, archive=f"a.{number}")
    volumes.drop_session(**OF)


def layer_file(volumes: VolumeStore, archive: str) -> Path:
    layer = volumes.layer(archive)
    assert layer
    return volumes.session_file(**OF).parents[1] / "layers" / f"{layer.name}.qcow2"


def files(volumes: VolumeStore) -> set[str]:
    return {path.name for path in (volumes.session_file(**OF).parents[1] / "layers").iterdir()}


def test_each_layer_shows_its_own_generation_and_no_later_one(volumes: VolumeStore) -> None:
    """Generation 3 has what 1 to 3 wrote; one that goes on from 1 has nothing of 2 and 3."""
    for number in (1, 2, 3):
        generation(volumes, number, onto=number - 1)
    assert volumes.open(**OF, archive="a.3", size_mib=SIZE_MIB)
    assert all(holds(volumes, value=number, at_mib=20 + number) for number in (1, 2, 3))
    generation(volumes, 4, onto=1)
    assert volumes.open(**OF, archive="a.4", size_mib=SIZE_MIB)
    assert [holds(volumes, value=n, at_mib=20 + n) for n in (1, 2, 3, 4)] == [True, False, False, True]
    assert volumes.prove("a.3") == volumes.prove("a.4") == ""


def test_session_goes_on_over_the_layer_that_it_became(volumes: VolumeStore) -> None:
    """What is written after a layer was made is not in the layer, nor is the layer's file ever written to."""
    volumes.open(**OF, archive="", size_mib=SIZE_MIB)
    write(volumes, value=7, at_mib=30)
    volumes.commit(**OF, archive="a.1")
    assert holds(volumes, value=7, at_mib=30)
    write(volumes, value=8, at_mib=30)
    assert volumes.prove("a.1") == ""
    assert volumes.open(**OF, archive="a.1", size_mib=SIZE_MIB)
    assert holds(volumes, value=7, at_mib=30)


@pytest.mark.parametrize("depth", ["top", "below"])
def test_damaged_layer_is_not_deployed(volumes: VolumeStore, depth: str) -> None:
    """A flipped byte in a layer or in one below it: found by its time or by reading it, it is none."""
    generation(volumes, 1)
    generation(volumes, 2, onto=1)
    file = layer_file(volumes, "a.2" if depth == "top" else "a.1")
    before = file.stat()
    file.chmod(0o600)
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)
    assert not volumes.open(**OF, archive="a.2", size_mib=SIZE_MIB)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # as a failing disk would leave it
    assert "damaged" in volumes.prove("a.2")


def test_layer_that_was_copied_back_is_read_whole_once(volumes: VolumeStore, tmp_path: Path) -> None:
    """From a backup, with another inode and time: its digest decides, and is then known to hold again."""
    generation(volumes, 1)
    file = layer_file(volumes, "a.1")
    content = file.read_bytes()
    file.rename(tmp_path / "old")
    file.write_bytes(content)
    recorded = volumes.layer("a.1")
    assert volumes.open(**OF, archive="a.1", size_mib=SIZE_MIB)
    renewed = volumes.layer("a.1")
    assert recorded and renewed and recorded.inode != renewed.inode == file.stat().st_ino


def test_chain_stays_bounded(volumes: VolumeStore) -> None:
    """However many sessions a user has, each on the layer of the one before, all that they wrote is there."""
    depths = []
    for number in range(1, 2 * DEPTH + 4):
        generation(volumes, number, onto=number - 1)
        layer = volumes.layer(f"a.{number}")
        assert layer
        depths.append(layer.depth)
    assert max(depths) == DEPTH
    assert volumes.open(**OF, archive=f"a.{number}", size_mib=SIZE_MIB)
    assert all(holds(volumes, value=each, at_mib=20 + each) for each in range(1, number + 1))


def test_expensive_chain_is_flattened_apart_from_closing(
    volumes: VolumeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where closing may not take the time it stays, flattening makes one layer of it while it is in use."""
    monkeypatch.setattr("vmm_automation.images.volume.CHEAP_BYTES", 0)
    for number in range(1, DEPTH + 2):
        generation(volumes, number, onto=number - 1)
    assert volumes.open(**OF, archive=f"a.{number}", size_mib=SIZE_MIB)
    assert len(volumes.chain(volumes.session_file(**OF))) == DEPTH + 3
    assert volumes.flatten(f"a.{number}")
    assert not volumes.flatten(f"a.{number}")
    assert all(holds(volumes, value=each, at_mib=20 + each) for each in range(1, number + 1))
    assert volumes.open(**OF, archive=f"a.{number}", size_mib=SIZE_MIB)
    assert len(volumes.chain(volumes.session_file(**OF))) == 2
    assert all(holds(volumes, value=each, at_mib=20 + each) for each in range(1, number + 1))


def test_layer_that_is_being_made_is_no_rest_until_it_is_old(
    volumes: VolumeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another session's end leaves it alone; a day later it is what a killed process left, and goes."""
    generation(volumes, 1)
    made = layer_file(volumes, "a.1").with_name(".0123456789abcdef.qcow2")
    made.touch()
    generation(volumes, 2, onto=1)
    assert made.exists()
    monkeypatch.setattr("vmm_automation.images.volume._REST_AFTER_S", -1)
    volumes.forget(())
    assert not made.exists()


def test_layer_goes_when_nothing_needs_it(volumes: VolumeStore) -> None:
    """A pruned generation's layer stays while a newer one, a session or one kept aside lies on it."""
    generation(volumes, 1)
    generation(volumes, 2, onto=1)
    first, second = layer_file(volumes, "a.1").stem, layer_file(volumes, "a.2").stem
    volumes.forget(("a.1",))
    assert volumes.archives() == ("a.2",)
    assert f"{first}.qcow2" in files(volumes)
    volumes.open(**OF, archive="a.2", size_mib=SIZE_MIB)
    kept = volumes.set_aside(**OF).stem
    volumes.forget(("a.2",))
    assert {f"{first}.qcow2", f"{second}.qcow2", f"{second}.json"} <= files(volumes)
    volumes.drop_aside(kept)
    assert files(volumes) == {f"blank-{SIZE_MIB}.qcow2", f"blank-{SIZE_MIB}.json"}


def test_what_was_kept_aside_comes_back_whole(volumes: VolumeStore) -> None:
    """Twice of one session: neither takes the other's place; taken back it is the session's own."""
    for value in (1, 2):
        volumes.open(**OF, archive="", size_mib=SIZE_MIB)
        write(volumes, value=value, at_mib=40)
        volumes.set_aside(**OF)
    assert {path.stem for path in volumes.asides()} == {"s-1", "s-1-2"}
    volumes.take_back("s-1-2", **OF)
    assert holds(volumes, value=2, at_mib=40)
    with pytest.raises(NotFound, match="'s-1-2'"):
        volumes.take_back("s-1-2", **OF)


def test_content_that_looks_like_a_disk_image_is_content(volumes: VolumeStore, tmp_path: Path) -> None:
    """A user writes the header of a qcow2 that names another file: nothing ever follows it."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"s" * 65536)
    lure = tmp_path / "lure.qcow2"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", secret, lure, "64k"], check=True
    )
    volumes.open(**OF, archive="", size_mib=SIZE_MIB)
    assert "wrote" in io(volumes.session_file(**OF), f"write -s {lure} 0 512")
    volumes.commit(**OF, archive="a.1")
    assert [path.name[:5] for path in volumes.chain(volumes.session_file(**OF))][2:] == ["blank"]
    assert volumes.open(**OF, archive="a.1", size_mib=SIZE_MIB)
    assert secret not in volumes.chain(volumes.session_file(**OF))


def test_overlay_that_is_no_qcow2_is_refused(volumes: VolumeStore) -> None:
    """A file of another form is not handed to a hypervisor."""
    volumes.open(**OF, archive="", size_mib=SIZE_MIB)
    volumes.session_file(**OF).write_bytes(b"QFI\0")
    with pytest.raises(ArtifactInvalid, match="no qcow2"):
        volumes.chain(volumes.session_file(**OF))


@pytest.mark.parametrize("point", ["image.volume.kept", "image.volume.renewed"])
def test_commit_that_is_killed_loses_nothing(volumes: VolumeStore, point: str) -> None:
    """The archive has no layer, the session's overlay all of its data, and the next commit leaves no rest."""
    volumes.open(**OF, archive="", size_mib=SIZE_MIB)
    write(volumes, value=5, at_mib=33)
    root = volumes.session_file(**OF).parents[1]
    program = (
        "from pathlib import Path; from vmm_automation.images.volume import VolumeStore;"
        f"VolumeStore(Path({str(root)!r})).commit(session='s-1', vm='vm-1', archive='a.1')"
    )
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE), "VMM_TRACE_KILL": point}
    killed = subprocess.run([sys.executable, "-c", program], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert volumes.archives() == ()
    assert not volumes.open(session="s-2", vm="vm-2", archive="a.1", size_mib=SIZE_MIB)
    assert holds(volumes, value=5, at_mib=33)
    volumes.commit(**OF, archive="a.2")
    assert volumes.prove("a.2") == ""
    assert volumes.open(**OF, archive="a.2", size_mib=SIZE_MIB)
    assert holds(volumes, value=5, at_mib=33)
    volumes.drop_session(session="s-2", vm="vm-2")
    generation(volumes, 3, onto=2)
    expected = {layer.name for layer in map(volumes.layer, ("a.2", "a.3")) if layer}
    assert {name.partition(".")[0] for name in files(volumes)} >= expected | {f"blank-{SIZE_MIB}"}
    assert not [path.name for path in (root / "layers").iterdir() if path.name.startswith(".")]
