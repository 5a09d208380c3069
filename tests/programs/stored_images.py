"""A site whose image store is a real one, on each engine in turn, and what fills it."""

from __future__ import annotations

import io
import shutil
import tarfile
import tempfile
from functools import cache
from pathlib import Path

import pytest

from vmm_automation.adapters.private_directory import private_directory
from vmm_automation.content import default_site
from vmm_automation.images.archive import ArchivePolicy, read_archive
from vmm_automation.images.borg import BorgStore, archive_name
from vmm_automation.images.manifest import to_generation
from vmm_automation.model.image import Generation, Manifest
from vmm_automation.model.times import to_text
from vmm_automation.operations.context import Context
from vmm_automation.places import Places
from vmm_automation.site import Site
from vmm_automation.state import generations
from vmm_automation.state.store import Engine

from ..fake_clock import FakeClock


@pytest.fixture
def context(store: Engine, clock: FakeClock, tmp_path: Path) -> Context:
    """Opened on the state of the test, with an image store that nothing was written to yet."""
    made = Context(
        site=Site.load(default_site()), places=Places(tmp_path / "places"), clock=clock, actor="root"
    )
    vars(made)["store"] = store
    return made


def make_tar(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(files):
            header = tarfile.TarInfo(name)
            header.size = len(files[name])
            tar.addfile(header, io.BytesIO(files[name]))
    return path


def manifest_of(tar: Path, *, number: int, clock: FakeClock, user: str = "ann") -> Manifest:
    layer = "exceptions"
    return Manifest(
        user=user,
        ua="radicale",
        ua_version="3.2.3",
        data_version=1,
        generation=number,
        parent=number - 1,
        session="",
        fence=0,
        captured_at=to_text(clock.now()),
        consistency="stopped",
        files=read_archive(
            tar, policy=ArchivePolicy(), layer=lambda path: layer if path.startswith("x") else "settings"
        ),
    )


@cache
def _empty_store() -> tempfile.TemporaryDirectory[str]:
    """A repository with its key, made once in a process: to make one takes longer than to write to one."""
    made = tempfile.TemporaryDirectory()
    place = Path(made.name)
    store = BorgStore(place / "store" / "repository", key_file=place / "store" / "key")
    tar = make_tar(place / "user.tar", {})
    store.write("first", tar=tar, manifest=manifest_of(tar, number=1, clock=FakeClock()))
    store.delete("first")
    store.compact()
    return made


def ensure_store(directory: Path) -> None:
    """A store that is empty, unless there is one."""
    if not directory.exists():
        shutil.copytree(Path(_empty_store().name) / "store", directory)


def store_generation(context: Context, files: dict[str, bytes], *, user: str = "ann") -> Generation:
    """The next generation of ann's calendar, in the image store and in the state."""
    clock = context.clock
    assert isinstance(clock, FakeClock)
    ensure_store(context.places.user_images)
    with private_directory(context.places.runs, prefix="test-") as spool, context.store.transaction() as tx:
        number = generations.next_number(tx, user=user, ua="radicale")
        tar = make_tar(spool / "user.tar", files)
        manifest = manifest_of(tar, number=number, clock=clock, user=user)
        archive = archive_name(user=user, ua="radicale", number=number, session="s")
        context.images.write(archive, tar=tar, manifest=manifest)
        return generations.add(tx, generation=to_generation(manifest, archive), manifest=manifest)


def numbers(context: Context, *, user: str = "ann") -> list[int]:
    with context.store.reading() as tx:
        return [one.number for one in generations.list_generations(tx, user=user)]


def damage(context: Context, *, at: int = 0) -> None:
    """Flip bytes in the largest file of the image store."""
    data = context.places.user_images / "repository" / "data"
    segment = max((file for file in data.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
    raw = bytearray(segment.read_bytes())
    for place in (at or len(raw) // 3, len(raw) // 2):
        raw[place] ^= 0xFF
    segment.write_bytes(raw)
